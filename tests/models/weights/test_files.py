"""Folders and files of weights: the scaling is the one that lies beside them, or they are refused in one line."""

from __future__ import annotations

import json
import shutil
from pathlib import Path
from typing import Any

import h5py
import numpy as np
import pytest
from safetensors.numpy import save_file

from pipeline.config import TrainConfig, UserError
from pipeline.files import sha256_of_file
from pipeline.models.builder import build_classifier, load_start
from pipeline.models.variants import VARIANTS
from pipeline.models.weights import files
from pipeline.models.weights.files import open_weights
from pipeline.models.weights.places import is_classifier, parse_address
from tests.models.made_up_weights import MEAN, STD, TORCH_FILE, expected_features, made_up_state_dict
from tests.models.weights.test_state_dict import assert_parity, features, timm_folder

CONVERTER = {"config": {"scale": [0.017, 0.018, 0.019], "offset": [-2.1, -2.0, -1.8]}}


@pytest.fixture(scope="module")
def preset(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A KerasHub preset of a ResNet-18 with made-up weights, and a scaling of its own."""
    import keras_hub

    folder = tmp_path_factory.mktemp("preset")
    timm = open_weights(timm_folder(folder / "timm", "resnet18"))
    backbone = keras_hub.models.ResNetBackbone(**VARIANTS["resnet18"].backbone_arguments(), image_shape=(64, 64, 3))
    timm.load(backbone)
    backbone.save_to_preset(str(folder / "preset"))
    keras_hub.layers.ResNetImageConverter(image_size=(64, 64), **timm.scaling).save_to_preset(str(folder / "preset"))
    return folder / "preset"


@pytest.fixture
def copied(preset: Path, tmp_path: Path) -> Path:
    return Path(shutil.copytree(preset, tmp_path / "copied"))


def _message(place: Path) -> str:
    with pytest.raises(UserError) as caught:
        features("resnet18", place)
    assert "\n" not in str(caught.value)
    return str(caught.value)


def test_a_preset_of_keras_hub_is_read_with_its_scaling(preset: Path) -> None:
    assert_parity(features("resnet18", preset), expected_features("resnet18"))


@pytest.mark.parametrize(
    "content",
    [
        "{", "[]", "{}", '{"config": 3}', '{"config": {"scale": 1}}', '{"config": {"scale": "1", "offset": 0}}',
        '{"config": {"scale": [1, 2], "offset": 0}}', '{"config": {"scale": NaN, "offset": 0}}',
        '{"config": {"scale": true, "offset": 0}}', '{"config": {"scale": [1, 2, "3"], "offset": 0}}',
    ],
)  # fmt: skip
def test_a_scaling_that_cannot_be_read_is_an_error(content: str, copied: Path) -> None:
    (copied / "image_converter.json").write_text(content)
    assert "image_converter.json" in _message(copied)


def test_a_preset_without_scaling_is_refused_with_a_remedy(copied: Path) -> None:
    (copied / "image_converter.json").unlink()
    message = _message(copied)
    assert "pretrained_cfg" in message
    (copied / "preprocessor.json").write_text(json.dumps({"config": {"image_converter": CONVERTER}}))
    assert open_weights(copied).scaling == CONVERTER["config"]


@pytest.mark.parametrize(
    "config",
    [
        {}, {"mean": [0.5] * 3}, {"mean": [0.5] * 3, "std": [0.5, 0.5, 0]}, {"mean": 0.5, "std": 0.5}, None, 7,
        {"mean": [0.5] * 3, "std": ["a"] * 3},
    ],
)  # fmt: skip
def test_a_timm_folder_without_a_scaling_is_refused(config: Any, tmp_path: Path) -> None:
    folder = timm_folder(tmp_path / "timm", "resnet18", {"a": np.zeros(1, np.float32)}, pretrained_cfg=config)
    assert "config.json" in _message(folder)
    about = json.loads((folder / "config.json").read_text())
    del about["pretrained_cfg"]
    (folder / "config.json").write_text(json.dumps(about))
    assert "without it" in _message(folder)


@pytest.mark.parametrize("kind", ["", "torchvision_"])
def test_a_file_needs_its_scaling_beside_it(kind: str, tmp_path: Path) -> None:
    """timm's and torchvision's tensors have the same names: what lies beside them tells them apart."""
    file = tmp_path / "resnet18.safetensors"
    save_file(made_up_state_dict(f"{kind}resnet18"), file)
    assert "without it" in _message(file)
    (tmp_path / "config.json").write_text(json.dumps({"pretrained_cfg": {"mean": MEAN, "std": STD}}))
    assert_parity(features("resnet18", file), expected_features(f"{kind}resnet18"))


def test_torchvision_s_own_files_are_known_by_their_checksums(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    stem = f"resnet18-{sha256_of_file(TORCH_FILE)[:8]}"
    for name in (stem, "resnet18-f37072fd"):
        shutil.copy(TORCH_FILE, tmp_path / f"{name}.pth")
    monkeypatch.setattr(files, "TORCHVISION_FILES", (stem, "resnet18-f37072fd"))
    scaling = open_weights(tmp_path / f"{stem}.pth").scaling
    np.testing.assert_allclose(np.multiply(scaling["scale"], 255), 1 / np.array([0.229, 0.224, 0.225]))
    with pytest.raises(UserError, match="without it"):
        _ = open_weights(tmp_path / "resnet18-f37072fd.pth").scaling


def test_layer_weights_come_from_a_backbone_and_from_a_classifier(preset: Path, tmp_path: Path) -> None:
    model = build_classifier(TrainConfig(image_size=64, weights=str(preset), head_units=4), classes=3)
    model.save_weights(tmp_path / "classifier.weights.h5")
    shutil.copy(preset / "model.weights.h5", tmp_path / "backbone.weights.h5")
    shutil.copy(preset / "image_converter.json", tmp_path)
    for name in ("classifier", "backbone"):
        assert_parity(features("resnet18", tmp_path / f"{name}.weights.h5"), expected_features("resnet18"))
        with pytest.raises(UserError, match="fit the variant") as caught:
            features("resnet34", tmp_path / f"{name}.weights.h5")
        assert "\n" not in str(caught.value)


def test_a_file_of_which_keras_would_leave_layers_at_random_is_refused(copied: Path) -> None:
    with h5py.File(copied / "model.weights.h5", "w") as opened:
        opened.create_group("_layer_checkpoint_dependencies/conv1_conv/vars")
    assert "conv1" in _message(copied)


@pytest.mark.parametrize("name", ["model.weights.h5", "config.json"])
@pytest.mark.parametrize("share", [0, 0.5])
def test_cut_files_of_a_preset_are_refused(name: str, share: float, copied: Path) -> None:
    content = (copied / name).read_bytes()
    (copied / name).write_bytes(content[: int(share * len(content))])
    assert name in _message(copied)


def test_folders_and_files_of_something_else_are_refused(tmp_path: Path) -> None:
    assert "config.json" in _message(tmp_path)
    (tmp_path / "config.json").write_text('{"model_type": "bert"}')
    assert "neither registered_name nor architecture" in _message(tmp_path)
    (tmp_path / "config.json").write_text('{"architecture": "resnet18"}')
    assert "model.safetensors" in _message(tmp_path)
    (tmp_path / "weights.ckpt").write_text("")
    assert "weights.ckpt" in _message(tmp_path / "weights.ckpt")
    assert "is not there" in _message(tmp_path / "missing.pth")


def test_a_keras_file_is_a_start_with_its_scaling(preset: Path, tmp_path: Path) -> None:
    config = TrainConfig(image_size=64, weights=str(preset))
    build_classifier(config, classes=2).save(tmp_path / "saved.keras")
    start = load_start(tmp_path / "saved.keras")
    other = config.model_copy(update={"weights": str(tmp_path / "saved.keras")})
    rebuilt = build_classifier(other, classes=3, start_from=start)
    assert rebuilt.get_layer("scaling").scale == pytest.approx(open_weights(preset).scaling["scale"])
    for left, right in zip(
        rebuilt.get_layer("backbone").get_weights(), start.get_layer("backbone").get_weights(), strict=True
    ):
        np.testing.assert_array_equal(left, right)


def test_keras_files_of_other_networks_are_refused(tmp_path: Path) -> None:
    import keras

    keras.Sequential([keras.Input((2,)), keras.layers.Dense(1)]).save(tmp_path / "dense.keras")
    (tmp_path / "cut.keras").write_bytes((tmp_path / "dense.keras").read_bytes()[:500])
    for name, rule in (("dense", "classifier of this project"), ("cut", "a network that Keras can read")):
        with pytest.raises(UserError, match=rule) as caught:
            load_start(tmp_path / f"{name}.keras")
        assert "\n" not in str(caught.value)


def test_an_address_may_pin_the_numbers(preset: Path) -> None:
    digest = sha256_of_file(preset / "model.weights.h5")
    pinned = Path(f"{preset}#sha256={digest}")
    assert_parity(features("resnet18", pinned), expected_features("resnet18"))
    assert "must have the SHA-256" in _message(Path(f"{preset}#sha256={'0' * 64}"))
    assert parse_address(str(pinned)) == (str(preset), digest)
    assert parse_address(f"{preset}#sha256=1") == (f"{preset}#sha256=1", "")
    assert [is_classifier(text) for text in ("models:/a@b", "a.keras", "a", "a.weights.h5")] == [
        True,
        True,
        False,
        False,
    ]
