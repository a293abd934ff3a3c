"""The phases of a training: consecutive epochs that train the same layers on photos of the same size.

Most trainings have one phase. Fine-tuning has two: the head alone, on features that are computed once, then the stages
from ``unfreeze_from`` on at a lower rate (Howard and Ruder 2018, arXiv 1801.06146). Progressive resizing starts with
small photos, on which a step costs a fraction, and ends with full-size ones (Howard 2018, fast.ai's entry to
DAWNBench).
"""

from __future__ import annotations

from dataclasses import dataclass
from fractions import Fraction

from pipeline.config import IMAGE_SIZE_STEP, TrainConfig

FULL_SIZE_SHARE = Fraction(1, 2)  # the last epochs, on full-size photos


@dataclass(frozen=True)
class Phase:
    """Epochs ``first`` to ``last`` (counted from 1) of a training.

    Attributes:
        config: the flags of these epochs; phases with equal configs share one optimizer and one schedule.
        pixels: side of the training photos; validation is on photos of ``config.image_size``.
        total_epochs: number of epochs of the whole training.
    """

    config: TrainConfig
    pixels: int
    first: int
    last: int
    total_epochs: int


def phases_of(config: TrainConfig) -> list[Phase]:
    """Return the phases of a config, in order."""
    if not config.head_epochs:
        return _progressive_resizing(config, previous_epochs=0)
    head = _sub_config(config, config.head_epochs, freeze_backbone=True)
    rate = config.learning_rate * config.unfreeze_lr_factor
    unfrozen = _sub_config(config, config.epochs - config.head_epochs, learning_rate=rate)
    first = Phase(head, config.image_size, 1, config.head_epochs, config.epochs)
    return [first, *_progressive_resizing(unfrozen, previous_epochs=config.head_epochs)]


def _progressive_resizing(config: TrainConfig, previous_epochs: int) -> list[Phase]:
    *small_sizes, full_size = range(config.start_size or config.image_size, config.image_size + 1, IMAGE_SIZE_STEP)
    epochs_of_small = round(config.epochs * (1 - FULL_SIZE_SHARE))
    ends = [round(epochs_of_small * number / len(small_sizes)) for number in range(1, len(small_sizes) + 1)] + [
        config.epochs
    ]
    starts = [0, *ends[:-1]]
    total = previous_epochs + config.epochs
    return [
        Phase(config, size, previous_epochs + start + 1, previous_epochs + end, total)
        for size, start, end in zip([*small_sizes, full_size], starts, ends, strict=True)
        if start < end
    ]


def _sub_config(config: TrainConfig, epochs: int, **changes: object) -> TrainConfig:
    warmup = min(config.warmup_epochs, epochs / 2)
    return config.model_copy(update={"epochs": epochs, "warmup_epochs": warmup, "head_epochs": 0, **changes})
