"""The metrics: one line in `METRICS` adds a metric everywhere, with its interval."""

from __future__ import annotations

import hashlib
import re
from collections.abc import Callable, Sequence
from functools import cached_property, partial

import numpy as np
import pandas as pd
from scipy.sparse import csr_array

from pipeline.evaluation.calibration import CALIBRATION_BINS, bin_of
from pipeline.evaluation.checks import validate_predictions

SCORES = ("precision", "recall", "f1")  # of a class
LEAST_PROBABILITY = float(np.finfo(np.float64).eps)  # of a class, in a log loss, which so stays below 36.1

_MAX_NAME_LENGTH = 200
"""MLflow rejects metric names over 250 characters; the rest is for prefixes such as ``test_recall_``."""

_UNSAFE_CHARACTERS = re.compile(r"[^\w.\- ]")
"""MLflow accepts letters of any script, but ':' not on Windows, and '/' only in a well-formed path."""


def classification_metrics(
    labels: np.ndarray, probabilities: np.ndarray, class_names: Sequence[str]
) -> dict[str, float]:
    """Return every metric of `metrics_of`, and ``recall_<class>`` for every class.

    NaN marks metrics that the labels leave undefined: the recall of an absent class, and ROC AUC if only one class is
    present. Raises ValueError for malformed or non-finite predictions.
    """
    labels, probabilities = validate_predictions(labels, probabilities, class_names)
    predictions, weights = Predictions(labels, probabilities), once(labels)
    metrics = {name: float(of(predictions, weights)[0]) for name, of in metrics_of(len(class_names)).items()}
    recalls = per_class_table(labels, probabilities, class_names)["recall"]
    return metrics | {f"recall_{metric_name(str(name))}": float(recall) for name, recall in recalls.items()}


def metric_name(class_name: str) -> str:
    """Return ``class_name`` as MLflow accepts it inside a metric name; different classes stay distinct.

    A changed name gets a digest of the original, so that ``a/b`` and ``a?b`` do not collide, and a class keeps its
    metric name whatever other classes there are.
    """
    safe = _UNSAFE_CHARACTERS.sub("_", class_name)[:_MAX_NAME_LENGTH]
    if safe == class_name:
        return safe
    return f"{safe}-{hashlib.sha256(class_name.encode('utf-8', 'surrogatepass')).hexdigest()[:8]}"


def per_class_table(labels: np.ndarray, probabilities: np.ndarray, class_names: Sequence[str]) -> pd.DataFrame:
    """Return precision, recall, f1 and support (photos of the class), one row per class.

    NaN where the divisor is 0: the precision of a class that is never predicted, the recall of an absent class.
    """
    predictions, weights = Predictions(labels, probabilities), once(labels)
    columns = dict(zip(SCORES, predictions.class_scores(weights)[..., 0], strict=True))
    support = np.bincount(labels, minlength=len(class_names))
    return pd.DataFrame(columns | {"support": support}, index=pd.Index(class_names, name="class"))


class Predictions:
    """Labels (n,) and probabilities (n, classes), with what several metrics need of them computed once.

    Metrics are computed of many samples at once: ``weights``, float32 (n, samples), says how often each photo is in
    each sample. Plain metrics are those of one sample in which every photo is once.
    """

    def __init__(self, labels: np.ndarray, probabilities: np.ndarray) -> None:
        self.labels, self.probabilities = labels, probabilities

    @cached_property
    def predicted(self) -> np.ndarray:
        """The predicted class indices (n,)."""
        return self.probabilities.argmax(axis=1)

    @cached_property
    def correct(self) -> np.ndarray:
        """Whether each photo is right, bool (n,)."""
        return self.predicted == self.labels

    @cached_property
    def true_class_probability(self) -> np.ndarray:
        """The probability of each photo's own class (n,)."""
        return self.probabilities[np.arange(len(self.labels)), self.labels]

    def class_scores(self, weights: np.ndarray) -> np.ndarray:
        """Return precision, recall and F1 of every class and sample, float (3, classes, samples)."""
        correct = self._sums_by_class(self.labels, weights * self.correct[:, None])
        predicted, present = (self._sums_by_class(classes, weights) for classes in (self.predicted, self.labels))
        return score_of_counts(correct, predicted, present)

    def photos_by_class(self, weights: np.ndarray) -> np.ndarray:
        """Return the number of photos of every class and sample, float (classes, samples)."""
        return self._sums_by_class(self.labels, weights)

    def _sums_by_class(self, classes: np.ndarray, weights: np.ndarray) -> np.ndarray:
        return sums_by(classes, weights, self.probabilities.shape[1])


def sums_by(places: np.ndarray, weights: np.ndarray, count: int) -> np.ndarray:
    """Return the sums of ``weights`` (n, samples) over the photos at each of ``count`` places, (count, samples)."""
    indicator = csr_array((np.ones(len(places)), (places, np.arange(len(places)))), shape=(count, len(places)))
    return indicator @ weights


def score_of_counts(correct: np.ndarray, predicted: np.ndarray, present: np.ndarray) -> np.ndarray:
    """Return precision, recall and F1, float (3, ...), of numbers of photos; NaN where the divisor is 0."""
    totals = np.stack([predicted, present, (predicted + present) / 2])
    return np.divide(correct, totals, out=np.full(totals.shape, np.nan), where=totals > 0)


def _mean(values: np.ndarray, weights: np.ndarray) -> np.ndarray:
    return values.astype(np.float64) @ weights / weights.sum(axis=0, dtype=np.float64)


def _accuracy(predictions: Predictions, weights: np.ndarray) -> np.ndarray:
    return _mean(predictions.correct, weights)


def _top_5_accuracy(predictions: Predictions, weights: np.ndarray) -> np.ndarray:
    """Return the share of photos whose class is among the five likeliest."""
    likelier = predictions.probabilities > predictions.true_class_probability[:, None]
    return _mean(likelier.sum(axis=1) < 5, weights)


def _mean_over_present(score: int, predictions: Predictions, weights: np.ndarray) -> np.ndarray:
    present = predictions.photos_by_class(weights) > 0
    scores = np.where(present, predictions.class_scores(weights)[score], 0)
    return scores.sum(axis=0) / present.sum(axis=0)


def _log_loss(predictions: Predictions, weights: np.ndarray) -> np.ndarray:
    return _mean(-np.log(np.maximum(predictions.true_class_probability, LEAST_PROBABILITY)), weights)


def _brier(predictions: Predictions, weights: np.ndarray) -> np.ndarray:
    """Brier 1950: squared error summed over the classes, in 0..2 (two-class texts often halve it)."""
    squares = (predictions.probabilities**2).sum(axis=1)
    return _mean(squares - 2 * predictions.true_class_probability + 1, weights)


def _calibration_error(predictions: Predictions, weights: np.ndarray) -> np.ndarray:
    """Return the mean gap between confidence and accuracy over the bins of `calibration`, weighted by photos."""
    confidence = predictions.probabilities.max(axis=1)
    gaps = (confidence - predictions.correct)[:, None] * weights
    return np.abs(sums_by(bin_of(confidence), gaps, CALIBRATION_BINS)).sum(axis=0) / weights.sum(axis=0)


def _roc_auc(predictions: Predictions, weights: np.ndarray) -> np.ndarray:
    """Return the average of one-vs-rest over the present classes; for two classes, both are the usual binary value.

    By Mann and Whitney's formula: the share of pairs of a photo of the class and one of another in which the first has
    the higher probability. scikit-learn's takes 4 ms per call for five classes, and knows no samples.
    """
    total = weights.sum(axis=0, dtype=np.float64)
    areas, classes = np.zeros(weights.shape[1]), np.zeros(weights.shape[1])
    for index in np.unique(predictions.labels):
        area, positive = _pairs_in_order(predictions.probabilities[:, index], predictions.labels == index, weights)
        pairs = positive * (total - positive)
        areas += np.divide(area, pairs, out=np.zeros_like(area), where=pairs > 0)
        classes += pairs > 0
    return np.divide(areas, classes, out=np.full(areas.shape, np.nan), where=classes > 0)


def _pairs_in_order(scores: np.ndarray, is_positive: np.ndarray, weights: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Return per sample the weight of pairs whose positive photo has the higher score, ties half, and of positives."""
    order = np.argsort(scores, kind="stable")
    scores, is_positive, weights = scores[order], is_positive[order], weights[order]
    own = weights[is_positive]
    first, last = (np.searchsorted(scores, scores[is_positive], side) for side in ("left", "right"))
    cuts = np.unique(np.concatenate([[0], first, last[last < len(scores)]]))
    others = np.where(is_positive[:, None], np.float32(0), weights)
    below = np.concatenate([np.zeros((1, weights.shape[1])), np.cumsum(np.add.reduceat(others, cuts), axis=0)])
    lower, not_higher = below[np.searchsorted(cuts, first)], below[np.searchsorted(cuts, last)]
    return (own * (lower + not_higher) / 2).sum(axis=0), own.sum(axis=0, dtype=np.float64)


Metric = Callable[[Predictions, np.ndarray], np.ndarray]
METRICS: dict[str, Metric] = {
    "accuracy": _accuracy,
    "balanced_accuracy": partial(_mean_over_present, 1),
    "macro_f1": partial(_mean_over_present, 2),
    "log_loss": _log_loss,
    "brier": _brier,
    "roc_auc": _roc_auc,
    "ece": _calibration_error,
}
"""Name -> function of predictions and the weights of samples; a line here adds a metric everywhere."""

TOP_5 = {"top_5_accuracy": _top_5_accuracy}  # of more classes than five


def metrics_of(classes: int) -> dict[str, Metric]:
    """Return the metrics that say something of this number of classes."""
    return METRICS | (TOP_5 if classes > 5 else {})


def metric_value(name: str, labels: np.ndarray, probabilities: np.ndarray) -> float:
    """Return one metric of labels (n,) and probabilities (n, classes)."""
    return float(metrics_of(probabilities.shape[1])[name](Predictions(labels, probabilities), once(labels))[0])


def once(labels: np.ndarray) -> np.ndarray:
    """Return the weights of one sample in which every photo is once."""
    return np.ones((len(labels), 1), np.float32)
