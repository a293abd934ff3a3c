"""The weights of classes: their formulas, and that the training loss is what they say, mixed and smoothed, too."""

from __future__ import annotations

import keras
import numpy as np
import pytest
import tensorflow as tf
from hypothesis import given
from hypothesis import strategies as st

from pipeline.config import TrainConfig
from pipeline.training.class_weights import BETA, class_weights
from pipeline.training.optimizers import make_optimizer
from pipeline.training.step import compiled_step

LABELS = np.repeat([0, 1, 2], [80, 15, 5])


def _config(**flags: object) -> TrainConfig:
    return TrainConfig(**{"weights": "none"} | flags)


def _weights(name: str, labels: np.ndarray, classes: int) -> np.ndarray:
    weights = class_weights(_config(class_weights=name), labels, classes)
    assert weights is not None
    assert weights.dtype == np.float32
    return weights


def test_without_the_flag_nothing_is_weighted() -> None:
    assert class_weights(_config(), LABELS, 3) is None


def test_balanced_is_n_by_the_number_of_classes_and_of_photos() -> None:
    assert _weights("balanced", LABELS, 3) == pytest.approx(100 / (3 * np.array([80, 15, 5])))


def test_effective_is_the_inverse_of_the_effective_number_of_photos() -> None:
    """Cui et al. 2019, equations 1 and 2."""
    effective = (1 - BETA ** np.array([80, 15, 5])) / (1 - BETA)
    weights = _weights("effective", LABELS, 3)
    assert weights[1:] / weights[0] == pytest.approx(effective[0] / effective[1:], rel=1e-5)
    balanced = _weights("balanced", LABELS, 3)
    assert 1 < weights[2] / weights[0] < balanced[2] / balanced[0]


@given(
    photos=st.lists(st.integers(0, 3000), min_size=2, max_size=6).filter(any),
    name=st.sampled_from(["balanced", "effective"]),
)
def test_the_mean_over_the_photos_is_one_and_rarer_classes_weigh_no_less(photos: list[int], name: str) -> None:
    labels = np.repeat(np.arange(len(photos)), photos)
    weights = _weights(name, labels, len(photos))
    assert weights[labels].mean() == pytest.approx(1, rel=1e-4)
    by_photos = [weights[number] for number in np.argsort(photos) if photos[number]]
    assert by_photos == sorted(by_photos, reverse=True)
    assert all(weights[number] == 0 for number, count in enumerate(photos) if not count)


def _one_step(weights: np.ndarray | None, targets: np.ndarray, **flags: object) -> tuple[float, np.ndarray]:
    """Return the loss of a step, and the change of the logits' biases by plain gradient descent at rate 1."""
    config = _config(optimizer="sgd", learning_rate=1.0, lr_schedule="constant", warmup_epochs=0, epochs=1, **flags)
    layer = keras.layers.Dense(3, kernel_initializer="zeros", bias_initializer="zeros")
    network = keras.Sequential([keras.layers.Input((2,)), layer])
    optimizer = keras.optimizers.SGD(1.0)
    optimizer.scale_loss = lambda loss: loss
    assert make_optimizer(config, 1, "float32")  # the config is one that can be trained
    step, totals = compiled_step(network, optimizer, config, tf.distribute.get_strategy(), class_weights=weights)
    step(tf.zeros((len(targets), 2)), tf.constant(targets, tf.float32))
    return float(totals.numpy()[0]), -layer.bias.numpy()


@pytest.mark.parametrize("smoothing", [0.0, 0.3])
@pytest.mark.parametrize("share", [1.0, 0.25])
def test_the_loss_of_a_mix_is_the_mix_of_the_weighted_losses(share: float, smoothing: float) -> None:
    """And so are its gradients, which TensorFlow gets wrong where targets do not add up to 1."""
    weights, one_hot = np.array([0.5, 2, 8], np.float32), np.eye(3)
    targets = share * one_hot[[0, 2, 1]] + (1 - share) * one_hot[[2, 1, 1]]
    loss, gradient = _one_step(weights, targets, label_smoothing=smoothing)
    smooth = (1 - smoothing) * one_hot + smoothing / 3  # of a photo of each class
    own = targets * weights  # of each photo, the weight of each class in it
    assert loss == pytest.approx((own.sum(axis=1) * np.log(3)).mean(), rel=1e-5)
    expected = (own[:, :, None] * (1 / 3 - smooth)[None]).sum(axis=1).mean(axis=0)
    assert gradient == pytest.approx(expected, abs=1e-6)


def test_equal_weights_change_nothing() -> None:
    targets = np.eye(3)[[0, 2, 1, 1]]
    plain, weighted = (_one_step(weights, targets, label_smoothing=0.1) for weights in (None, np.ones(3, np.float32)))
    assert weighted[0] == pytest.approx(plain[0], rel=1e-6)
    assert weighted[1] == pytest.approx(plain[1], abs=1e-7)
