"""The faster layers against the built-in ones: equal outputs, gradients, moving averages and weights."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np
import pytest

from pipeline.config import TrainConfig
from pipeline.models.builder import build_classifier

if TYPE_CHECKING:
    import keras
    import tensorflow as tf

# side, channels, filters, kernel, stride, padding, and what is made of it
CONVOLUTIONS = [
    (2, 512, 16, 3, 1, "same", "all"),
    (4, 512, 8, 3, 1, "same", "all"),
    (3, 512, 8, 1, 1, "same", "all"),
    (4, 512, 8, 3, 1, "valid", "all"),
    (8, 256, 8, 3, 1, "same", "gradient"),
    (9, 256, 8, 3, 2, "valid", "gradient"),
    (6, 256, 8, 3, 2, "valid", "gradient"),
    (8, 256, 8, 1, 2, "valid", "gradient"),
    (5, 256, 8, 1, 2, "valid", "gradient"),
    (16, 256, 8, 3, 1, "same", "none"),
    (8, 128, 8, 3, 1, "same", "none"),
]


def _normal(*shape: int, seed: int = 0) -> np.ndarray:
    return np.random.default_rng(seed).normal(size=shape).astype(np.float32)


def _step(model: keras.Model, inputs: np.ndarray, seed: int = 1) -> tuple[np.ndarray, list[np.ndarray]]:
    """Return the outputs in training, and the gradients by inputs and weights of their product with random numbers."""
    import tensorflow as tf

    tensor = tf.constant(inputs)
    with tf.GradientTape() as tape:
        tape.watch(tensor)
        outputs = model(tensor, training=True)
        loss = tf.reduce_sum(tf.cast(outputs, tf.float32) * _normal(*outputs.shape, seed=seed))
    gradients: list[tf.Tensor] = tape.gradient(loss, [tensor, *(weight.value for weight in model.trainable_variables)])
    return outputs.numpy(), [gradient.numpy() for gradient in gradients]


def _assert_close(left: np.ndarray, right: np.ndarray) -> None:
    np.testing.assert_allclose(left, right, atol=2e-5 * max(1.0, float(np.abs(right).max())))


@pytest.mark.parametrize(("side", "channels", "filters", "size", "stride", "padding", "what"), CONVOLUTIONS)
def test_a_convolution_and_its_gradients_are_the_same(
    side: int, channels: int, filters: int, size: int, stride: int, padding: str, what: str
) -> None:
    import keras

    from pipeline.models.fast_layers import FastConv2D, is_tiny, with_fast_layers

    layers = [
        keras.Input((side, side, channels)),
        keras.layers.Conv2D(filters, size, stride, padding, use_bias=size == 1, bias_initializer="ones"),
    ]
    model = keras.Sequential(layers)
    fast = with_fast_layers(model)
    assert isinstance(fast.layers[-1], FastConv2D) == (what != "none")
    assert is_tiny(fast.layers[-1]) == (what == "all")
    inputs = _normal(3, side, side, channels)
    wanted, got = _step(model, inputs), _step(fast, inputs)
    _assert_close(got[0], wanted[0])
    for left, right in zip(got[1], wanted[1], strict=True):
        _assert_close(left, right)


@pytest.mark.parametrize("arguments", [{"groups": 2}, {"dilation_rate": 2}])
def test_a_convolution_of_another_kind_stays_as_it_is(arguments: dict[str, int]) -> None:
    import keras

    from pipeline.models.fast_layers import with_fast_layers

    model = keras.Sequential([keras.Input((8, 8, 256)), keras.layers.Conv2D(4, 3, padding="same", **arguments)])
    assert type(with_fast_layers(model).layers[-1]) is keras.layers.Conv2D


@pytest.mark.parametrize("shape", [(4, 3, 3, 5), (1, 2, 2, 3), (6, 1, 1, 4)])
def test_a_normalisation_its_gradients_and_its_averages_are_the_same(shape: tuple[int, ...]) -> None:
    import keras

    from pipeline.models.fast_layers import FastBatchNormalization, with_fast_layers

    model = keras.Sequential(
        [keras.Input(shape[1:]), keras.layers.BatchNormalization(momentum=0.8, epsilon=1e-3, gamma_initializer="ones")]
    )
    fast = with_fast_layers(model)
    assert isinstance(fast.layers[-1], FastBatchNormalization)
    for seed in range(3):
        inputs = 2 + 3 * _normal(*shape, seed=seed)
        wanted, got = _step(model, inputs, seed), _step(fast, inputs, seed)
        _assert_close(got[0], wanted[0])
        for left, right in zip(got[1], wanted[1], strict=True):
            _assert_close(left, right)
    for left, right in zip(fast.get_weights(), model.get_weights(), strict=True):
        _assert_close(left, right)
    _assert_close(fast(inputs, training=False).numpy(), model(inputs, training=False).numpy())


def test_a_frozen_normalisation_keeps_its_averages() -> None:
    import keras

    from pipeline.models.fast_layers import with_fast_layers

    fast = with_fast_layers(keras.Sequential([keras.Input((4, 4, 3)), keras.layers.BatchNormalization()]))
    fast.trainable = False
    before = fast.get_weights()
    fast(5 + _normal(2, 4, 4, 3), training=True)
    assert all(map(np.array_equal, before, fast.get_weights()))


@pytest.mark.parametrize("variant", ["resnet18", "resnet18_v2", "resnet18_vd"])
def test_a_network_of_fast_layers_learns_the_same(variant: str) -> None:
    import tensorflow as tf

    from pipeline.models.fast_layers import FastBatchNormalization, FastConv2D

    config = TrainConfig(weights="none", variant=variant, image_size=64)
    plain, fast = build_classifier(config, 5), build_classifier(config, 5, fast=True)
    fast.set_weights(plain.get_weights())
    kinds = [type(layer) for layer in fast.get_layer("backbone").layers]
    assert kinds.count(FastConv2D) >= 8
    assert kinds.count(FastBatchNormalization) >= 17
    images = np.random.default_rng(0).integers(0, 256, (8, 64, 64, 3), dtype=np.uint8)
    gradients = []
    for model in (plain, fast):
        with tf.GradientTape() as tape:
            logits = model(images, training=True)
            loss = tf.reduce_mean(tf.nn.sparse_softmax_cross_entropy_with_logits(np.arange(8) % 5, logits))
        gradients.append(tape.gradient(loss, [weight.value for weight in model.trainable_variables]))
    for weight, left, right in zip(plain.trainable_variables, *gradients, strict=True):
        apart = float(tf.norm(left - right) / tf.norm(left))  # a ReLU near zero may fall to the other side
        assert apart < 0.03, weight.path
    for left, right in zip(plain.non_trainable_variables, fast.non_trainable_variables, strict=True):
        np.testing.assert_allclose(left.numpy(), right.numpy(), rtol=1e-3, atol=1e-4)


def test_a_relu_of_bfloat16_and_of_a_sum_is_the_same_to_the_bit() -> None:
    import keras
    import tensorflow as tf

    from pipeline.models.fast_layers import FastAddReLU, FastReLU, with_fast_layers

    inputs = [keras.Input((3, 3, 7), dtype="bfloat16") for _ in range(2)]
    rectified = keras.layers.Activation("relu", dtype="bfloat16")(inputs[0])
    added = keras.layers.Add(dtype="bfloat16")([rectified, inputs[1]])
    model = keras.Model(inputs, keras.layers.Activation("relu", dtype="bfloat16")(added))
    fast = with_fast_layers(model)
    assert {FastReLU, FastAddReLU} <= {type(layer) for layer in fast.layers}
    values = [tf.cast(_normal(5, 3, 3, 7, seed=seed), tf.bfloat16) for seed in range(2)]
    special = tf.constant([-0.0, 0.0, np.inf, -np.inf, 1e-38, -1e-38, 3], tf.bfloat16)
    values[0] = tf.concat([values[0][1:], tf.broadcast_to(special, (1, 3, 3, 7))], 0)
    results = []
    for network in (model, fast):
        with tf.GradientTape() as tape:
            tape.watch(values)
            outputs = network(values, training=True)
        results.append([outputs, *tape.gradient(outputs, values, output_gradients=values[1])])
    for left, right in zip(*results, strict=True):
        assert np.array_equal(left.numpy().astype(np.float32), right.numpy().astype(np.float32))


@pytest.mark.parametrize(("variant", "policy", "sums"), [
    ("resnet18", "mixed_bfloat16", 8), ("resnet18_v2", "mixed_bfloat16", 0), ("resnet18", "float32", 0),
])  # fmt: skip
def test_a_sum_is_joined_with_the_relu_that_alone_uses_it(variant: str, policy: str, sums: int) -> None:
    """The second version's sums go on past their ReLU; in float32 nothing is gained."""
    from pipeline.models.fast_layers import FastAddReLU, FastReLU

    network = build_classifier(TrainConfig(weights="none", variant=variant, image_size=32), 3, policy, fast=True)
    kinds = [type(layer) for layer in network.get_layer("backbone").layers]
    assert kinds.count(FastAddReLU) == sums
    assert (kinds.count(FastReLU) > 0) == (policy != "float32")
