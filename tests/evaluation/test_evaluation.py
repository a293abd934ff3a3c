"""The metrics against hand-made answers, scikit-learn, and what must always hold."""

from __future__ import annotations

import time

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from mlflow.utils.validation import _validate_metric_name
from sklearn import metrics as reference

from pipeline import evaluation
from pipeline.data.class_columns import class_columns

pytestmark = pytest.mark.filterwarnings("error")

NAMES = ["daisy", "roses", "tulips"]
LABELS = np.array([0, 0, 1, 1, 2])
PROBABILITIES = np.array([[0.8, 0.1, 0.1], [0.2, 0.7, 0.1], [0.1, 0.8, 0.1], [0.0, 1.0, 0.0], [0.3, 0.3, 0.4]])


def _predictions(photos: int, classes: int, seed: int) -> tuple[np.ndarray, np.ndarray]:
    rng = np.random.default_rng(seed)
    labels = rng.integers(classes, size=photos)
    logits = rng.normal(size=(photos, classes)) + 1.5 * np.eye(classes)[labels]
    probabilities = np.exp(logits)
    return labels, probabilities / probabilities.sum(axis=1, keepdims=True)


predictions = st.builds(_predictions, st.integers(1, 60), st.integers(1, 6), st.integers(0, 2**32 - 1))


def _names(probabilities: np.ndarray) -> list[str]:
    return [f"class {index}" for index in range(probabilities.shape[1])]


def test_metrics_have_the_known_answers() -> None:
    metrics = evaluation.classification_metrics(LABELS, PROBABILITIES, NAMES)
    assert metrics["accuracy"] == pytest.approx(0.8)
    assert metrics["balanced_accuracy"] == pytest.approx((0.5 + 1 + 1) / 3)
    assert metrics["macro_f1"] == pytest.approx((2 / 3 + 4 / 5 + 1) / 3)
    assert metrics["log_loss"] == pytest.approx(-np.log([0.8, 0.2, 0.8, 1.0, 0.4]).mean())
    assert metrics["brier"] == pytest.approx((0.06 + 1.14 + 0.06 + 0 + 0.54) / 5)
    # bins (2/3, 11/15]: 0.7 wrong; (11/15, 0.8]: 0.8 right twice; (14/15, 1]: 1.0 right; (1/3, 0.4]: 0.4 right
    assert metrics["ece"] == pytest.approx((0.7 + 2 * 0.2 + 0 + 0.6) / 5)
    assert [metrics[f"recall_{name}"] for name in NAMES] == [0.5, 1.0, 1.0]
    assert list(metrics) == [*evaluation.METRICS, "recall_daisy", "recall_roses", "recall_tulips"]


@pytest.mark.parametrize("classes", [2, 3, 10])
def test_metrics_agree_with_scikit_learn(classes: int) -> None:
    labels, probabilities = _predictions(400, classes, seed=classes)
    predicted = probabilities.argmax(axis=1)
    metrics = evaluation.classification_metrics(labels, probabilities, _names(probabilities))
    ranked = probabilities[:, 1] if classes == 2 else probabilities
    assert metrics["roc_auc"] == pytest.approx(reference.roc_auc_score(labels, ranked, multi_class="ovr"))
    assert metrics["accuracy"] == pytest.approx(reference.accuracy_score(labels, predicted))
    assert metrics["balanced_accuracy"] == pytest.approx(reference.balanced_accuracy_score(labels, predicted))
    assert metrics["macro_f1"] == pytest.approx(reference.f1_score(labels, predicted, average="macro"))
    assert metrics["log_loss"] == pytest.approx(reference.log_loss(labels, probabilities))
    brier = reference.brier_score_loss(labels, probabilities, scale_by_half=False)
    assert metrics["brier"] == pytest.approx(brier)


def test_absent_classes_leave_the_averages_to_those_present() -> None:
    """The probability of the class that is never there is the same for all, so removing it changes no order."""
    labels, probabilities = _predictions(200, 3, seed=1)
    with_absent = np.concatenate([probabilities * 0.9, np.full((200, 1), 0.1)], axis=1)
    with_absent[with_absent.argmax(axis=1) == 3] = [0.3, 0.3, 0.3, 0.1]
    four = evaluation.classification_metrics(labels, with_absent, [*NAMES, "absent"])
    three = evaluation.classification_metrics(labels, with_absent[:, :3] / 0.9, NAMES)
    for name in ("accuracy", "balanced_accuracy", "macro_f1", "roc_auc"):
        assert four[name] == pytest.approx(three[name]), name
    assert np.isnan(four["recall_absent"])


def test_one_class_present_has_no_roc_auc() -> None:
    metrics = evaluation.classification_metrics(np.zeros(2, int), PROBABILITIES[:2], NAMES)
    assert np.isnan(metrics["roc_auc"])
    assert metrics["balanced_accuracy"] == metrics["accuracy"] == 0.5


@given(predictions)
@settings(max_examples=60, deadline=None)
def test_metrics_stay_in_range(case: tuple[np.ndarray, np.ndarray]) -> None:
    metrics = evaluation.classification_metrics(*case, _names(case[1]))
    for name, value in metrics.items():
        upper = {"log_loss": np.inf, "brier": 2.0}.get(name, 1.0)
        assert np.isnan(value) or 0 <= value <= upper, name
    assert not any(np.isnan(metrics[name]) for name in evaluation.METRICS if name != "roc_auc")


def test_float32_and_float16_softmax_are_accepted() -> None:
    labels, probabilities = _predictions(500, 100, seed=0)
    exact = evaluation.classification_metrics(labels, probabilities, _names(probabilities))
    for dtype, tolerance in ((np.float32, 1e-5), (np.float16, 1e-2)):
        rounded = evaluation.classification_metrics(labels, probabilities.astype(dtype), _names(probabilities))
        assert rounded["log_loss"] == pytest.approx(exact["log_loss"], rel=tolerance)


@pytest.mark.parametrize(
    ("labels", "probabilities", "rule"),
    [
        (LABELS, PROBABILITIES * 2, "sum to 1"),
        (LABELS, np.log(PROBABILITIES + 1e-9), "at least 0"),
        (LABELS, np.full((5, 3), np.nan), "finite"),
        (LABELS, PROBABILITIES[:4], "shape"),
        (LABELS, PROBABILITIES[:, :2], "shape"),
        (LABELS[:0], PROBABILITIES[:0], "n > 0"),
        (LABELS + 1, PROBABILITIES, r"0\.\.2, got 1\.\.3"),
        (LABELS / 1, PROBABILITIES, "integers"),
    ],
)
def test_malformed_predictions_are_refused(labels: np.ndarray, probabilities: np.ndarray, rule: str) -> None:
    with pytest.raises(ValueError, match=rule):
        evaluation.classification_metrics(labels, probabilities, NAMES)


@given(st.lists(st.text(), min_size=2, max_size=8, unique=True))
def test_metric_names_are_valid_and_distinct(class_names: list[str]) -> None:
    names = [evaluation.metric_name(name) for name in class_names]
    assert len(set(names)) == len(names)
    for name in names:
        _validate_metric_name(f"test_recall_{name}")
        assert ":" not in name
        assert "/" not in name


def test_metric_names_keep_what_is_allowed() -> None:
    assert [evaluation.metric_name(name) for name in ("oxeye daisy", "été_1.b-c")] == ["oxeye daisy", "été_1.b-c"]
    clashing = ["a/b", "a?b", "a_b", "x" * 300, "x" * 301]
    names = [evaluation.metric_name(name) for name in clashing]
    assert len(set(names)) == 5
    assert max(map(len, names)) < 230
    assert names[0].startswith("a_b-")


def test_bootstrap_agrees_with_drawing_groups_one_by_one() -> None:
    rng = np.random.default_rng(0)
    groups = rng.integers(120, size=300)
    correct = rng.random(300) < np.where(groups < 20, 0.2, 0.9)
    sums = np.bincount(groups, weights=correct, minlength=120)
    sizes = np.bincount(groups, minlength=120)
    drawn = rng.integers(120, size=(20_000, 120))
    expected = np.quantile(sums[drawn].sum(axis=1) / sizes[drawn].sum(axis=1), [0.025, 0.975])
    assert evaluation.bootstrap_interval(correct, groups, samples=20_000) == pytest.approx(expected, abs=0.004)


def test_bootstrap_of_groups_is_wider_than_of_photos() -> None:
    correct = np.repeat(np.arange(50) % 5 > 0, 10)
    photos = evaluation.bootstrap_interval(correct, np.arange(500))
    groups = evaluation.bootstrap_interval(correct, np.array([f"group {i // 10}" for i in range(500)]))
    assert groups[1] - groups[0] > 2 * (photos[1] - photos[0])
    normal = 1.96 * np.sqrt(0.8 * 0.2 / 500)
    assert photos == pytest.approx((0.8 - normal, 0.8 + normal), abs=0.01)


def test_bootstrap_covers_the_truth_as_often_as_it_says() -> None:
    rng = np.random.default_rng(1)
    drawn = rng.random((200, 300)) < 0.85
    intervals = [evaluation.bootstrap_interval(row, np.arange(300), samples=500) for row in drawn]
    assert 0.90 <= np.mean([low <= 0.85 <= high for low, high in intervals]) <= 0.99


@given(st.lists(st.tuples(st.booleans(), st.integers(0, 9)), min_size=1, max_size=40), st.integers(0, 5))
def test_bootstrap_is_ordered_bounded_and_repeatable(photos: list[tuple[bool, int]], seed: int) -> None:
    correct, groups = (np.array(column) for column in zip(*photos, strict=True))
    low, high = evaluation.bootstrap_interval(correct, groups, samples=300, seed=seed)
    assert 0 <= low <= high <= 1
    assert (low, high) == evaluation.bootstrap_interval(correct, groups, samples=300, seed=seed)
    if correct.all():
        assert (low, high) == (1.0, 1.0)


def test_bootstrap_is_fast() -> None:
    rng = np.random.default_rng(0)
    correct, groups = rng.random(5000) < 0.9, rng.integers(4000, size=5000)
    start = time.perf_counter()
    evaluation.bootstrap_interval(correct, groups)
    assert time.perf_counter() - start < 0.2


def test_confusion_table_has_true_rows_and_predicted_columns() -> None:
    table = evaluation.confusion_table(LABELS, PROBABILITIES.argmax(axis=1), NAMES)
    assert table.to_numpy().tolist() == [[1, 1, 0], [0, 2, 0], [0, 0, 1]]
    assert table.loc["daisy", "roses"] == 1
    assert table.loc["roses", "daisy"] == 0
    assert (table.index.name, table.columns.name) == ("true", "predicted")


@given(predictions)
@settings(deadline=None)
def test_confusion_table_sums_to_photos_and_its_trace_is_accuracy(case: tuple[np.ndarray, np.ndarray]) -> None:
    labels, probabilities = case
    predicted, names = probabilities.argmax(axis=1), _names(probabilities)
    table = evaluation.confusion_table(labels, predicted, names).to_numpy()
    if len(names) > 1:
        assert (table == reference.confusion_matrix(labels, predicted, labels=range(len(names)))).all()
    assert table.sum() == len(labels)
    accuracy = evaluation.classification_metrics(labels, probabilities, names)["accuracy"]
    assert np.trace(table) / len(labels) == pytest.approx(accuracy)


@given(predictions, st.integers(1, 30))
@settings(deadline=None)
def test_reliability_table_accounts_for_every_photo(case: tuple[np.ndarray, np.ndarray], bins: int) -> None:
    labels, probabilities = case
    table = evaluation.reliability_table(labels, probabilities, bins)
    full = table[table["count"] > 0]
    assert len(table) == bins
    assert table["count"].sum() == len(labels)
    right = (full["accuracy"] * full["count"]).sum()
    assert right == pytest.approx((probabilities.argmax(axis=1) == labels).sum())
    assert full["mean_confidence"].between(full["bin_low"] - 1e-9, full["bin_high"] + 1e-9).all()
    assert table.loc[table["count"] == 0, ["mean_confidence", "accuracy"]].isna().to_numpy().all()


def test_ece_is_zero_when_confidence_is_honest() -> None:
    labels = np.array([0] * 3 + [1] + [0] * 4)
    probabilities = np.array([[0.75, 0.25]] * 4 + [[1.0, 0.0]] * 4)
    assert evaluation.classification_metrics(labels, probabilities, ["a", "b"])["ece"] == pytest.approx(0)


def test_prediction_table_names_every_photo() -> None:
    table = evaluation.prediction_table([f"{i}.jpg" for i in range(5)], LABELS, PROBABILITIES, NAMES)
    assert list(table) == ["path", "label", "predicted", "probability", "correct", *NAMES]
    assert table.loc[1].tolist() == ["1.jpg", "daisy", "roses", 0.7, False, 0.2, 0.7, 0.1]
    assert table["correct"].dtype == bool


@given(st.permutations(["path", "path_class", "label", "correct_class", "correct", "daisy"]))
def test_class_columns_never_clash(class_names: list[str]) -> None:
    columns = class_columns(class_names, evaluation.PREDICTION_COLUMNS)
    every = [*evaluation.PREDICTION_COLUMNS, *columns]
    assert len(set(every)) == len(every)
    assert columns[class_names.index("daisy")] == "daisy"
    assert columns[class_names.index("path_class")] == "path_class"


def test_per_class_table_has_the_known_answers() -> None:
    table = evaluation.per_class_table(LABELS[:4], PROBABILITIES[:4], NAMES)
    assert table.loc["daisy"].tolist() == pytest.approx([1.0, 0.5, 2 / 3, 2])
    assert table.loc["roses"].tolist() == pytest.approx([2 / 3, 1.0, 0.8, 2])
    assert table.loc["tulips", "support"] == 0
    assert table.loc["tulips"].isna().sum() == 3
