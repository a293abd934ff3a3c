"""Where a model fails and on which photos: the sections that a report of a search and one of a test share.

Predictions are a table as of `evaluation.prediction_table`.
"""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import pandas as pd

from pipeline import plots
from pipeline.evaluation import confusion_table, per_class_table
from pipeline.report.page import Photo, Picture, Section, Table

MOST_PHOTOS = 24
ENLARGED = 160
"""Pixels of the shorter side that small photos are enlarged to, so that a browser need not blur them."""


def where_it_fails(predictions: pd.DataFrame, class_names: Sequence[str], which: str) -> Section:
    """Return the confusion matrix and the table of classes, weakest first."""
    confusion, classes = _tables(predictions, class_names)
    share = predictions["correct"].mean()
    figure = plots.draw_confusion(confusion, f"{len(predictions)} {which} photos: {100 * share:.1f} % right")
    return Section(
        "Where it fails",
        weakest(predictions, class_names),
        [Picture(figure, f"Confusion matrix of {len(predictions)} {which} photos; {_most_frequent_error(confusion)}")],
        table=Table(
            classes.reset_index().sort_values("recall", kind="stable"),
            dict.fromkeys(("precision", "recall", "f1"), "{:.1%}"),
        ),
    )


def on_which_photos(images: np.ndarray, predictions: pd.DataFrame) -> Section:
    """Return the errors of which the model was surest; ``images[i]`` is the photo of row i."""
    wrong = predictions[~predictions["correct"].astype(bool)].sort_values("probability", ascending=False, kind="stable")
    shown = wrong.head(MOST_PHOTOS)
    photos = [
        Photo(
            enlarged(np.asarray(images[index])),
            f"{row['label']} → {row['predicted']} {100 * row['probability']:.0f} %",
            f"A photo of the class {row['label']} that was taken for {row['predicted']}",
            str(row["path"]),
        )
        for index, row in shown.iterrows()
    ]
    text = f"{len(wrong)} of {len(predictions)} photos are taken for another class"
    if len(wrong) > len(shown):
        text += f"; these are the {len(shown)} of which the model was surest"
    text += ". Each says: true class → prediction and its probability." if len(wrong) else "."
    return Section("On which photos", text, photos=photos)


def weakest(predictions: pd.DataFrame, class_names: Sequence[str]) -> str:
    """Say which class is recognised least often, and what it is taken for."""
    confusion, classes = _tables(predictions, class_names)
    present = classes[classes["support"] > 0]
    name = str(present["recall"].idxmin())
    support, recall = int(present.loc[name, "support"]), float(present.loc[name, "recall"])
    if recall == 1:
        return "It made no error here."
    others = confusion.loc[name].drop(name)
    photos = f"{support} photo{'s' if support > 1 else ''}"
    return (
        f"It is weakest on {name}: {100 * recall:.0f} % of {photos} recognised, "
        f"most often taken for {others.idxmax()} ({others.max()})."
    )


def enlarged(photo: np.ndarray) -> np.ndarray:
    """Return a small photo in whole multiples of its size, a large one as it is."""
    factor = max(1, round(ENLARGED / min(photo.shape[:2])))
    return photo.repeat(factor, axis=0).repeat(factor, axis=1) if factor > 1 else photo


def _tables(predictions: pd.DataFrame, class_names: Sequence[str]) -> tuple[pd.DataFrame, pd.DataFrame]:
    names = list(class_names)
    labels = predictions["label"].map(names.index).to_numpy(np.int64)
    predicted = predictions["predicted"].map(names.index).to_numpy(np.int64)
    certain = np.eye(len(names))[predicted]  # what counts here is the prediction alone
    return confusion_table(labels, predicted, names), per_class_table(labels, certain, names)


def _most_frequent_error(confusion: pd.DataFrame) -> str:
    errors = confusion.stack()
    errors = errors[[true != predicted for true, predicted in errors.index]]
    (true, predicted), count = errors.idxmax(), int(errors.max())
    return f"the most frequent error is {true} taken for {predicted}, {count} times" if count else "no errors"
