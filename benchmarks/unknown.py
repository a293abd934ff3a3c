"""How well scores tell photos of a class that a network has never seen from others: leaving one class out.

A network is trained without one class, thresholds are chosen on its validation photos so that 95 % keep their label,
and the test photos of the known classes and of the one left out are scored. ``--data=flowers`` is the folder that
FLOWER_PHOTOS names, else Flower Photos beside the checkout.
"""

from __future__ import annotations

import os
import time
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pandas as pd
from scipy.special import logsumexp

from benchmarks.measure import COLUMNS
from pipeline.config import TrainConfig
from pipeline.data.store import Store, prepared_store
from pipeline.evaluation import rejection_at
from pipeline.models.predict import compiled_forward, forward, probabilities_of
from pipeline.training import fit

FLOWERS = Path(__file__).parents[2] / "shared/data/flower_photos"
FLAGS = {"weights": "none", "image_size": 64, "width": 0.5, "epochs": 16, "learning_rate": 0.002}
KEEP = 0.95
NEIGHBOURS = 10


def run(data: str, quick: bool) -> pd.DataFrame:
    """Leave out each class in turn, train on the others, and score both."""
    folder = Path(os.environ.get("FLOWER_PHOTOS", FLOWERS)) if data == "flowers" else Path(data)
    flags = FLAGS | {"data": os.fspath(folder)}
    everything = prepared_store(TrainConfig(**flags))
    names = everything.class_names
    rows = []
    for left_out in names[:1] if quick else names:
        started = time.process_time()
        config = TrainConfig(**flags, classes=tuple(name for name in names if name != left_out))
        rows += _without(left_out, config, everything)
        print(f"{left_out}: {time.process_time() - started:.0f} s of processor time", flush=True)
    return pd.DataFrame(rows, columns=COLUMNS)


def _without(left_out: str, config: TrainConfig, everything: Store) -> list[tuple[object, ...]]:
    store = prepared_store(config)
    result = fit(config, store)
    held_out = everything.held_out_photos()
    is_left_out = (held_out.rows["label"] == left_out).to_numpy()
    photos = {
        "train": store.images("train"),
        "validation": store.images("validation"),
        "known": held_out.images[~is_left_out],
        "unknown": held_out.images[is_left_out],
    }
    seen = {name: _outputs(result.model, images) for name, images in photos.items()}
    labels = store.labels("train")
    rows = []
    for score, of in SCORES.items():
        fitted = of(seen["train"], labels)
        values = {name: fitted(*seen[name]) for name in ("validation", "known", "unknown")}
        threshold = float(np.quantile(values["validation"], 1 - KEEP))
        found = rejection_at(threshold, values["known"], values["unknown"])
        figures = ", ".join(f"{measure} {100 * value:.1f} %" for measure, value in found._asdict().items())
        print(f"without {left_out} ({100 * result.best.val_accuracy:.1f} % right), {score}: {figures}", flush=True)
        for measure, value in found._asdict().items():
            rows.append((f"{measure}, without {left_out}", score, "%", *[100 * value] * 3, *[value] * 3))
    return rows


def _outputs(model: object, images: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Return logits (n, classes), and the features before them (n, features)."""
    import keras

    assert isinstance(model, keras.Model)
    both = keras.Model(model.inputs[0], keras.layers.Concatenate()([model.output, model.get_layer("logits").input]))
    found = forward(compiled_forward(both), images, both.output_shape[-1])
    classes = model.output_shape[-1]
    return found[:, :classes], found[:, classes:]


Score = Callable[[np.ndarray, np.ndarray], np.ndarray]


def _probability(train: tuple[np.ndarray, np.ndarray], labels: np.ndarray) -> Score:
    return lambda logits, features: probabilities_of(logits).max(axis=1)


def _max_logit(train: tuple[np.ndarray, np.ndarray], labels: np.ndarray) -> Score:
    return lambda logits, features: logits.max(axis=1)


def _energy(train: tuple[np.ndarray, np.ndarray], labels: np.ndarray) -> Score:
    return lambda logits, features: logsumexp(logits, axis=1)


def _mahalanobis(train: tuple[np.ndarray, np.ndarray], labels: np.ndarray) -> Score:
    """Lee et al. 2018: distance to the nearest class mean under one covariance, a little shrunk."""
    features = train[1].astype(np.float64)
    means = np.stack([features[labels == label].mean(axis=0) for label in np.unique(labels)])
    rest = features - means[labels]
    covariance = rest.T @ rest / len(rest)
    covariance += 0.01 * np.trace(covariance) / len(covariance) * np.eye(len(covariance))
    whitened = np.linalg.inv(np.linalg.cholesky(covariance)).T
    centres = means @ whitened
    return lambda logits, features: -np.min(((features @ whitened)[:, None] - centres) ** 2 @ np.ones(len(whitened)), 1)


def _unit(features: np.ndarray) -> np.ndarray:
    return features / np.maximum(np.linalg.norm(features, axis=1, keepdims=True), 1e-12)


def _cosine(train: tuple[np.ndarray, np.ndarray], labels: np.ndarray) -> Score:
    unit = _unit(train[1])
    centres = _unit(np.stack([unit[labels == label].mean(axis=0) for label in np.unique(labels)]))
    return lambda logits, features: (_unit(features) @ centres.T).max(axis=1)


def _neighbours(train: tuple[np.ndarray, np.ndarray], labels: np.ndarray) -> Score:
    """Sun et al. 2022: cosine with the k-th nearest training photo."""
    unit = _unit(train[1])
    return lambda logits, features: np.sort(_unit(features) @ unit.T, axis=1)[:, -NEIGHBOURS]


SCORES: dict[str, Callable[[tuple[np.ndarray, np.ndarray], np.ndarray], Score]] = {
    "probability": _probability,
    "max logit": _max_logit,
    "energy": _energy,
    "Mahalanobis": _mahalanobis,
    "cosine to the class": _cosine,
    f"cosine to neighbour {NEIGHBOURS}": _neighbours,
}
