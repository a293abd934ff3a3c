"""The learning rate over the steps: where it peaks, how it falls, where it ends."""

from __future__ import annotations

from typing import get_args

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from pipeline.config import Schedule, TrainConfig
from pipeline.training.schedules import SCHEDULES, STEP_STAGES, learning_rate_schedule, learning_rates


def _config(epochs: int, warmup: float, rate: float, schedule: str, decay: float) -> TrainConfig:
    return TrainConfig(
        epochs=epochs, warmup_epochs=warmup * epochs, learning_rate=rate, lr_schedule=schedule, lr_decay=decay
    )


configs = st.builds(
    _config,
    st.integers(2, 30),
    st.floats(0, 0.8),
    st.floats(1e-6, 10),
    st.sampled_from(sorted(SCHEDULES)),
    st.floats(1e-4, 1),
)
steps = st.integers(1, 50)


def test_every_schedule_of_the_flag_exists() -> None:
    assert set(SCHEDULES) == set(get_args(Schedule))


@given(config=configs, steps_per_epoch=steps)
@settings(deadline=None)
def test_rates_are_finite_and_positive_one_for_every_step(config: TrainConfig, steps_per_epoch: int) -> None:
    rates = learning_rates(config, steps_per_epoch)
    assert rates.shape == (config.epochs * steps_per_epoch,)
    assert rates.dtype == np.float32
    assert np.isfinite(rates).all()
    assert (rates > 0).all()


@given(config=configs, steps_per_epoch=steps)
@settings(deadline=None)
def test_the_rate_rises_in_equal_steps_to_its_peak_and_never_rises_again(
    config: TrainConfig, steps_per_epoch: int
) -> None:
    rates = learning_rates(config, steps_per_epoch)
    warmup = round(config.warmup_epochs * steps_per_epoch)
    peak = np.float32(config.learning_rate)
    assert rates.max() == peak
    assert rates[max(warmup - 1, 0)] == peak
    np.testing.assert_allclose(rates[:warmup], peak * np.arange(1, warmup + 1) / max(warmup, 1), rtol=1e-6)
    assert (np.diff(rates[warmup:]) <= 1e-6 * peak).all()


@given(config=configs, steps_per_epoch=st.integers(10, 50))
@settings(deadline=None)
def test_the_last_step_has_what_the_decay_leaves(config: TrainConfig, steps_per_epoch: int) -> None:
    left = 1.0 if config.lr_schedule == "constant" else config.lr_decay
    assert learning_rates(config, steps_per_epoch)[-1] == pytest.approx(config.learning_rate * left, rel=1e-5)


def test_known_values() -> None:
    def rates(schedule: str) -> list[float]:
        config = TrainConfig(epochs=3, warmup_epochs=0, learning_rate=1.0, lr_schedule=schedule, lr_decay=0.25)
        return learning_rates(config, 3).tolist()

    assert rates("constant") == [1.0] * 9
    assert rates("cosine")[4] == pytest.approx(0.625)  # half-way between 1 and 0.25
    assert rates("exponential")[4] == pytest.approx(0.5)  # the geometric mean of 1 and 0.25
    assert rates("step") == [1.0] * 3 + [0.5] * 3 + [0.25] * 3
    assert len(set(rates("step"))) == STEP_STAGES


def test_one_epoch_with_warm_up_rises_to_the_end() -> None:
    rates = learning_rates(TrainConfig(epochs=1, warmup_epochs=1, learning_rate=1.0), 4)
    assert rates.tolist() == [0.25, 0.5, 0.75, 1.0]


def test_keras_reads_the_same_table_and_stays_at_its_end() -> None:
    config = TrainConfig(epochs=3, warmup_epochs=1, learning_rate=0.1)
    expected = learning_rates(config, 5)
    schedule = learning_rate_schedule(config, 5)
    assert [np.float32(schedule(step)) for step in range(15)] == expected.tolist()
    assert np.float32(schedule(99)) == expected[-1]
