"""The phases of a training: runs of epochs that train the same layers on photos of the same size. Most have one.

Fine-tuning has two: the head alone, on features that are computed once, then the stages from ``unfreeze_from`` on at
a lower rate (Howard and Ruder 2018, arXiv 1801.06146). Progressive resizing begins with small photos, on which a step
costs a fraction, and ends with whole ones (Howard 2018, fast.ai's entry to DAWNBench).
"""

from __future__ import annotations

from dataclasses import dataclass
from fractions import Fraction

from pipeline.config import IMAGE_SIZE_STEP, TrainConfig

FULL_SIZE_SHARE = Fraction(1, 2)  # of the epochs: the last ones, with photos of the full size


@dataclass(frozen=True)
class Phase:
    """Epochs ``first`` to ``last`` (counted from 1) of a training.

    Attributes:
        config: how they train; phases with equal ones share one optimizer and one schedule.
        pixels: side of the photos they train on; validation is on photos of ``config.image_size``.
        total_epochs: of the whole training.
    """

    config: TrainConfig
    pixels: int
    first: int
    last: int
    total_epochs: int


def phases_of(config: TrainConfig) -> list[Phase]:
    """Return the phases that the epochs of a config fall into, in order."""
    if not config.head_epochs:
        return _of_growing_size(config, before=0)
    head = _shortened(config, config.head_epochs, freeze_backbone=True)
    rate = config.learning_rate * config.unfreeze_lr_factor
    rest = _shortened(config, config.epochs - config.head_epochs, learning_rate=rate)
    first = Phase(head, config.image_size, 1, config.head_epochs, config.epochs)
    return [first, *_of_growing_size(rest, before=config.head_epochs)]


def _of_growing_size(config: TrainConfig, before: int) -> list[Phase]:
    *small, full = range(config.start_size or config.image_size, config.image_size + 1, IMAGE_SIZE_STEP)
    epochs_of_small = round(config.epochs * (1 - FULL_SIZE_SHARE))
    ends = [round(epochs_of_small * number / len(small)) for number in range(1, len(small) + 1)] + [config.epochs]
    starts = [0, *ends[:-1]]
    total = before + config.epochs
    return [
        Phase(config, size, before + start + 1, before + end, total)
        for size, start, end in zip([*small, full], starts, ends, strict=True)
        if start < end
    ]


def _shortened(config: TrainConfig, epochs: int, **changes: object) -> TrainConfig:
    warmup = min(config.warmup_epochs, epochs / 2)
    return config.model_copy(update={"epochs": epochs, "warmup_epochs": warmup, "head_epochs": 0, **changes})
