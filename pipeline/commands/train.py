"""``train``: one config, one model, registered as challenger."""

from __future__ import annotations

from typing import TYPE_CHECKING

from pipeline.config import TrainConfig as CONFIG

if TYPE_CHECKING:
    from pipeline.experiment import TrainingResult


def run(config: CONFIG) -> TrainingResult:
    """Train, log, and register the best epoch's model."""
    from pipeline.experiment import run_training

    return run_training(config)
