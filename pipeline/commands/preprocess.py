"""``preprocess``: check, split and decode the photos once, and log what came of it."""

from __future__ import annotations

from pipeline.config import PreprocessConfig as CONFIG


def run(config: CONFIG) -> None:
    """Prepare the photos, or find them prepared; log samples, class counts and the data set."""
    from pipeline import tracking
    from pipeline.data.splits import SPLITS
    from pipeline.experiment import log_store, open_store

    tracking.connect()
    with tracking.run("preprocess", f"preprocess {config.data}", config):
        log_store(open_store(config), sample_splits=SPLITS)
