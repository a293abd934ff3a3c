"""Batch normalisation folded into convolutions: the same outputs, fewer layers, and nothing folded that must not be."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np
import pytest

from pipeline.config import TrainConfig
from pipeline.models.builder import build_classifier
from tests.conftest import EVERY_VARIANT

if TYPE_CHECKING:
    import keras


def _varied(model: keras.Model) -> keras.Model:
    """Return the model with weights and averages such as training leaves, none of them 0 or 1."""
    random = np.random.default_rng(0)
    for weight in model.weights:
        spread = random.normal(1 if "variance" in weight.path or "gamma" in weight.path else 0, 0.1, weight.shape)
        weight.assign(spread if weight.shape[:-1] == () else weight.numpy())
    return model


def _kinds(model: keras.Model) -> list[str]:
    return [type(layer).__name__ for layer in model.layers]


def _assert_same_outputs(left: keras.Model, right: keras.Model, inputs: np.ndarray) -> None:
    wanted = np.asarray(right(inputs, training=False))
    assert np.ptp(wanted) > 1e-3
    np.testing.assert_allclose(np.asarray(left(inputs, training=False)), wanted, atol=1e-5 * np.abs(wanted).max())


CHANGES: list[dict[str, object]] = [{"skip_connections": False}, {"stem": "deep"}, {"width": 0.5}]


@pytest.mark.parametrize(
    ("variant", "changes"),
    [
        *(pytest.param(*variant.values, {}, marks=variant.marks) for variant in EVERY_VARIANT),
        *((variant, changes) for variant in ("resnet18", "resnet18_v2") for changes in CHANGES),
    ],
)
def test_a_folded_classifier_computes_the_same_in_fewer_layers(variant: str, changes: dict[str, object]) -> None:
    from pipeline.models.folding import fold_batch_norm

    config = TrainConfig.model_validate(
        {"weights": "none", "variant": variant, "image_size": 32, "head_units": 8} | changes
    )
    model = _varied(build_classifier(config, classes=3))
    smaller = fold_batch_norm(model)
    _assert_same_outputs(smaller, model, np.random.default_rng(1).integers(0, 256, (2, 32, 32, 3), np.uint8))
    before, after = (_kinds(each.get_layer("backbone")) for each in (model, smaller))
    assert after.count("BatchNormalization") < before.count("BatchNormalization") / 2 + 1
    if not variant.endswith("_v2"):
        assert "BatchNormalization" not in after


def test_only_a_normalisation_that_alone_follows_a_linear_convolution_is_folded() -> None:
    import keras

    from pipeline.models.folding import fold_batch_norm

    layers = keras.layers
    inputs = keras.Input((8, 8, 3))
    used_twice = layers.Conv2D(4, 3)(inputs)
    with_relu = layers.Conv2D(4, 3, activation="relu")(inputs)
    after_relu = layers.BatchNormalization()(with_relu)
    other_axis = layers.BatchNormalization(axis=1)(layers.Conv2D(4, 3)(inputs))
    total = layers.Add()([layers.BatchNormalization()(used_twice), used_twice, after_relu, other_axis])
    model = _varied(keras.Model(inputs, total))
    assert _kinds(fold_batch_norm(model)).count("BatchNormalization") == 3
    _assert_same_outputs(fold_batch_norm(model), model, np.random.default_rng(1).normal(size=(2, 8, 8, 3)).astype("f"))


def test_a_convolution_keeps_its_bias_and_a_normalisation_may_lack_scale_and_shift() -> None:
    import keras

    from pipeline.models.folding import fold_batch_norm

    layers = keras.layers
    inputs = keras.Input((8, 8, 3))
    x = layers.BatchNormalization(center=False)(layers.Conv2D(4, 3, bias_initializer="ones")(inputs))
    x = layers.BatchNormalization(scale=False)(layers.Conv2D(4, 3, padding="same")(x))
    model = _varied(keras.Model(inputs, x))
    assert "BatchNormalization" not in _kinds(fold_batch_norm(model))
    _assert_same_outputs(fold_batch_norm(model), model, np.random.default_rng(1).normal(size=(2, 8, 8, 3)).astype("f"))


def test_the_model_itself_stays_as_it_is() -> None:
    from pipeline.models.folding import fold_batch_norm

    model = _varied(build_classifier(TrainConfig(weights="none", image_size=32), classes=3))
    before, kinds = model.get_weights(), _kinds(model.get_layer("backbone"))
    fold_batch_norm(model)
    assert kinds == _kinds(model.get_layer("backbone"))
    for left, right in zip(model.get_weights(), before, strict=True):
        np.testing.assert_array_equal(left, right)
