"""Learning-rate schedules: linear warm-up to the peak, then a named schedule.

Every schedule starts at the peak and, except ``constant``, ends at ``lr_decay`` times the peak, so that ``lr_schedule``
and ``lr_decay`` can be searched independently. A new one is one line in `SCHEDULES`.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import TYPE_CHECKING

import numpy as np

from pipeline.config import TrainingConfig

if TYPE_CHECKING:
    import keras

STEP_STAGES = 3  # constant stages of the step schedule, equally long

# (progress in 0..1, final fraction) -> fraction of the peak, element by element
SCHEDULES: dict[str, Callable[[np.ndarray, float], np.ndarray]] = {
    "constant": lambda progress, end: np.ones_like(progress),
    "cosine": lambda progress, end: end + (1 - end) * (1 + np.cos(np.pi * progress)) / 2,
    "exponential": lambda progress, end: end**progress,
    "step": lambda progress, end: (
        end ** (np.minimum(np.floor(progress * STEP_STAGES), STEP_STAGES - 1) / (STEP_STAGES - 1))
    ),
}


def learning_rates(config: TrainingConfig, steps_per_epoch: int) -> np.ndarray:
    """Return the learning rate of every step of the training, float32 of shape (epochs * steps_per_epoch,)."""
    steps = np.arange(config.epochs * steps_per_epoch)
    warmup = min(round(config.warmup_epochs * steps_per_epoch), len(steps))
    rising = (steps + 1) / max(warmup, 1)
    progress = np.clip((steps - warmup) / max(len(steps) - 1 - warmup, 1), 0, 1)
    falling = SCHEDULES[config.lr_schedule](progress, config.lr_decay)
    return (config.learning_rate * np.where(steps < warmup, rising, falling)).astype(np.float32)


def learning_rate_schedule(
    config: TrainingConfig, steps_per_epoch: int
) -> keras.optimizers.schedules.LearningRateSchedule:
    """Return `learning_rates` as a Keras schedule that looks them up inside the compiled step."""
    import keras

    table = keras.ops.convert_to_tensor(learning_rates(config, steps_per_epoch))

    class Table(keras.optimizers.schedules.LearningRateSchedule):
        def __call__(self, step: keras.KerasTensor) -> keras.KerasTensor:
            return keras.ops.take(table, keras.ops.minimum(step, len(table) - 1))

    return Table()
