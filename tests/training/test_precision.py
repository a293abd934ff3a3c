"""The number format: what is measured, when it is not, and that one machine takes one format."""

from __future__ import annotations

from pathlib import Path

import pytest

from pipeline.config import TrainConfig
from pipeline.training import precision
from pipeline.training.precision import MIN_STEPS_TO_MEASURE, choose_precision
from pipeline.training.step import measure_step

LONG = MIN_STEPS_TO_MEASURE


@pytest.fixture(autouse=True)
def _own_folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)


@pytest.fixture
def native(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(precision, "cpu_features", lambda: frozenset({"avx512_bf16"}))


def _never(name: str) -> float:
    raise AssertionError(name)


@pytest.mark.parametrize(
    ("float32", "bfloat16", "wanted"), [(100, 190, "bfloat16"), (100, 109, "float32"), (100, 60, "float32")]
)
def test_the_faster_format_is_taken_and_remembered(
    native: None, capsys: pytest.CaptureFixture[str], float32: float, bfloat16: float, wanted: str
) -> None:
    speeds = {"float32": float32, "bfloat16": bfloat16}
    assert choose_precision(TrainConfig(weights="none"), LONG, False, speeds.__getitem__) == wanted
    said = f"precision {wanted} for resnet18, 64 px, batch 64 (images per second: float32 {float32}, bfloat16"
    assert said in capsys.readouterr().out
    assert choose_precision(TrainConfig(weights="none"), LONG, False, _never) == wanted
    assert choose_precision(TrainConfig(weights="none", learning_rate=0.5, epochs=99), LONG, False, _never) == wanted
    assert capsys.readouterr().out == ""
    with pytest.raises(AssertionError):
        choose_precision(TrainConfig(weights="none", image_size=96), LONG, False, _never)


def test_on_a_gpu_every_format_is_measured() -> None:
    speeds = {"float32": 100.0, "bfloat16": 150.0, "float16": 200.0}
    assert choose_precision(TrainConfig(weights="none"), LONG, True, speeds.__getitem__) == "float16"


def test_what_is_asked_for_or_too_short_or_emulated_is_not_measured(
    native: None, monkeypatch: pytest.MonkeyPatch
) -> None:
    assert choose_precision(TrainConfig(weights="none", precision="float16"), LONG, False, _never) == "float16"
    assert choose_precision(TrainConfig(weights="none"), LONG - 1, False, _never) == "float32"
    assert choose_precision(TrainConfig(weights="none", image_size=128), LONG - 1, False, _never) == "bfloat16"
    assert choose_precision(TrainConfig(weights="none"), LONG - 1, True, _never) == "bfloat16"
    monkeypatch.setattr(precision, "cpu_features", lambda: frozenset({"avx512_bf16", "amx_bf16"}))
    assert choose_precision(TrainConfig(weights="none"), LONG - 1, False, _never) == "bfloat16"
    monkeypatch.setattr(precision, "cpu_features", lambda: frozenset({"avx2"}))
    assert choose_precision(TrainConfig(weights="none"), LONG, False, _never) == "float32"


@pytest.mark.parametrize("name", ["float32", "bfloat16", "float16"])
def test_a_step_can_be_measured_in_every_format(small_net: None, name: str) -> None:
    speed = measure_step(TrainConfig(weights="none", image_size=32, batch_size=2), 3, name)
    assert speed.images_per_second > 0
    assert speed.startup_s > 0
