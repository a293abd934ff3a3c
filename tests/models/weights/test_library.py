"""The project's folder of weights: filled once, from caches or the network, and verified from then on."""

from __future__ import annotations

import shutil
import socket
import time
from collections.abc import Iterator
from pathlib import Path

import huggingface_hub.constants
import kagglehub.config
import keras_hub
import pytest

from pipeline.config import TrainConfig, UserError
from pipeline.config.base import Variant
from pipeline.files import sha256_of_file
from pipeline.models.variants import VARIANTS
from pipeline.models.weights import network
from pipeline.models.weights.hubs import NotFetched
from pipeline.models.weights.library import find_weights, origin_of, own_folder
from pipeline.models.weights.places import weights_of
from pipeline.models.weights.sources import SOURCES
from tests.fake_hub import SCALING, FakeHub, fake_hub, save_small_preset

REPOSITORY = SOURCES["resnet18"].repository
FILES = ("config.json", "image_converter.json", "model.weights.h5")


@pytest.fixture(scope="module")
def preset(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return save_small_preset(tmp_path_factory.mktemp("preset") / "small")


@pytest.fixture(autouse=True)
def _in_a_new_project(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)


@pytest.fixture
def hub(preset: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[FakeHub]:
    """A hub within reach that has the small net for a ResNet-18."""
    network.answers.cache_clear()
    with fake_hub() as server:
        server.offer(REPOSITORY, preset)
        monkeypatch.setenv("HF_HUB_OFFLINE", "0")
        monkeypatch.setattr(huggingface_hub.constants, "HF_HUB_OFFLINE", False)
        monkeypatch.setattr(huggingface_hub.constants, "ENDPOINT", server.url)
        template = f"{server.url}/{{repo_id}}/resolve/{{revision}}/{{filename}}"
        monkeypatch.setattr(huggingface_hub.constants, "HUGGINGFACE_CO_URL_TEMPLATE", template)
        monkeypatch.setattr(huggingface_hub.constants, "HF_HUB_CACHE", str(tmp_path / "hub"))
        yield server


def _copies_of_weights(server: FakeHub) -> list[str]:
    return [line for line in server.asked if line.startswith("GET") and "weights.h5" in line]


def test_weights_are_fetched_once_and_verified_from_then_on(hub: FakeHub, preset: Path) -> None:
    weights = find_weights("resnet18")
    assert weights.sha256 == sha256_of_file(preset / "model.weights.h5")
    assert weights.scaling == SCALING
    assert origin_of(weights) == f"hf://{REPOSITORY}"
    assert len(_copies_of_weights(hub)) == 1
    asked = len(hub.asked)
    assert find_weights("resnet18") == weights
    assert len(hub.asked) == asked
    assert {path.name for path in own_folder("resnet18").iterdir()} == {*FILES, "SHA256SUMS", "origin.txt"}
    for name in FILES:
        content = (own_folder("resnet18") / name).read_bytes()
        (own_folder("resnet18") / name).write_bytes(content.replace(b"1", b"2"))
        with pytest.raises(UserError, match=f"SHA-256 that was recorded, got another for .*{name}"):
            find_weights("resnet18")
        (own_folder("resnet18") / name).write_bytes(content)


def test_an_interrupted_transfer_goes_on_where_it_was(
    hub: FakeHub, preset: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(huggingface_hub.constants, "DOWNLOAD_CHUNK_SIZE", 1 << 14)  # the last one is lost
    hub.breaks = "weights.h5"
    try:
        find_weights("resnet18")
    except NotFetched:
        assert not own_folder("resnet18").exists()
        find_weights("resnet18")
    first, second = _copies_of_weights(hub)
    assert first.endswith(" 0")
    assert not second.endswith(" 0")
    assert sha256_of_file(own_folder("resnet18") / "model.weights.h5") == sha256_of_file(preset / "model.weights.h5")


def test_other_bytes_than_the_server_names_are_not_taken(hub: FakeHub) -> None:
    hub.sha256[f"{REPOSITORY}/model.weights.h5"] = "1" * 64
    with pytest.raises(NotFetched, match=r"model.weights.h5 must have the SHA-256 1111") as caught:
        find_weights("resnet18")
    assert "\n" not in str(caught.value)
    assert not own_folder("resnet18").exists()


@pytest.mark.parametrize("name", FILES)
def test_what_a_hub_lacks_or_mangles_is_not_taken(name: str, hub: FakeHub) -> None:
    for content in (None, b"<html>please log in</html>"):
        hub.files.pop(f"{REPOSITORY}/{name}", None)
        if content and name != "model.weights.h5":
            hub.files[f"{REPOSITORY}/{name}"] = content
        with pytest.raises(NotFetched) as caught:
            find_weights("resnet18")
        assert "\n" not in str(caught.value)
        assert not own_folder("resnet18").exists()


def test_the_caches_of_this_machine_come_before_the_network(
    hub: FakeHub, preset: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    snapshot = tmp_path / "hub" / f"models--{REPOSITORY.replace('/', '--')}" / "snapshots" / ("a" * 40)
    (snapshot.parents[1] / "refs").mkdir(parents=True)
    (snapshot.parents[1] / "refs" / "main").write_text("a" * 40)
    shutil.copytree(preset, snapshot)
    assert origin_of(find_weights("resnet18")) == f"hf://{REPOSITORY}"
    shutil.rmtree(own_folder("resnet18"))

    monkeypatch.setenv("KAGGLEHUB_CACHE", str(tmp_path / "kaggle"))
    monkeypatch.setattr(kagglehub.config, "DEFAULT_CACHE_FOLDER", str(tmp_path / "kaggle"))
    *owner, version = SOURCES["resnet18"].kaggle.split("/")
    folder = tmp_path.joinpath("kaggle", "models", *owner)
    shutil.copytree(preset, folder / version)
    (folder / ".complete" / version).mkdir(parents=True)
    for name in FILES:  # as KerasHub fetches them: file by file
        (folder / ".complete" / version / f"{name}.complete").touch()
    assert origin_of(find_weights("resnet18")) == f"kaggle://{SOURCES['resnet18'].kaggle}"
    assert not [line for line in hub.asked if "GET" in line]
    shutil.rmtree(tmp_path / "kaggle")
    assert find_weights("resnet18").scaling == SCALING  # what is in the project's folder stays


def test_without_a_network_it_is_said_at_once_also_where_packets_vanish(monkeypatch: pytest.MonkeyPatch) -> None:
    with socket.create_server(("127.0.0.1", 0), backlog=8) as silent:  # takes connections and never answers
        monkeypatch.setenv("HF_HUB_OFFLINE", "0")
        monkeypatch.setattr(huggingface_hub.constants, "ENDPOINT", f"http://127.0.0.1:{silent.getsockname()[1]}")
        started = time.monotonic()
        for _ in range(3):  # found out once
            with pytest.raises(NotFetched, match="does not answer") as caught:
                find_weights("resnet18")
        assert time.monotonic() - started < 5
    assert "\n" not in str(caught.value)
    assert "python -m pipeline weights" in str(caught.value)


def test_a_resolver_that_hangs_is_not_waited_for(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(network, "_ASK", "import time; time.sleep(60)")
    started = time.monotonic()
    assert not network.answers("https://hub.example")
    assert time.monotonic() - started < 5


def test_an_address_on_a_hub_fails_within_seconds_too() -> None:
    started = time.monotonic()
    for address in ("hf://timm/resnet18.a1_in1k", "kaggle://keras/resnetv1/keras/resnet_18_imagenet/3", "imagenet"):
        with pytest.raises(NotFetched, match="must be on this machine or available for download"):
            weights_of(TrainConfig(weights=address))
    assert time.monotonic() - started < 10  # importing KerasHub is the longest part
    for address in ("hf://resnet18/a/b", "kaggle://keras"):
        with pytest.raises(UserError, match="owner"):
            weights_of(TrainConfig(weights=address))


def test_an_address_on_a_hub_is_fetched_into_its_cache(hub: FakeHub, tmp_path: Path) -> None:
    for _ in range(2):
        weights = weights_of(TrainConfig(weights=f"hf://{REPOSITORY}"))
        assert weights
        assert tmp_path / "hub" in weights.file.parents
    assert len(_copies_of_weights(hub)) == 1


def test_what_somebody_puts_there_is_trusted_when_first_seen(preset: Path) -> None:
    shutil.copytree(preset, own_folder("resnet18"))
    digest = find_weights("resnet18").sha256
    (own_folder("resnet18") / ".DS_Store").touch()
    wanted = TrainConfig(weights=f"{own_folder('resnet18')}#sha256={digest}")
    assert weights_of(wanted)
    shutil.copy(save_small_preset(Path("other"), seed=1) / "model.weights.h5", own_folder("resnet18"))
    with pytest.raises(UserError, match="was recorded"):
        weights_of(wanted)
    (own_folder("resnet18") / "SHA256SUMS").unlink()
    with pytest.raises(UserError, match=f"must have the SHA-256 {digest}"):
        weights_of(wanted)


def test_another_machine_fills_its_own_folder_with_the_same(hub: FakeHub) -> None:
    digest = find_weights("resnet18").sha256
    shutil.rmtree(own_folder("resnet18"))
    weights = weights_of(TrainConfig(weights=f"{own_folder('resnet18')}#sha256={digest}"))
    assert weights
    assert weights.sha256 == digest


@pytest.mark.parametrize("variant", VARIANTS)
def test_the_table_is_that_of_keras_hub(variant: Variant) -> None:
    source, preset_name = SOURCES.get(variant), VARIANTS[variant].imagenet_preset
    if not source:
        assert variant == "resnet152_v2"
        return
    assert (source.kaggle != "") == (preset_name != "")
    if preset_name:
        known = keras_hub.models.ResNetBackbone.presets[preset_name]
        assert known["kaggle_handle"] == f"kaggle://{source.kaggle}"
        assert source.repository == f"keras/{preset_name}"
