"""Predictions -> metric tables: the numbers, their intervals, and the tables behind every plot.

Owns what a metric means and what happens when it is undefined (NaN, never a made-up 0).
Does not own drawing (`plots`), logging, the model, or which split may be read.

Throughout, ``labels`` are int (n,) class indices, ``probabilities`` are float (n, classes) with rows
that sum to 1, column k belongs to ``class_names[k]``, and the predicted class is the row's argmax.
A class without photos in ``labels`` has no recall and no ROC curve: macro averages (balanced accuracy,
macro F1, ROC AUC) run over the classes that are present, and its own recall is NaN.
"""

from __future__ import annotations

import hashlib
import re
from collections.abc import Callable, Sequence

import numpy as np
import pandas as pd
from sklearn.metrics import precision_recall_fscore_support, roc_auc_score

CALIBRATION_BINS = 15
"""Guo et al. 2017, "On Calibration of Modern Neural Networks", section 5."""

PREDICTION_COLUMNS = ("path", "label", "predicted", "probability", "correct")

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
    labels, probabilities = _checked(labels, probabilities, class_names)
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


def bootstrap_interval(
    correct: np.ndarray, groups: np.ndarray, samples: int = 2000, seed: int = 0, level: float = 0.95
) -> tuple[float, float]:
    """Return the percentile bootstrap interval of ``correct.mean()``, resampling whole groups.

    ``correct`` is bool (n,); ``groups`` (n,) holds any ids, equal for near-duplicate photos, which are
    right or wrong together and would make the interval too narrow if they were drawn one by one.
    Groups of equal size and equal hits are interchangeable, so the number drawn of each such kind is
    multinomial: the same distribution as drawing the groups, but (samples, kinds) numbers, not (samples, groups).
    The interval has no width when all photos are right, all wrong, or all in one group.
    """
    correct, groups = np.asarray(correct, dtype=np.float64), np.asarray(groups)
    if correct.ndim != 1 or correct.shape != groups.shape or not correct.size:
        raise ValueError(f"correct and groups must have one shape (n > 0,), got {correct.shape} and {groups.shape}")
    _, group_of_photo = np.unique(groups, return_inverse=True)
    sizes_and_hits = np.stack([np.bincount(group_of_photo), np.bincount(group_of_photo, weights=correct)], axis=1)
    kinds, counts = np.unique(sizes_and_hits, axis=0, return_counts=True)
    group_count = int(counts.sum())
    drawn = np.random.default_rng(seed).multinomial(group_count, counts / group_count, size=samples)
    means = (drawn @ kinds[:, 1]) / (drawn @ kinds[:, 0])
    low, high = np.quantile(means, [(1 - level) / 2, (1 + level) / 2])
    return float(low), float(high)


def confusion_table(labels: np.ndarray, predictions: np.ndarray, class_names: Sequence[str]) -> pd.DataFrame:
    """Return photo counts, int (classes, classes): rows are the true class, columns the predicted class."""
    classes = len(class_names)
    labels, predictions = _checked_indices(labels, classes), _checked_indices(predictions, classes)
    if labels.shape != predictions.shape:
        raise ValueError(f"labels and predictions must have one length, got {len(labels)} and {len(predictions)}")
    counts = np.bincount(labels * classes + predictions, minlength=classes**2).reshape(classes, classes)
    return pd.DataFrame(
        counts, index=pd.Index(class_names, name="true"), columns=pd.Index(class_names, name="predicted")
    )


def reliability_table(labels: np.ndarray, probabilities: np.ndarray, bins: int = CALIBRATION_BINS) -> pd.DataFrame:
    """Return one row per equal-width bin ``(bin_low, bin_high]`` of the predicted class's probability.

    Columns bin_low, bin_high, count, mean_confidence, accuracy; the last two are NaN for an empty bin.
    """
    confidence = probabilities.max(axis=1)
    correct = probabilities.argmax(axis=1) == labels
    edges = np.linspace(0, 1, bins + 1)
    bin_of_photo = np.digitize(confidence, edges[1:-1], right=True)
    count = np.bincount(bin_of_photo, minlength=bins)
    means = [
        np.divide(np.bincount(bin_of_photo, values, bins), count, out=np.full(bins, np.nan), where=count > 0)
        for values in (confidence, correct)
    ]
    columns = {"bin_low": edges[:-1], "bin_high": edges[1:], "count": count}
    return pd.DataFrame(columns | {"mean_confidence": means[0], "accuracy": means[1]})


def prediction_table(
    paths: Sequence[str], labels: np.ndarray, probabilities: np.ndarray, class_names: Sequence[str]
) -> pd.DataFrame:
    """Return one row per photo: `PREDICTION_COLUMNS`, then one probability column per class.

    label and predicted are class names; probability is that of the predicted class.
    """
    labels, probabilities = _checked(labels, probabilities, class_names)
    names = np.asarray(class_names, dtype=object)
    predictions = probabilities.argmax(axis=1)
    columns = ([str(path) for path in paths], names[labels], names[predictions], probabilities.max(axis=1))
    facts = pd.DataFrame(dict(zip(PREDICTION_COLUMNS, (*columns, labels == predictions), strict=True)))
    return pd.concat([facts, pd.DataFrame(probabilities, columns=class_columns(class_names))], axis=1)


def class_columns(class_names: Sequence[str]) -> list[str]:
    """Return the probability column of each class: its name, with ``_class`` added to a name that is taken."""
    taken = {*PREDICTION_COLUMNS, *class_names}
    columns = []
    for name in class_names:
        if name in PREDICTION_COLUMNS:
            while name in taken:
                name += "_class"
            taken.add(name)
        columns.append(name)
    return columns


def per_class_table(labels: np.ndarray, probabilities: np.ndarray, class_names: Sequence[str]) -> pd.DataFrame:
    """Return precision, recall, f1 and support (photos of the class), one row per class.

    NaN where there is nothing to divide by: precision of a class never predicted, recall of one never there.
    """
    scores = precision_recall_fscore_support(
        labels, probabilities.argmax(axis=1), labels=np.arange(len(class_names)), zero_division=np.nan
    )
    columns = dict(zip(("precision", "recall", "f1", "support"), scores, strict=True))
    return pd.DataFrame(columns, index=pd.Index(class_names, name="class"))


def _accuracy(labels: np.ndarray, probabilities: np.ndarray) -> float:
    return float(np.mean(probabilities.argmax(axis=1) == labels))


def _mean_over_present(column: str, labels: np.ndarray, probabilities: np.ndarray) -> float:
    table = per_class_table(labels, probabilities, [str(index) for index in range(probabilities.shape[1])])
    return float(table.loc[table["support"] > 0, column].mean())


def _log_loss(labels: np.ndarray, probabilities: np.ndarray) -> float:
    of_the_truth = probabilities[np.arange(len(labels)), labels]
    return float(-np.log(np.maximum(of_the_truth, np.finfo(np.float64).eps)).mean())


def _brier(labels: np.ndarray, probabilities: np.ndarray) -> float:
    """Brier 1950: squared error summed over the classes, in 0..2 (two-class texts often halve it)."""
    return float(((probabilities - np.eye(probabilities.shape[1])[labels]) ** 2).sum(axis=1).mean())


def _roc_auc(labels: np.ndarray, probabilities: np.ndarray) -> float:
    """Each present class against the rest, averaged; for two classes both sides are the usual binary value."""
    present = np.unique(labels)
    if len(present) < 2:
        return float("nan")
    return float(np.mean([roc_auc_score(labels == index, probabilities[:, index]) for index in present]))


def _ece(labels: np.ndarray, probabilities: np.ndarray) -> float:
    table = reliability_table(labels, probabilities)
    gap = (table["mean_confidence"] - table["accuracy"]).abs()  # NaN of empty bins is skipped by sum
    return float((gap * table["count"]).sum() / len(labels))


METRICS: dict[str, Callable[[np.ndarray, np.ndarray], float]] = {
    "accuracy": _accuracy,
    "balanced_accuracy": lambda labels, probabilities: _mean_over_present("recall", labels, probabilities),
    "macro_f1": lambda labels, probabilities: _mean_over_present("f1", labels, probabilities),
    "log_loss": _log_loss,
    "brier": _brier,
    "roc_auc": _roc_auc,
    "ece": _ece,
}
"""Name -> function of float64 predictions that were checked; a line here is a metric everywhere."""


def _checked(
    labels: np.ndarray, probabilities: np.ndarray, class_names: Sequence[str]
) -> tuple[np.ndarray, np.ndarray]:
    """Return int64 labels and float64 probabilities, or raise what is wrong with them."""
    labels = _checked_indices(labels, len(class_names))
    probabilities = np.asarray(probabilities, dtype=np.float64)
    shape = (len(labels), len(class_names))
    if not len(labels) or probabilities.shape != shape:
        raise ValueError(f"probabilities must have shape (n > 0, classes) = {shape}, got {probabilities.shape}")
    if not np.isfinite(probabilities).all():
        bad = int((~np.isfinite(probabilities).all(axis=1)).sum())
        raise ValueError(f"probabilities must be finite, got {bad} bad rows of {len(labels)} (did training diverge?)")
    sums = probabilities.sum(axis=1)
    if probabilities.min() < 0 or np.abs(sums - 1).max() > 1e-2:  # bfloat16 keeps 8 bits
        raise ValueError(
            "probabilities must be at least 0 and sum to 1 in every row, "
            f"got a minimum of {probabilities.min():.4g} and sums in {sums.min():.4g}..{sums.max():.4g} (logits?)"
        )
    return labels, probabilities


def _checked_indices(indices: np.ndarray, classes: int) -> np.ndarray:
    indices = np.asarray(indices)
    if indices.ndim != 1 or (indices.size and indices.dtype.kind not in "iu"):
        raise ValueError(f"class indices must be integers of shape (n,), got {indices.dtype} {indices.shape}")
    if indices.size and not (indices.min() >= 0 and indices.max() < classes):
        raise ValueError(f"class indices must lie in 0..{classes - 1}, got {indices.min()}..{indices.max()}")
    return indices.astype(np.int64)
