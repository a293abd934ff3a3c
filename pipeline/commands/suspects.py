"""``suspects``: which labels of the training and validation photos are probably wrong; nothing is dropped."""

from __future__ import annotations

from pipeline.config import SuspectsConfig as CONFIG


def run(config: CONFIG) -> None:
    """Cross-validate a linear classifier on the features of a pre-trained backbone, and log what it doubts."""
    from pipeline.experiment.suspects_run import run_suspects

    run_suspects(config)
