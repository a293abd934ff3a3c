"""The metrics: one line in `METRICS` adds a metric everywhere, with its interval."""

from __future__ import annotations

import hashlib
import re
from collections.abc import Callable, Sequence

import numpy as np
import pandas as pd
from scipy.stats import rankdata

from pipeline.evaluation.calibration import expected_calibration_error
from pipeline.evaluation.checks import validate_predictions
from pipeline.evaluation.tables import confusion_table

_MAX_NAME_LENGTH = 200
"""MLflow rejects metric names over 250 characters; the rest is for prefixes such as ``test_recall_``."""

_UNSAFE_CHARACTERS = re.compile(r"[^\w.\- ]")
"""MLflow accepts letters of any script, but ':' not on Windows, and '/' only in a well-formed path."""


def classification_metrics(
    labels: np.ndarray, probabilities: np.ndarray, class_names: Sequence[str]
) -> dict[str, float]:
    """Return every metric of `METRICS`, and ``recall_<class>`` for every class.

    NaN marks metrics that the labels leave undefined: the recall of an absent class, and ROC AUC if only one class is
    present. Raises ValueError for malformed or non-finite predictions.
    """
    labels, probabilities = validate_predictions(labels, probabilities, class_names)
    metrics = {name: float(metric(labels, probabilities)) for name, metric in METRICS.items()}
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
    counts = confusion_table(labels, probabilities.argmax(axis=1), class_names).to_numpy()
    columns = dict(zip(("precision", "recall", "f1"), per_class_scores(counts), strict=True))
    return pd.DataFrame(columns | {"support": counts.sum(axis=1)}, index=pd.Index(class_names, name="class"))


def per_class_scores(counts: np.ndarray) -> np.ndarray:
    """Return precision, recall and F1, float (3, ..., classes), of confusion counts (..., classes, classes).

    scikit-learn's take 1.5 ms per call, which would add up to seconds over a thousand resamples of every metric.
    """
    correct = np.diagonal(counts, axis1=-2, axis2=-1).astype(np.float64)
    predicted, present = counts.sum(axis=-2), counts.sum(axis=-1)
    totals = np.stack([predicted, present, (predicted + present) / 2])
    return np.divide(correct, totals, out=np.full(totals.shape, np.nan), where=totals > 0)


def _accuracy(labels: np.ndarray, probabilities: np.ndarray) -> float:
    return float(np.mean(probabilities.argmax(axis=1) == labels))


def _mean_over_present(score: int, labels: np.ndarray, probabilities: np.ndarray) -> float:
    classes = probabilities.shape[1]
    flat = np.bincount(labels * classes + probabilities.argmax(axis=1), minlength=classes**2)
    counts = flat.reshape(classes, classes)
    return float(per_class_scores(counts)[score][counts.sum(axis=1) > 0].mean())


def _log_loss(labels: np.ndarray, probabilities: np.ndarray) -> float:
    true_class_probabilities = probabilities[np.arange(len(labels)), labels]
    return float(-np.log(np.maximum(true_class_probabilities, np.finfo(np.float64).eps)).mean())


def _brier(labels: np.ndarray, probabilities: np.ndarray) -> float:
    """Brier 1950: squared error summed over the classes, in 0..2 (two-class texts often halve it)."""
    return float(((probabilities - np.eye(probabilities.shape[1])[labels]) ** 2).sum(axis=1).mean())


def _roc_auc(labels: np.ndarray, probabilities: np.ndarray) -> float:
    """Return the average of one-vs-rest over the present classes; for two classes, both are the usual binary value.

    By Mann and Whitney's formula, from the ranks of all classes at once: scikit-learn's takes 4 ms per call for five
    classes.
    """
    is_class = np.eye(probabilities.shape[1], dtype=bool)[labels]
    class_sizes = is_class.sum(axis=0)
    present = class_sizes > 0
    if present.sum() < 2:
        return float("nan")
    ranks = (rankdata(probabilities, axis=0) * is_class).sum(axis=0)
    pairs = class_sizes * (len(labels) - class_sizes)
    return float(((ranks - class_sizes * (class_sizes + 1) / 2)[present] / pairs[present]).mean())


METRICS: dict[str, Callable[[np.ndarray, np.ndarray], float]] = {
    "accuracy": _accuracy,
    "balanced_accuracy": lambda labels, probabilities: _mean_over_present(1, labels, probabilities),
    "macro_f1": lambda labels, probabilities: _mean_over_present(2, labels, probabilities),
    "log_loss": _log_loss,
    "brier": _brier,
    "roc_auc": _roc_auc,
    "ece": expected_calibration_error,
}
"""Name -> function of labels and validated float64 probabilities; a line here adds a metric everywhere."""
