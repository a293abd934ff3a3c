"""The intervals of all metrics: they hold the value, agree with the plain bootstrap, and know groups."""

from __future__ import annotations

import numpy as np
import pytest
from scipy.special import softmax

from pipeline.evaluation import METRICS, bootstrap_interval, interval_table, metric_value, metrics_of
from pipeline.evaluation.metrics import Predictions

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


@pytest.mark.parametrize(("classes", "decimals"), [(2, 12), (3, 2), (8, 1)])  # rounded probabilities have ties
def test_metrics_of_many_samples_are_those_of_each(classes: int, decimals: int) -> None:
    rng = np.random.default_rng(classes)
    labels = rng.integers(classes, size=60)
    probabilities = np.round(softmax(rng.normal(size=(60, classes)), axis=1), decimals) + 1e-3
    probabilities /= probabilities.sum(axis=1, keepdims=True)
    weights = rng.multinomial(60, np.full(60, 1 / 60), size=20).T.astype(np.float32)
    for name, metric in metrics_of(classes).items():
        together = metric(Predictions(labels, probabilities), weights)
        photos = [np.repeat(np.arange(60), sample.astype(int)) for sample in weights.T]
        each = [metric_value(name, labels[sample], probabilities[sample]) for sample in photos]
        np.testing.assert_allclose(together, each, atol=1e-12, err_msg=name)


def test_top_5_is_of_more_than_five_classes() -> None:
    assert "top_5_accuracy" not in metrics_of(5)
    probabilities = np.tile(np.arange(8, 0, -1) / 36, (8, 1))
    assert metric_value("top_5_accuracy", np.arange(8), probabilities) == 5 / 8
