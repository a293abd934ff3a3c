"""``preprocess``: check, split and decode the photos once, and log what came of it."""

from __future__ import annotations

from pipeline.config import PreprocessConfig as CONFIG


def run(config: CONFIG) -> None:
    """Prepare the photos, or find them prepared; log samples, class counts, the data set, and what operations do."""
    from pipeline.experiment import run_preprocessing

    run_preprocessing(config)
