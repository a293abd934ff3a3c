"""Processor seconds of training from random weights until so many validation photos are right: recipes compared.

Every recipe is the flags of `train` with a few changed. The clock runs from the first line of `fit`, so building and
compiling the network count; it counts the time of all cores, which other work on the machine disturbs less. A recipe
that never gets there counts as infinitely long. The best val_accuracy of each training is in a second table, because
what is fast at first may end lower.
"""

from __future__ import annotations

import math
import time
from typing import Any

import pandas as pd

from benchmarks.measure import compared
from pipeline.config import TrainConfig
from pipeline.data.store import Store, prepared_store
from pipeline.training import Epoch, fit
from pipeline.training.phases import phases_of
from pipeline.training.trainer import make_trainer

TARGET = 0.72
SEEDS = (0, 1, 2)
RECIPES: dict[str, dict[str, Any]] = {
    "default flags": {},
    "ema=0.98": {"ema": 0.98},
    "start_size=32": {"start_size": 32},
    "batch_size=32": {"batch_size": 32},
    "resnet18_vd, light, 3e-3": {"variant": "resnet18_vd", "augment": "light", "learning_rate": 3e-3},
}


def run(data: str, quick: bool) -> pd.DataFrame:
    """Train every recipe with every seed; ``quick`` the first two, with one seed and few epochs."""
    few: dict[str, Any] = {"epochs": 2} if quick else {}
    recipes = dict(list(RECIPES.items())[: 2 if quick else None])
    seconds: dict[str, list[float]] = {name: [] for name in recipes}
    accuracies: dict[str, list[float]] = {name: [] for name in recipes}
    for seed in SEEDS[: 1 if quick else None]:
        for name, changes in recipes.items():
            config = TrainConfig(weights="none", data=data, seed=seed, **changes | few)
            reached, best = _train(config, prepared_store(config))
            seconds[name].append(reached)
            accuracies[name].append(best)
            print(f"seed {seed}  {name:<28} {reached:6.1f} s  best {best:.3f}", flush=True)
    return pd.concat(
        [
            compared(f"until val_accuracy is {TARGET}", "processor seconds", seconds),
            compared("best epoch", "val_accuracy", accuracies),
        ],
        ignore_index=True,
    )


def _train(config: TrainConfig, store: Store) -> tuple[float, float]:
    make_trainer(phases_of(config)[0], store)  # finds out the faster number format, which is remembered
    start, reached = time.process_time(), math.inf

    def note(epoch: Epoch) -> None:
        nonlocal reached
        if epoch.val_accuracy >= TARGET:
            reached = min(reached, time.process_time() - start)

    best = fit(config, store, note).best
    return reached, best.val_accuracy
