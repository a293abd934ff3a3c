"""The tables behind the plots: confusion matrices, and the prediction of every photo."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import pandas as pd

from pipeline.data.class_columns import class_columns
from pipeline.evaluation.checks import validate_indices, validate_predictions

PREDICTION_COLUMNS = ("path", "label", "predicted", "probability", "correct")

MOST_SQUARE = 100  # classes whose confusion matrix is kept as a square


def confusion_table(labels: np.ndarray, predictions: np.ndarray, class_names: Sequence[str]) -> pd.DataFrame:
    """Return photo counts, int (classes, classes): rows are the true class, columns the predicted class."""
    classes = len(class_names)
    labels, predictions = validate_indices(labels, classes), validate_indices(predictions, classes)
    if labels.shape != predictions.shape:
        raise ValueError(f"labels and predictions must have one length, got {len(labels)} and {len(predictions)}")
    counts = np.bincount(labels * classes + predictions, minlength=classes**2).reshape(classes, classes)
    return pd.DataFrame(
        counts, index=pd.Index(class_names, name="true"), columns=pd.Index(class_names, name="predicted")
    )


def confusion_rates(counts: pd.DataFrame) -> pd.DataFrame:
    """Return shares of the true class in 0..1 of a `confusion_table`; NaN for a class without photos."""
    return counts.div(counts.sum(axis=1).where(lambda photos: photos > 0), axis=0)


def compact_counts(counts: pd.DataFrame) -> pd.DataFrame:
    """Return a table of counts by true and predicted class as it is kept: of many classes the cells that are not 0.

    These are rows of true, predicted and photos: of 1,000 classes the whole table would be 99.9 % zeros.
    """
    if len(counts) <= MOST_SQUARE:
        return counts
    rows, columns = np.nonzero(counts.to_numpy())
    names = counts.index.to_numpy()
    return pd.DataFrame({"true": names[rows], "predicted": names[columns], "photos": counts.to_numpy()[rows, columns]})


def confused_pairs(counts: pd.DataFrame) -> pd.DataFrame:
    """Return the cells beside the diagonal of a `confusion_table` that are not 0, largest first.

    Columns true, predicted, photos, and share of the true class in 0..1.
    """
    values = counts.to_numpy()
    rows, columns = np.nonzero(values * ~np.eye(len(values), dtype=bool))
    photos = values[rows, columns]
    names = counts.index.to_numpy()
    pairs = {"true": names[rows], "predicted": names[columns], "photos": photos}
    table = pd.DataFrame(pairs | {"share": np.round(photos / values.sum(axis=1)[rows], 4)})
    return table.sort_values("photos", ascending=False, kind="stable").reset_index(drop=True)


def prediction_table(
    paths: Sequence[str], labels: np.ndarray, probabilities: np.ndarray, class_names: Sequence[str]
) -> pd.DataFrame:
    """Return one row per photo: `PREDICTION_COLUMNS`, then one probability column per class.

    label and predicted are class names; probability is that of the predicted class.
    """
    labels, probabilities = validate_predictions(labels, probabilities, class_names)
    names = np.asarray(class_names, dtype=object)
    predictions = probabilities.argmax(axis=1)
    columns = ([str(path) for path in paths], names[labels], names[predictions], probabilities.max(axis=1))
    table = pd.DataFrame(dict(zip(PREDICTION_COLUMNS, (*columns, labels == predictions), strict=True)))
    return pd.concat(
        [table, pd.DataFrame(probabilities, columns=class_columns(class_names, PREDICTION_COLUMNS))], axis=1
    )
