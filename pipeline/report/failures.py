"""The sections on a model's errors, by class and by photo, which the reports of a search and of a test share.

Predictions are tables as from `evaluation.prediction_table`.
"""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import pandas as pd

from pipeline import plots
from pipeline.evaluation import confusion_table, per_class_table
from pipeline.report.page import Photo, Picture, Section, Table

MAX_PHOTOS, MOST_CLASSES = 24, 50
MIN_SIDE_PX = 160
"""Small photos are enlarged to about this shorter side, so that browsers do not blur them."""


def class_section(predictions: pd.DataFrame, class_names: Sequence[str], which: str) -> Section:
    """Return the section with the confusion matrix and the table of classes, weakest first."""
    confusion, classes = _tables(predictions, class_names)
    share = predictions["correct"].mean()
    figure = plots.draw_confusion(confusion, f"{len(predictions)} {which} photos: {100 * share:.1f} % right")
    text = describe_weakest_class(predictions, class_names)
    if len(classes) > MOST_CLASSES:
        text += f" The table has the {MOST_CLASSES} weakest of {len(classes):,} classes."
    return Section(
        "Where it fails",
        text,
        [Picture(figure, f"Confusion matrix of {len(predictions)} {which} photos; {_most_frequent_error(confusion)}")],
        table=Table(
            classes.reset_index().sort_values("recall", kind="stable").head(MOST_CLASSES),
            dict.fromkeys(("precision", "recall", "f1"), "{:.1%}"),
        ),
    )


def error_photos_section(images: np.ndarray, predictions: pd.DataFrame) -> Section:
    """Return the section with the most confident errors; ``images[i]`` is the photo of row i."""
    errors = predictions[~predictions["correct"].astype(bool)].sort_values(
        "probability", ascending=False, kind="stable"
    )
    most_confident = errors.head(MAX_PHOTOS)
    photos = [
        Photo(
            enlarge(np.asarray(images[index])),
            f"{row['label']} → {row['predicted']} {100 * row['probability']:.0f} %",
            f"A photo of the class {row['label']} that was taken for {row['predicted']}",
            str(row["path"]),
        )
        for index, row in most_confident.iterrows()
    ]
    text = f"{len(errors)} of {len(predictions)} photos are taken for another class"
    if len(errors) > len(most_confident):
        text += f"; these are the {len(most_confident)} of which the model was surest"
    text += ". Each says: true class → prediction and its probability." if len(errors) else "."
    return Section("On which photos", text, photos=photos)


def describe_weakest_class(predictions: pd.DataFrame, class_names: Sequence[str]) -> str:
    """Return a sentence on the class with the lowest recall, and what it is confused with."""
    confusion, classes = _tables(predictions, class_names)
    present = classes[classes["support"] > 0]
    name = str(present["recall"].idxmin())
    support, recall = int(present.loc[name, "support"]), float(present.loc[name, "recall"])
    if recall == 1:
        return "It made no error here."
    confused_with = confusion.loc[name].drop(name)
    photos = f"{support} photo{'s' if support > 1 else ''}"
    return (
        f"It is weakest on {name}: {100 * recall:.0f} % of {photos} recognised, "
        f"most often taken for {confused_with.idxmax()} ({confused_with.max()})."
    )


def enlarge(photo: np.ndarray) -> np.ndarray:
    """Return a small photo enlarged by an integer factor, a large one unchanged."""
    factor = max(1, round(MIN_SIDE_PX / min(photo.shape[:2])))
    return photo.repeat(factor, axis=0).repeat(factor, axis=1) if factor > 1 else photo


def _tables(predictions: pd.DataFrame, class_names: Sequence[str]) -> tuple[pd.DataFrame, pd.DataFrame]:
    names = list(class_names)
    labels = predictions["label"].map(names.index).to_numpy(np.int64)
    predicted = predictions["predicted"].map(names.index).to_numpy(np.int64)
    one_hot = np.eye(len(names))[predicted]  # only the predicted class counts here
    return confusion_table(labels, predicted, names), per_class_table(labels, one_hot, names)


def _most_frequent_error(confusion: pd.DataFrame) -> str:
    errors = confusion.stack()
    errors = errors[[true != predicted for true, predicted in errors.index]]
    (true, predicted), count = errors.idxmax(), int(errors.max())
    return f"the most frequent error is {true} taken for {predicted}, {count} times" if count else "no errors"
