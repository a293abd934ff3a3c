"""What few epochs from pre-trained weights are worth, by settings: val_accuracy, over seeds, in turns.

The weights are made here, of the archive of class folders that the variable ``PRETRAINING`` names (without it, of the
photos themselves), at `SIZE` px: what is compared are settings of the training that follows. The last ones train on
few photos, a part of the others, as many epochs as `train` would choose.
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
from pipeline.processes import preload, run_tasks
from pipeline.training import fit

SIZE, WIDTH = 64, 1.0
SIZE_IF_QUICK, WIDTH_IF_QUICK = 32, 0.5
PRETRAINING = {"resize": "stretch", "batch_size": 128, "learning_rate": 0.003, "augment": "light"}
CLASSES, CLASSES_IF_QUICK = 50, 20  # to learn from, evenly from those that there are
EPOCHS, EPOCHS_IF_QUICK = 6, 5
SEEDS, SEEDS_IF_QUICK, QUICK_SETTINGS = (0, 1), (0,), 4
TWO_PHASES: dict[str, object] = {"head_epochs": 2, "epochs": 8}
FEW_PHOTOS: dict[str, object] = {"test_fraction": 0.67}  # leaves 22 of a class of Flower Photos
SETTINGS: dict[str, dict[str, object]] = {
    "two phases, 8 epochs": TWO_PHASES,
    "head alone, 8 epochs": {"freeze_backbone": True, "epochs": 8, "augment": "none"},
    "all at once, rate 0.001": {"head_epochs": 0, "epochs": 8},
    "random weights, 8 epochs": {"weights": "none", "epochs": 8},
    "few photos, two phases": FEW_PHOTOS,
    "few photos, head alone": FEW_PHOTOS | {"freeze_backbone": True, "augment": "none"},
    "few photos, head alone, augmented": FEW_PHOTOS | {"freeze_backbone": True},
    "few photos, all at once": FEW_PHOTOS | {"head_epochs": 0},
    "few photos, factor 0.1": FEW_PHOTOS | {"unfreeze_lr_factor": 0.1},
    "few photos, factor 1": FEW_PHOTOS | {"unfreeze_lr_factor": 1.0},
    "few photos, random weights": FEW_PHOTOS | {"weights": "none", "epochs": 30},
    "random weights, 16 epochs": {"weights": "none"},
    "head alone, augmented": {"freeze_backbone": True, "epochs": 8},
    "all at once, rate 0.0001": {"head_epochs": 0, "epochs": 8, "learning_rate": 1e-4},
    "two phases, 4 epochs": {"head_epochs": 1, "epochs": 4},
    "two phases, 16 epochs": {"head_epochs": 4, "epochs": 16},
    "two phases, factor 0.1": TWO_PHASES | {"unfreeze_lr_factor": 0.1},
    "two phases, factor 1": TWO_PHASES | {"unfreeze_lr_factor": 1.0},
    "two phases, augment light": TWO_PHASES | {"augment": "light"},
    "two phases, augment none": TWO_PHASES | {"augment": "none"},
    "two phases, 96 px": TWO_PHASES | {"image_size": 96},
    "random weights, 96 px, 8 epochs": {"weights": "none", "epochs": 8, "image_size": 96},
}


def run(data: str, quick: bool) -> pd.DataFrame:
    """Pre-train, then train with every setting and seed, and print the accuracies."""
    preload("pipeline.experiment.preload")
    load_backend()
    settings = dict(list(SETTINGS.items())[:QUICK_SETTINGS]) if quick else SETTINGS
    size, width = (SIZE_IF_QUICK, WIDTH_IF_QUICK) if quick else (SIZE, WIDTH)
    shared = {"data": data, "image_size": size, "width": width, "val_fraction": 0.3, "batch_size": 64}
    with tempfile.TemporaryDirectory() as folder:
        weights = _pretrained(os.environ.get("PRETRAINING", data), Path(folder) / "weights.keras", quick)
        found: dict[str, list[float]] = {name: [] for name in settings}
        for seed in SEEDS_IF_QUICK if quick else SEEDS:
            for name, flags in settings.items():
                job = (weights, shared | {"seed": seed, "split_seed": seed} | flags)
                (outcome,) = run_tasks(_val_accuracy, [job], workers=1)  # a process each: their memory would add up
                if outcome.error:
                    raise RuntimeError(outcome.error)
                found[name].append(outcome.value)
                print(f"{name}, seed {seed}: {found[name][-1]:.4f}", flush=True)
    for name, values in found.items():
        print(f"{name}: {fmean(values):.4f}", flush=True)
    return compared(f"resnet18, width {width:g}, {size} px", "val_accuracy", found)


def _pretrained(data: str, file: Path, quick: bool) -> Path:
    flags = {
        "weights": "none",
        "width": WIDTH_IF_QUICK if quick else WIDTH,
        "image_size": SIZE_IF_QUICK if quick else SIZE,
        "epochs": EPOCHS_IF_QUICK if quick else EPOCHS,
        "val_fraction": 0.03,
        "test_fraction": 0.03,
    }
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


def _val_accuracy(weights: Path, flags: dict[str, object]) -> float:
    start = None if flags.get("weights") == "none" else weights
    config = TrainConfig(**{"weights": f"models:/{weights.stem}/1"} | flags)
    store = prepared_store(config.data_config())
    config = TrainConfig(**config.model_dump() | chosen_by_photos(config.model_dump(), len(store.labels("train"))))
    return fit(config, store, start_from=start).best.val_accuracy
