"""The numbers: one line in `METRICS` is a metric everywhere, with its interval."""

from __future__ import annotations

import hashlib
import re
from collections.abc import Callable, Sequence

import numpy as np
import pandas as pd
from scipy.stats import rankdata

from pipeline.evaluation.calibration import expected_calibration_error
from pipeline.evaluation.checks import checked_predictions
from pipeline.evaluation.tables import confusion_table

_MAX_NAME_LENGTH = 200
"""MLflow refuses metric names over 250 characters; the rest is for prefixes such as ``test_recall_``."""

_UNSAFE = re.compile(r"[^\w.\- ]")
"""MLflow takes letters of any script, but ':' only off Windows, and '/' only as a well-formed path."""


def classification_metrics(
    labels: np.ndarray, probabilities: np.ndarray, class_names: Sequence[str]
) -> dict[str, float]:
    """Return every metric of `METRICS`, and ``recall_<class>`` for every class.

    NaN stands for what the labels leave undefined: the recall of an absent class, and ROC AUC
    when only one class is present. Raises ValueError for malformed or non-finite predictions.
    """
    labels, probabilities = checked_predictions(labels, probabilities, class_names)
    metrics = {name: float(metric(labels, probabilities)) for name, metric in METRICS.items()}
    recalls = per_class_table(labels, probabilities, class_names)["recall"]
    return metrics | {f"recall_{metric_name(str(name))}": float(recall) for name, recall in recalls.items()}


def metric_name(class_name: str) -> str:
    """Return ``class_name`` as MLflow accepts it inside a metric name; different classes stay different.

    A name that had to change gets a digest of the original, so that ``a/b`` and ``a?b`` do not meet,
    and a class keeps its metric name whatever other classes there are.
    """
    safe = _UNSAFE.sub("_", class_name)[:_MAX_NAME_LENGTH]
    if safe == class_name:
        return safe
    return f"{safe}-{hashlib.sha256(class_name.encode('utf-8', 'surrogatepass')).hexdigest()[:8]}"


def per_class_table(labels: np.ndarray, probabilities: np.ndarray, class_names: Sequence[str]) -> pd.DataFrame:
    """Return precision, recall, f1 and support (photos of the class), one row per class.

    NaN where there is nothing to divide by: precision of a class never predicted, recall of one never there.
    """
    counts = confusion_table(labels, probabilities.argmax(axis=1), class_names).to_numpy()
    columns = dict(zip(("precision", "recall", "f1"), per_class_scores(counts), strict=True))
    return pd.DataFrame(columns | {"support": counts.sum(axis=1)}, index=pd.Index(class_names, name="class"))


def per_class_scores(counts: np.ndarray) -> np.ndarray:
    """Return precision, recall and F1, float (3, ..., classes), of confusion counts (..., classes, classes).

    scikit-learn's take 1.5 ms a time, which a thousand resamples of every metric would make seconds.
    """
    right = np.diagonal(counts, axis1=-2, axis2=-1).astype(np.float64)
    predicted, present = counts.sum(axis=-2), counts.sum(axis=-1)
    totals = np.stack([predicted, present, (predicted + present) / 2])
    return np.divide(right, totals, out=np.full(totals.shape, np.nan), where=totals > 0)


def _accuracy(labels: np.ndarray, probabilities: np.ndarray) -> float:
    return float(np.mean(probabilities.argmax(axis=1) == labels))


def _mean_over_present(score: int, labels: np.ndarray, probabilities: np.ndarray) -> float:
    classes = probabilities.shape[1]
    flat = np.bincount(labels * classes + probabilities.argmax(axis=1), minlength=classes**2)
    counts = flat.reshape(classes, classes)
    return float(per_class_scores(counts)[score][counts.sum(axis=1) > 0].mean())


def _log_loss(labels: np.ndarray, probabilities: np.ndarray) -> float:
    of_the_truth = probabilities[np.arange(len(labels)), labels]
    return float(-np.log(np.maximum(of_the_truth, np.finfo(np.float64).eps)).mean())


def _brier(labels: np.ndarray, probabilities: np.ndarray) -> float:
    """Brier 1950: squared error summed over the classes, in 0..2 (two-class texts often halve it)."""
    return float(((probabilities - np.eye(probabilities.shape[1])[labels]) ** 2).sum(axis=1).mean())


def _roc_auc(labels: np.ndarray, probabilities: np.ndarray) -> float:
    """Each present class against the rest, averaged; for two classes both sides are the usual binary value.

    Mann and Whitney's form, by ranks of all classes at once: scikit-learn's takes 4 ms a time for five classes.
    """
    of_class = np.eye(probabilities.shape[1], dtype=bool)[labels]
    inside = of_class.sum(axis=0)
    present = inside > 0
    if present.sum() < 2:
        return float("nan")
    ranks = (rankdata(probabilities, axis=0) * of_class).sum(axis=0)
    pairs = inside * (len(labels) - inside)
    return float(((ranks - inside * (inside + 1) / 2)[present] / pairs[present]).mean())


METRICS: dict[str, Callable[[np.ndarray, np.ndarray], float]] = {
    "accuracy": _accuracy,
    "balanced_accuracy": lambda labels, probabilities: _mean_over_present(1, labels, probabilities),
    "macro_f1": lambda labels, probabilities: _mean_over_present(2, labels, probabilities),
    "log_loss": _log_loss,
    "brier": _brier,
    "roc_auc": _roc_auc,
    "ece": expected_calibration_error,
}
"""Name -> function of float64 predictions that were checked; a line here is a metric everywhere."""
