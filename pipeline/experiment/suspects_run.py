"""The command ``suspects``: which labels of training and validation photos are probably wrong; nothing is dropped."""

from __future__ import annotations

import numpy as np
import pandas as pd

from pipeline import tracking
from pipeline.config import SuspectsConfig, UserError
from pipeline.data.store import Store
from pipeline.experiment import label_suspects, review
from pipeline.experiment.lineage import saved_start
from pipeline.experiment.photos import log_store, open_store
from pipeline.experiment.starts import resolve_start, start_record, start_tags
from pipeline.models.backend import load_backend
from pipeline.models.builder import build_classifier, load_start
from pipeline.training import FeatureCache

JUDGED_SPLITS = ("train", "validation")  # nobody looks at a test photo before evaluate has


def run_suspects(config: SuspectsConfig) -> None:
    """Cross-validate a linear classifier on the features of a pre-trained backbone, and log what it doubts."""
    if not label_suspects.can_find_suspects():
        raise UserError(label_suspects.missing_extra())
    tracking.connect()
    config = resolve_start(config, "suspects", [config.variant])
    if config.weights == "none":
        raise UserError(
            "suspects needs a pre-trained backbone, got random weights (python -m pipeline weights says how to get "
            "others, or try weights=models:/flower-classifier@challenger)"
        )
    with tracking.run("suspects", f"suspects {config.data_name}", config):
        store = open_store(config)
        log_store(store)
        rows = pd.concat([store.rows(split) for split in JUDGED_SPLITS], ignore_index=True)
        labels = np.concatenate([store.labels(split) for split in JUDGED_SPLITS])
        probabilities = label_suspects.cross_validated(
            _features(store, config), labels, rows["group"].tolist(), config.folds, config.seed
        )
        accuracy = float((probabilities.argmax(axis=1) == labels).mean())
        tracking.log_metrics({"cross_validated_accuracy": accuracy})
        line = review.log_suspects(store, JUDGED_SPLITS, probabilities)
    print(f"cross-validated accuracy {accuracy:.4f} in {config.folds} folds\n{line}", flush=True)


def _features(store: Store, config: SuspectsConfig) -> np.ndarray:
    load_backend()
    wanted = config.train_config(freeze_backbone=True, augment="none")
    start = saved_start(wanted.weights)
    tracking.set_tags(start_tags(start_record(wanted, start)))
    file = start and start.file
    saved = load_start(file) if file else None
    cache = FeatureCache(
        lambda: build_classifier(wanted, len(store.class_names), start_from=saved), store, wanted, start_from=file
    )
    return np.concatenate([cache.training(1), cache.validation()])
