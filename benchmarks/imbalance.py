"""What class weights and the objective are worth with rare classes: macro F1 and balanced accuracy, over seeds.

Two classes are thinned to 95:5, and four to 1,000, 100, 20 and 5 photos, as far as there are so many; a fifth of them
is for validation. The figures are of `TEST_PHOTOS` other photos of each class, so that each class counts alike.
"""

from __future__ import annotations

import tempfile
from collections.abc import Mapping
from pathlib import Path

import numpy as np
import pandas as pd

from benchmarks.measure import compared
from pipeline.config import DataConfig, TrainConfig
from pipeline.data.store import Store, prepared_store
from pipeline.evaluation import classification_metrics
from pipeline.models.backend import load_backend
from pipeline.models.predict import predict_logits, probabilities_of
from pipeline.training import fit

CASES: dict[str, tuple[int, ...]] = {"95:5": (475, 25), "1000/100/20/5": (1000, 100, 20, 5)}  # photos, by class
CLASSES = {"95:5": ("daisy", "roses"), "1000/100/20/5": ("dandelion", "tulips", "sunflowers", "roses")}
TEST_PHOTOS, VALIDATION_SHARE = 60, 0.2
SEEDS, SEEDS_IF_QUICK = (0, 1, 2), (0,)
METRICS = {"macro_f1": "macro F1", "balanced_accuracy": "balanced accuracy"}
FLAGS: dict[str, object] = {
    "weights": "none",
    "image_size": 32,
    "width": 0.5,
    "batch_size": 32,
    "near_duplicates": False,
}
EPOCHS, EPOCHS_IF_QUICK = 20, 5
BY_F1: dict[str, object] = {"objective": "val_macro_f1"}
SETTINGS: dict[str, dict[str, object]] = {
    "neither": {},
    "balanced": {"class_weights": "balanced"},
    "effective": {"class_weights": "effective"},
    "by val_macro_f1": BY_F1,
    "balanced, by val_macro_f1": {"class_weights": "balanced", **BY_F1},
    "effective, by val_macro_f1": {"class_weights": "effective", **BY_F1},
}


def run(data: str, quick: bool) -> pd.DataFrame:
    """Train with every setting and seed, and print the figures."""
    load_backend()
    epochs = EPOCHS_IF_QUICK if quick else EPOCHS
    photos = prepared_store(DataConfig(data=data, image_size=32))
    tables = []
    for case, counts in CASES.items():
        found: dict[str, dict[str, list[float]]] = {metric: {name: [] for name in SETTINGS} for metric in METRICS}
        for seed in SEEDS_IF_QUICK if quick else SEEDS:
            with tempfile.TemporaryDirectory() as folder:
                table = _thinned(photos, CLASSES[case], counts, np.random.default_rng(seed))
                table.to_csv(Path(folder) / "photos.csv", index=False)
                for name, flags in SETTINGS.items():
                    shared = FLAGS | {"data": f"{folder}/photos.csv", "epochs": epochs, "seed": seed}
                    measured = _test_metrics(shared | flags, Path(folder))
                    for metric in METRICS:
                        found[metric][name].append(measured[metric])
                    print(f"{case}, {name}, seed {seed}: {_summary(measured)}", flush=True)
        tables += [compared(case, unit, found[metric]) for metric, unit in METRICS.items()]
    return pd.concat(tables, ignore_index=True)


def _thinned(
    photos: Store, classes: tuple[str, ...], counts: tuple[int, ...], rng: np.random.Generator
) -> pd.DataFrame:
    """Return a table of photos: for each class as many to learn from as wanted, or as there are, and `TEST_PHOTOS`."""
    names = classes if set(classes) <= set(photos.class_names) else photos.class_names
    rows = []
    for name, count in zip(names, counts, strict=False):
        paths = photos.manifest.loc[photos.manifest["label"] == name, "path"].to_numpy()
        paths = rng.permutation([str(photos.source.resolve() / path) for path in paths])
        test, learned = paths[:TEST_PHOTOS], paths[TEST_PHOTOS:][:count]
        validation = max(1, round(VALIDATION_SHARE * len(learned)))
        splits = ["test"] * len(test) + ["validation"] * validation + ["train"] * (len(learned) - validation)
        rows.append(pd.DataFrame({"path": [*test, *learned], "label": name, "split": splits}))
    return pd.concat(rows, ignore_index=True)


def _summary(measured: Mapping[str, float]) -> str:
    shown = [name for name in measured if name in METRICS or name.startswith("recall_")]
    return ", ".join(f"{name} {measured[name]:.3f}" for name in shown)


def _test_metrics(flags: Mapping[str, object], root: Path) -> dict[str, float]:
    config = TrainConfig(**flags)
    store = prepared_store(config.data_config(), root)
    model, test = fit(config, store).model, store.held_out_photos()
    probabilities = probabilities_of(predict_logits(model, test.images))
    return classification_metrics(test.labels, probabilities, store.class_names)
