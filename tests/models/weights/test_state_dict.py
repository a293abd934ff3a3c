"""Weights of timm and torchvision: the features are those of these libraries, to a thousandth of their range."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import pytest
from safetensors.numpy import save_file

from pipeline.config import TrainConfig, UserError
from pipeline.config.base import Variant
from pipeline.models.builder import build_classifier
from pipeline.models.variants import VARIANTS
from pipeline.models.weights.files import timm_name
from tests.models.made_up_weights import MEAN, STD, expected_features, made_up_state_dict, photos

QUICK = ("resnet18", "resnet50", "resnet18_v2", "resnet18_vd", "resnet50_vd")
EVERY_VARIANT = [variant if variant in QUICK else pytest.param(variant, marks=pytest.mark.slow) for variant in VARIANTS]


def timm_folder(folder: Path, name: str, tensors: dict[str, np.ndarray] | None = None, **config: object) -> Path:
    """Write a folder as Hugging Face has timm's models."""
    folder.mkdir(exist_ok=True)
    save_file(tensors or made_up_state_dict(name), folder / "model.safetensors")
    about = {"architecture": name, "pretrained_cfg": {"mean": MEAN, "std": STD}} | config
    (folder / "config.json").write_text(json.dumps(about))
    return folder


def features(variant: str, weights: Path) -> np.ndarray:
    """Return what a classifier that starts from these weights computes of the made-up photos before its head."""
    import keras

    keras.backend.clear_session()
    model = build_classifier(TrainConfig(variant=variant, image_size=64, weights=str(weights)), classes=2)  # type: ignore[arg-type]
    return np.asarray(keras.Model(model.inputs[0], model.get_layer("pool").output)(photos(), training=False))


def assert_parity(actual: np.ndarray, expected: np.ndarray) -> None:
    """Compare features, each as a share of the range of all."""
    assert actual.shape == expected.shape
    assert np.abs(actual - expected).max() < 1e-3 * np.ptp(expected)


@pytest.mark.parametrize("variant", EVERY_VARIANT)
def test_features_are_those_of_timm(variant: Variant, tmp_path: Path) -> None:
    name = timm_name(variant)
    assert_parity(features(variant, timm_folder(tmp_path / "timm", name)), expected_features(name))


def test_an_identity_in_the_place_of_a_projection_stays_one_in_training(tmp_path: Path) -> None:
    """timm's 18d and 34d have no projection in their first block; ours normalises by the batch."""
    import keras

    tensors = made_up_state_dict("resnet18d")
    config = TrainConfig(variant="resnet18_vd", image_size=64, weights=str(timm_folder(tmp_path / "x", "resnet18d")))
    backbone = build_classifier(config, 2).get_layer("backbone")
    assert "layer1.0.downsample.1.weight" not in tensors
    ends = [backbone.get_layer(name).output for name in ("pool1_pool", "stack0_block0_0_bn")]
    probe = keras.Model(backbone.inputs[0], ends)
    pixels = np.random.default_rng(1).normal(size=(16, 64, 64, 3)).astype(np.float32)
    before, after = probe(pixels, training=False)
    np.testing.assert_allclose(after, before, atol=1e-4)
    before, after = probe(pixels, training=True)
    correlation = np.corrcoef(np.ravel(before), np.ravel(after))[0, 1]
    assert correlation > 0.9
    assert 0.5 < np.std(after) / np.std(before) < 2


@pytest.mark.parametrize(
    ("variant", "change", "message"),
    [
        ("resnet34", {}, "resnet18 in .* for variant=resnet34"),
        ("resnet18_vd", {}, "resnet18 in .* for variant=resnet18_vd"),
        ("resnet18", {"layer1.0.conv1.weight": None}, "no layer1.0.conv1.weight"),
        ("resnet18", {"layer1.9.conv1.weight": np.zeros((1, 1), np.float32)}, "an extra layer1.9.conv1.weight"),
        ("resnet18", {"conv1.weight": np.zeros((64, 4, 7, 7), np.float32)}, r"conv1.weight of float32 \(7, 7, 4, 64\)"),
        ("resnet18", {"bn1.bias": np.full(64, np.nan, np.float32)}, "finite"),
        ("resnet18", {"bn1.bias": np.zeros(64, np.int32)}, "int32"),
    ],
)
def test_other_architectures_are_refused_by_name(
    variant: str, change: dict[str, np.ndarray | None], message: str, tmp_path: Path
) -> None:
    tensors = {name: array for name, array in (made_up_state_dict("resnet18") | change).items() if array is not None}
    with pytest.raises(UserError, match=message) as caught:
        features(variant, timm_folder(tmp_path / "x", "resnet18", tensors))
    assert "\n" not in str(caught.value)
