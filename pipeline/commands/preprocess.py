"""``preprocess``: check, split and decode the photos once, and log what came of it."""

from __future__ import annotations

from typing import TYPE_CHECKING

from pipeline.config import PreprocessConfig as CONFIG

if TYPE_CHECKING:
    from pipeline.data.store import Store


def run(config: CONFIG) -> Store:
    """Prepare the photos, or find them prepared; log samples, class counts, the data set, and what operations do."""
    from pipeline.experiment import run_preprocessing

    return run_preprocessing(config)
