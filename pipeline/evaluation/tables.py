"""The tables behind the plots: confusion matrices, and the prediction of every photo."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import pandas as pd

from pipeline.data.class_columns import class_columns
from pipeline.evaluation.checks import validate_indices, validate_predictions

PREDICTION_COLUMNS = ("path", "label", "predicted", "probability", "correct")


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
