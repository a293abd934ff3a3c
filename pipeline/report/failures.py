"""The sections on a model's errors, by class and by photo, which the reports of a search and of a test share.

Predictions are tables as from `evaluation.prediction_table`.
"""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import pandas as pd

from pipeline.evaluation import confused_pairs, confusion_table, per_class_table
from pipeline.plots import most_confused
from pipeline.plots.style import percent
from pipeline.report.page import Photo, Section, Table

MAX_PHOTOS, MOST_CLASSES = 24, 50
OPEN_CLASSES = 12  # rows of the table of classes that are not folded
MOST_IN_MATRIX, MOST_PAIRS = 25, 10
MIN_SIDE_PX = 160
"""Small photos are enlarged to about this shorter side, so that browsers do not blur them."""


def class_section(
    predictions: pd.DataFrame, class_names: Sequence[str], which: str, intervals: pd.DataFrame | None = None
) -> Section:
    """Return the section with the classes, weakest first, the most frequent errors, and the confusion matrix.

    ``intervals`` has the columns metric (such as "recall daisy"), low and high, where they are known.
    """
    confusion, classes = _tables(predictions, class_names)
    text = (
        "Recall: the share of a class's photos that get its label. Precision: the share of the photos with its label "
        "that are of the class."
    )
    if len(classes) > MOST_CLASSES:
        text += f" These are the {MOST_CLASSES} weakest of {len(classes):,} classes."
    return Section(
        "Where it fails",
        text,
        tables=[*_class_tables(classes, intervals), *_pairs_table(confusion), matrix_table(confusion, which)],
    )


def matrix_table(confusion: pd.DataFrame, which: str) -> Table:
    """Return a confusion matrix as a heat map, shaded by the share of each true class; of many classes a part."""
    counts = confusion.to_numpy()
    shares = counts / np.maximum(counts.sum(axis=1, keepdims=True), 1)
    caption = f"Confusion matrix of {counts.sum():,} {which} photos. Rows: true class. Columns: the model's label."
    return heat_table(confusion, shares, caption, "most confused")


def heat_table(frame: pd.DataFrame, shades: np.ndarray, caption: str, shown: str, pattern: str = "{:,}") -> Table:
    """Return counts of true by predicted class as a heat map, with blanks for zeros.

    Of more than `MOST_IN_MATRIX` classes it has those with the largest counts beside the diagonal, and the caption says
    that these are the ``shown`` ones.
    """
    if len(frame) > MOST_IN_MATRIX:
        block = most_confused(np.abs(frame.to_numpy()))
        caption += f" These are the {len(block)} {shown} of {len(frame):,} classes."
        frame, shades = frame.iloc[block, block], shades[np.ix_(block, block)]
    texts = frame.map(lambda count: pattern.format(count) if count else "")
    texts.insert(0, "true class", frame.index, allow_duplicates=True)
    return Table(texts, caption=caption, shades=shades)


def _class_tables(classes: pd.DataFrame, intervals: pd.DataFrame | None) -> list[Table]:
    weakest = classes.sort_values("recall", kind="stable").head(MOST_CLASSES)
    frame = pd.DataFrame({"class": weakest.index, "photos": weakest["support"], "recall": weakest["recall"]})
    if intervals is not None:
        known = intervals.set_index("metric").reindex([f"recall {name}" for name in weakest.index])
        frame["95 % interval"] = [
            f"{100 * low:.0f}–{100 * high:.0f}\N{NO-BREAK SPACE}%" if pd.notna(low) else None  # a class without photos
            for low, high in zip(known["low"], known["high"], strict=True)
        ]
    frame["precision"] = weakest["precision"]
    formats = dict.fromkeys(("recall", "precision"), "{:.1%}")
    shown, rest = frame.iloc[:OPEN_CLASSES], frame.iloc[OPEN_CLASSES:]
    tables = [Table(shown, formats, caption="The classes, the weakest first")]
    return [*tables, Table(rest, formats, folded=f"The next {len(rest)} classes")] if len(rest) else tables


def _pairs_table(confusion: pd.DataFrame) -> list[Table]:
    pairs = confused_pairs(confusion).head(MOST_PAIRS)
    frame = pairs.rename(columns={"true": "the photo shows", "predicted": "the model says", "share": "of its class"})
    return [Table(frame, {"of its class": "{:.0%}"}, caption="The most frequent errors")] if len(frame) else []


def error_photos_section(images: np.ndarray, predictions: pd.DataFrame) -> Section:
    """Return the section with the most confident errors; ``images[i]`` is the photo of row i."""
    errors = predictions[~predictions["correct"].astype(bool)].sort_values(
        "probability", ascending=False, kind="stable"
    )
    most_confident = errors.head(MAX_PHOTOS)
    photos = [
        Photo(
            enlarge(np.asarray(images[index])),
            f"{row['label']} → {row['predicted']} {percent(row['probability'])}",
            f"A photo of {row['label']}, which the model labels {row['predicted']}",
            str(row["path"]),
        )
        for index, row in most_confident.iterrows()
    ]
    text = f"{len(errors)} of {len(predictions)} photos are labelled wrongly."
    if len(errors) > len(most_confident):
        text += f" These are the {len(most_confident)} on which the model was most confident."
    if len(errors):
        text += " Captions: true class → the model's label and its probability."
    return Section("Photos that the model labels wrongly", text, photos=photos)


def describe_weakest_class(predictions: pd.DataFrame, class_names: Sequence[str]) -> str:
    """Return a sentence on the class with the lowest recall, and what it is confused with."""
    confusion, classes = _tables(predictions, class_names)
    present = classes[classes["support"] > 0]
    name = str(present["recall"].idxmin())
    support, recall = int(present.loc[name, "support"]), float(present.loc[name, "recall"])
    if recall == 1:
        return "It made no error on these photos."
    confused_with = confusion.loc[name].drop(name)
    right = round(recall * support)
    return (
        f"It is weakest on {name}: it recognises {right} of {support} photo{'s' if support > 1 else ''} "
        f"({100 * recall:.0f} %), and most often says {confused_with.idxmax()} instead ({confused_with.max()} "
        f"photo{'s' if confused_with.max() > 1 else ''})."
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
