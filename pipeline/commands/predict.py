"""``predict``: photos -> a CSV of labels and probabilities, one row per photo, bad ones with their reason."""

from __future__ import annotations

from pipeline.config import PredictConfig as CONFIG


def run(config: CONFIG) -> None:
    """Classify the photos and write the table."""
    from pipeline.serving.prediction import run_prediction

    run_prediction(config)
