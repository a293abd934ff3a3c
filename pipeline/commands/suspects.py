"""``suspects``: which labels of the training and validation photos are probably wrong; nothing is dropped."""

from __future__ import annotations

from typing import TYPE_CHECKING

from pipeline.config import SuspectsConfig as CONFIG
from pipeline.config import UserError

if TYPE_CHECKING:
    import numpy as np

    from pipeline.data.store.store import Store

JUDGED = ("train", "validation")  # a test photo is nobody's to look at before evaluate has


def run(config: CONFIG) -> None:
    """Cross-validate a linear classifier on the features of a pre-trained backbone, and log what it doubts."""
    import numpy as np
    import pandas as pd

    from pipeline.experiment import label_suspects, review
    from pipeline import tracking
    from pipeline.experiment.photos import log_store, open_store

    if not label_suspects.can_look():
        raise UserError(label_suspects.MISSING)
    if config.weights == "none":
        raise UserError(
            "suspects needs a backbone that has learned something, got weights=none (try weights=imagenet with "
            "variant=resnet50_vd, or weights=models:/flower-classifier@challenger)"
        )
    tracking.connect()
    with tracking.run("suspects", f"suspects {config.data}", config):
        store = open_store(config)
        log_store(store)
        rows = pd.concat([store.rows(split) for split in JUDGED], ignore_index=True)
        labels = np.concatenate([store.labels(split) for split in JUDGED])
        probabilities = label_suspects.cross_validated(
            _features(store, config), labels, rows["group"].tolist(), config.folds, config.seed
        )
        accuracy = float((probabilities.argmax(axis=1) == labels).mean())
        tracking.log_metrics({"cross_validated_accuracy": accuracy})
        found = label_suspects.suspect_table(rows["path"].tolist(), labels, probabilities, store.class_names)
        line = review.log_suspect_table(store, found, f"{len(rows)} photos")
    print(f"cross-validated accuracy {accuracy:.4f} in {config.folds} folds\n{line}", flush=True)


def _features(store: Store, config: CONFIG) -> np.ndarray:
    import numpy as np

    from pipeline.experiment.training_run import saved_weights
    from pipeline.training.features import FeatureCache
    from pipeline.models.backend import load_backend
    from pipeline.models.builder import build_classifier
    from pipeline.models.saved import load_classifier

    load_backend()
    wanted = config.train_config(freeze_backbone=True, augment="none")
    file = saved_weights(wanted)
    saved = load_classifier(file) if file else None
    cache = FeatureCache(
        lambda: build_classifier(wanted, len(store.class_names), start_from=saved), store, wanted, start_from=file
    )
    return np.concatenate([cache.training(1), cache.validation()])
