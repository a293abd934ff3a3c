"""What degraded training photos are worth: accuracy on clean and on corrupted test photos, over seeds.

The corruptions are `evaluate`'s own, at all five strengths; training never sees them (`augmentation.DEGRADATIONS` are
others). Everything else stays at the defaults of `train` from random weights.
"""

from __future__ import annotations

import tempfile
from pathlib import Path

import numpy as np
import pandas as pd

from benchmarks.measure import compared
from pipeline.config import TrainConfig
from pipeline.data.store import prepared_store
from pipeline.evaluation.corruptions import CLEAN, corruption_table, mean_corrupted_accuracy
from pipeline.models.backend import load_backend
from pipeline.models.predict import predict_logits, probabilities_of
from pipeline.training import fit

SHARES, SHARES_IF_QUICK = (0.0, 0.25, 0.5), (0.0, 0.5)
SEEDS, SEEDS_IF_QUICK = (0, 1, 2), (0,)
FLAGS: dict[str, object] = {"weights": "none", "variant": "resnet18_vd", "image_size": 64}
EPOCHS, EPOCHS_IF_QUICK = 24, 1
SHOWN = ("blur", "noise", "contrast")  # beside the mean: the worst ones without degraded training photos


def run(data: str, quick: bool) -> pd.DataFrame:
    """Train with every share and seed, and print the accuracies in percent."""
    load_backend()
    shares = {f"degrade={share:g}": share for share in (SHARES_IF_QUICK if quick else SHARES)}
    found: dict[str, dict[str, list[float]]] = {}
    for seed in SEEDS_IF_QUICK if quick else SEEDS:
        for name, share in shares.items():
            epochs = EPOCHS_IF_QUICK if quick else EPOCHS
            accuracies = _accuracies(TrainConfig(**FLAGS, data=data, epochs=epochs, seed=seed, degrade=share))
            for case, accuracy in accuracies.items():
                found.setdefault(case, {of: [] for of in shares})[name].append(100 * accuracy)
            shown = ", ".join(f"{case} {accuracy:.1%}" for case, accuracy in accuracies.items())
            print(f"{name}, seed {seed}: {shown}", flush=True)
    return pd.concat([compared(case, "%", by_share) for case, by_share in found.items()], ignore_index=True)


def _accuracies(config: TrainConfig) -> dict[str, float]:
    with tempfile.TemporaryDirectory() as folder:
        store = prepared_store(config.data_config(), Path(folder))
        model, test = fit(config, store).model, store.held_out_photos()

        def predict(images: np.ndarray) -> np.ndarray:
            return probabilities_of(predict_logits(model, images))

        table = corruption_table(predict, test.images, test.labels, test.rows["group"].to_numpy())
    by_corruption = table.groupby("corruption")["accuracy"].mean()
    worst = {f"under {name}": float(by_corruption[name]) for name in SHOWN}
    return {"clean": float(by_corruption[CLEAN]), "mean of all corruptions": mean_corrupted_accuracy(table), **worst}
