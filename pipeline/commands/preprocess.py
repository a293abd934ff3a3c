"""``preprocess``: check, split and decode the photos once, and log what came of it."""

from __future__ import annotations

from pipeline.config import PreprocessConfig as CONFIG


def run(config: CONFIG) -> None:
    """Prepare the photos, or find them prepared; log samples, class counts, the data set, and what operations do."""
    from pipeline import tracking
    from pipeline.data.splits.assignment import SPLITS
    from pipeline.data.store.stages import stages_of_photos
    from pipeline.experiment.photos import log_store, open_store

    tracking.connect()
    with tracking.run("preprocess", f"preprocess {config.data}", config):
        store = open_store(config, thorough=True)
        log_store(store, sample_splits=SPLITS)
        if config.image_ops:
            from pipeline import plots

            sheet = plots.draw_stages(stages_of_photos(store, config), "What the image operations do to a photo")
            tracking.log_figure(sheet, "image_ops.png")
