"""The intervals of all metrics: they hold the value, agree with the plain bootstrap, and know groups."""

from __future__ import annotations

import numpy as np
import pytest
from scipy.special import softmax

from pipeline.evaluation import METRICS, bootstrap_interval, interval_table

NAMES = ["daisy", "roses", "tulips"]


def _predictions(photos: int) -> tuple[np.ndarray, np.ndarray]:
    rng = np.random.default_rng(0)
    labels = rng.integers(3, size=photos)
    return labels, softmax(1.5 * rng.normal(size=(photos, 3)) + 2 * np.eye(3)[labels], axis=1)


def test_every_metric_has_its_interval() -> None:
    labels, probabilities = _predictions(200)
    table = interval_table(labels, probabilities, np.arange(200), NAMES)
    assert list(table.index[: len(METRICS)]) == list(METRICS)
    assert table.index[-1] == "f1 tulips"
    inside = (table["low"] <= table["value"]) & (table["value"] <= table["high"])
    assert inside.drop("ece").all()
    assert (table["low"] < table["high"]).all()
    plain = bootstrap_interval(probabilities.argmax(axis=1) == labels, np.arange(200))
    assert table.loc["accuracy", ["low", "high"]].tolist() == pytest.approx(plain, abs=0.015)


def test_groups_make_intervals_wider() -> None:
    labels, probabilities = (np.repeat(part, 8, axis=0) for part in _predictions(40))
    width = [
        table["high"] - table["low"]
        for groups in (np.arange(320), np.arange(320) // 8)
        for table in [interval_table(labels, probabilities, groups, NAMES)]
    ]
    assert (width[1] / width[0]).median() > 2  # eight copies say no more than one: the square root of 8


def test_what_is_undefined_has_no_interval() -> None:
    labels, probabilities = _predictions(50)
    table = interval_table(np.zeros_like(labels), probabilities, np.arange(50), NAMES)
    assert table.loc[["roc_auc", "recall roses"]].isna().all(axis=None)
