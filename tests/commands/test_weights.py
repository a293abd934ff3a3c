"""The command ``weights``: it lists, verifies and packs, and says how to bring what is not here."""

from __future__ import annotations

import shutil
from pathlib import Path

import pytest

from pipeline.commands import weights
from pipeline.config import UserError, WeightsConfig
from pipeline.models.variants import VARIANTS
from pipeline.models.weights.library import find_weights, own_folder
from tests.fake_hub import save_small_preset


@pytest.fixture(autouse=True)
def _project(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    save_small_preset(own_folder("resnet18"))


def _lines(capsys: pytest.CaptureFixture[str]) -> dict[str, list[str]]:
    return {words[0]: words for line in capsys.readouterr().out.splitlines() if (words := line.split())}


def test_every_variant_has_a_line_with_size_licence_accuracy_and_source(capsys: pytest.CaptureFixture[str]) -> None:
    weights.run(WeightsConfig())
    lines = _lines(capsys)
    assert lines.keys() >= VARIANTS.keys()
    digest = find_weights("resnet18").sha256[:12]
    assert lines["resnet18"][1:] == ["yes,", digest, "45", "73.2", "Apache", "2.0", "hf://keras/resnet_18_imagenet"]
    assert lines["resnet34"][1:] == ["no", "87", "77.9", "Apache", "2.0", "hf://timm/resnet34.a1_in1k"]
    assert lines["resnet152_v2"][1:] == ["no", "none", "published"]


def test_a_packed_folder_is_what_another_project_starts_from(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    digest = find_weights("resnet18").sha256
    weights.run(WeightsConfig(pack="packed"))
    assert "packed resnet18 into packed" in capsys.readouterr().out
    with pytest.raises(UserError, match="pack must be a new folder"):
        weights.run(WeightsConfig(pack="packed"))
    (tmp_path / "other" / "data").mkdir(parents=True)
    shutil.move("packed", tmp_path / "other" / "data" / "weights")
    monkeypatch.chdir(tmp_path / "other")
    assert find_weights("resnet18").sha256 == digest


def test_damage_is_named_and_nothing_damaged_is_packed(capsys: pytest.CaptureFixture[str]) -> None:
    file = find_weights("resnet18").file
    file.write_bytes(file.read_bytes()[:-1] + b"?")
    with pytest.raises(UserError, match="was recorded"):
        weights.run(WeightsConfig())
    assert _lines(capsys)["resnet18"][1] == "damaged"
    with pytest.raises(UserError, match="was recorded"):
        weights.run(WeightsConfig(pack="packed"))
    assert not Path("packed").exists()


def test_what_cannot_be_fetched_is_an_error_after_the_list(capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(UserError, match=r"resnet34.a1_in1k: it is not on this machine"):
        weights.run(WeightsConfig(fetch=("resnet34", "resnet18")))
    assert "resnet152_v2" in capsys.readouterr().out
