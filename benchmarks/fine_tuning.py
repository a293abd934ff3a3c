"""What few epochs from pre-trained weights are worth, by settings: val_accuracy, over seeds, in turns.

The weights are made here, of the archive of class folders that the variable ``PRETRAINING`` names (without it, of the
photos themselves), at half the width and `SIZE` px: what is compared are settings of the training that follows.
"""

from __future__ import annotations

import os
import tarfile
import tempfile
import time
from pathlib import Path
from statistics import fmean

import pandas as pd

from benchmarks.measure import compared
from pipeline.config import TrainConfig, chosen_by_photos
from pipeline.data.store import prepared_store
from pipeline.models.backend import load_backend
from pipeline.training import fit

SIZE, WIDTH = 32, 0.5
PRETRAINING = {"resize": "stretch", "epochs": 5, "batch_size": 128, "learning_rate": 0.003, "augment": "light"}
CLASSES, CLASSES_IF_QUICK = 66, 20  # to learn from, evenly from those that there are
SEEDS, SEEDS_IF_QUICK, QUICK_SETTINGS = (0, 1), (0,), 4
TWO_PHASES: dict[str, object] = {"head_epochs": 2, "epochs": 8}
SETTINGS: dict[str, dict[str, object]] = {
    "two phases, 8 epochs": TWO_PHASES,
    "head alone, 8 epochs": {"freeze_backbone": True, "epochs": 8, "augment": "none"},
    "all at once, rate 0.001": {"head_epochs": 0, "epochs": 8},
    "random weights, 8 epochs": {"weights": "none", "epochs": 8},
    "random weights, 16 epochs": {"weights": "none"},
    "head alone, augmented": {"freeze_backbone": True, "epochs": 8},
    "all at once, rate 0.0001": {"head_epochs": 0, "epochs": 8, "learning_rate": 1e-4},
    "two phases, 4 epochs": {"head_epochs": 1, "epochs": 4},
    "two phases, 16 epochs": {"head_epochs": 4, "epochs": 16},
    "two phases, factor 0.3": TWO_PHASES | {"unfreeze_lr_factor": 0.3},
    "two phases, factor 1": TWO_PHASES | {"unfreeze_lr_factor": 1.0},
    "two phases, augment light": TWO_PHASES | {"augment": "light"},
    "two phases, augment none": TWO_PHASES | {"augment": "none"},
}


def run(data: str, quick: bool) -> pd.DataFrame:
    """Pre-train, then train with every setting and seed, and print the accuracies."""
    load_backend()
    settings = dict(list(SETTINGS.items())[:QUICK_SETTINGS]) if quick else SETTINGS
    with tempfile.TemporaryDirectory() as folder:
        weights = _pretrained(os.environ.get("PRETRAINING", data), Path(folder) / "weights.keras", quick)
        found: dict[str, list[float]] = {name: [] for name in settings}
        for seed in SEEDS_IF_QUICK if quick else SEEDS:
            for name, flags in settings.items():
                found[name].append(_val_accuracy(data, weights, {"seed": seed, "split_seed": seed, **flags}))
                print(f"{name}, seed {seed}: {found[name][-1]:.4f}", flush=True)
    for name, values in found.items():
        print(f"{name}: {fmean(values):.4f}", flush=True)
    return compared(f"resnet18, width {WIDTH:g}, {SIZE} px", "val_accuracy", found)


def _pretrained(data: str, file: Path, quick: bool) -> Path:
    flags = {"weights": "none", "width": WIDTH, "image_size": SIZE, "val_fraction": 0.03, "test_fraction": 0.03}
    if Path(data).is_file():
        with tarfile.open(data) as archive:
            names = sorted({Path(member.name).parts[1] for member in archive if member.isfile()})
        flags["classes"] = tuple(names[:: len(names) // (CLASSES_IF_QUICK if quick else CLASSES)])
    else:
        flags |= {"val_fraction": 0.1, "test_fraction": 0.1}
    config = TrainConfig(data=data, **flags | PRETRAINING)
    start = time.perf_counter()
    result = fit(config, prepared_store(config.data_config()))
    print(f"pre-trained in {time.perf_counter() - start:.0f} s: {result.best}", flush=True)
    result.model.save(file)
    return file


def _val_accuracy(data: str, weights: Path, flags: dict[str, object]) -> float:
    shared = {"data": data, "image_size": SIZE, "width": WIDTH, "val_fraction": 0.3, "batch_size": 64}
    start = None if flags.get("weights") == "none" else weights
    config = TrainConfig(**{"weights": f"models:/{weights.stem}/1", **shared, **flags})
    store = prepared_store(config.data_config())
    config = TrainConfig(**config.model_dump() | chosen_by_photos(config.model_dump(), len(store.labels("train"))))
    return fit(config, store, start_from=start).best.val_accuracy
