"""The intervals of all metrics: they hold the value, agree with the plain bootstrap, and know groups."""

from __future__ import annotations

import numpy as np
import pytest
from scipy.special import softmax

from pipeline.evaluation import METRICS, bootstrap_interval, interval_table, metric_value, metrics_of
from pipeline.evaluation.intervals import independent_photos, share_interval
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


def test_wilsons_interval_has_the_known_values() -> None:
    assert share_interval(1.0, 2) == pytest.approx((0.3424, 1), abs=1e-4)
    assert share_interval(0.5, 10) == pytest.approx((0.2366, 0.7634), abs=1e-4)
    assert share_interval(0.0, 20) == pytest.approx((0, 0.1611), abs=1e-4)
    assert np.isnan(share_interval(0.5, 0)).all()


def test_groups_count_as_independent_photos() -> None:
    assert independent_photos(np.arange(12)) == 12
    assert independent_photos(np.arange(12) // 4) == 3
    assert independent_photos(np.array([0, 0, 0, 1])) == pytest.approx(1.6)


def test_few_photos_that_are_all_right_prove_little() -> None:
    labels = np.array([0, 0, 1, 1, 2, 2])
    table = interval_table(labels, 0.1 + 0.7 * np.eye(3)[labels], np.arange(6), NAMES)
    assert (table["value"].drop(["log_loss", "brier", "ece"]) == 1).all()
    assert table.loc["recall daisy", ["low", "high"]].tolist() == pytest.approx([0.3424, 1], abs=1e-4)
    assert table.loc["f1 roses", "low"] == pytest.approx(2 * 0.3424 / 1.3424, abs=1e-4)
    for metric in ("accuracy", "balanced_accuracy", "macro_f1"):
        assert table.loc[metric, ["low", "high"]].tolist() == pytest.approx([0.6097, 1], abs=1e-4)


def test_one_answer_for_all_has_a_balanced_accuracy_that_is_known_well() -> None:
    labels = np.repeat([0, 1], [60, 40])
    table = interval_table(labels, np.tile([0.9, 0.1], (100, 1)), np.arange(100), ["common", "rare"])
    low, high = table.loc["balanced_accuracy", ["low", "high"]]
    assert 0.35 < low < 0.5 < high < 0.65
    assert table.loc["precision rare", ["value", "low", "high"]].isna().all()
    assert table.loc["recall rare", ["low", "high"]].tolist() == pytest.approx([0, 0.0876], abs=1e-4)


@pytest.mark.parametrize(("classes", "photos"), [(2, 3), (5, 10), (20, 30)])
def test_intervals_hold_the_truth_as_often_as_they_say(classes: int, photos: int) -> None:
    """Each class is recognised with a probability of its own, and else taken for the next one."""
    rng, names = np.random.default_rng(0), [str(label) for label in range(classes)]
    labels, held = np.repeat(np.arange(classes), photos), []
    for _ in range(40):
        recall = rng.beta(9, 1, classes)
        predicted = np.where(rng.random(labels.size) < recall[labels], labels, (labels + 1) % classes)
        table = interval_table(labels, 0.01 + np.eye(classes)[predicted], np.arange(labels.size), names)
        truth = {f"recall {name}": value for name, value in zip(names, recall, strict=True)}
        truth |= dict.fromkeys(("accuracy", "balanced_accuracy"), recall.mean())
        found = table.loc[list(truth)]
        held += ((found["low"] <= list(truth.values())) & (found["high"] >= list(truth.values()))).tolist()
    assert 0.91 < np.mean(held) < 1
