"""Statistics of batch normalisation are averaged over the steps, as weights are."""

from __future__ import annotations

import numpy as np
import pytest
import tensorflow as tf

from pipeline.config import TrainConfig
from pipeline.models.builder import build_classifier
from pipeline.training.averaging import StatisticsAverages
from pipeline.training.optimizers import make_optimizer
from pipeline.training.step import compiled_step

STEPS, CLASSES = 4, 3


def _statistics(config: TrainConfig) -> tuple[list[np.ndarray], np.ndarray, np.ndarray]:
    """Train some steps; return the statistics after each, their averages, and what is written into the network."""
    network = build_classifier(config, CLASSES, load_weights=False)
    optimizer, strategy = make_optimizer(config, STEPS), tf.distribute.get_strategy()
    averages = StatisticsAverages(network, optimizer, config.ema)
    step, _ = compiled_step(network, optimizer, config, strategy, after_update=averages.update)
    rng = np.random.default_rng(0)
    targets = tf.one_hot(rng.integers(0, CLASSES, 8), CLASSES)
    after_steps = []
    for _ in range(STEPS):
        step(tf.constant(rng.integers(0, 256, (8, 32, 32, 3), dtype=np.uint8)), targets)
        after_steps.append(_flat(weight for weight in network.weights if weight.name.startswith("moving_")))
    averaged = _flat(averages.variables)
    averages.write()
    written = _flat(weight for weight in network.weights if weight.name.startswith("moving_"))
    return after_steps, averaged, written


def _flat(variables: object) -> np.ndarray:
    values = [np.ravel(variable.numpy()) for variable in variables]  # type: ignore[attr-defined]
    return np.concatenate(values) if values else np.empty(0)


@pytest.fixture
def config() -> TrainConfig:
    return TrainConfig(weights="none", image_size=32, width=0.125, epochs=2, optimizer="sgd", learning_rate=0.1)


def test_averages_follow_the_statistics_from_the_first_step_on(config: TrainConfig) -> None:
    after_steps, averaged, written = _statistics(config.model_copy(update={"ema": 0.6}))
    expected = after_steps[0]
    for statistics in after_steps[1:]:
        expected = 0.6 * expected + 0.4 * statistics
    np.testing.assert_allclose(averaged, expected, rtol=1e-4, atol=1e-6)
    np.testing.assert_array_equal(written, averaged)
    assert np.abs(averaged - after_steps[-1]).max() > 0.01


def test_nothing_is_averaged_without_a_momentum(config: TrainConfig) -> None:
    after_steps, averaged, written = _statistics(config)
    assert not averaged.size
    np.testing.assert_array_equal(written, after_steps[-1])
