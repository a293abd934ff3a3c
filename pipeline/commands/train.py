"""``train``: one config, one model, registered as challenger."""

from __future__ import annotations

from pipeline.config import TrainConfig as CONFIG


def run(config: CONFIG) -> None:
    """Train, log, and register the best epoch's model."""
    from pipeline.experiment import run_training

    run_training(config)
