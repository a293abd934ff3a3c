"""The names of a table's columns of probabilities: one per class, beside whatever else the table says of a photo."""

from __future__ import annotations

from collections.abc import Collection, Sequence

ANSWER_COLUMNS = ("path", "label", "probability", "error")  # what a classifier says of a photo beside the probabilities


def class_columns(class_names: Sequence[str], others: Collection[str] = ANSWER_COLUMNS) -> list[str]:
    """Return each class's column: its name, with ``_class`` added where one of the ``others`` is called so."""
    taken = {*others, *class_names}
    columns = []
    for name in class_names:
        if name in others:
            while name in taken:
                name += "_class"
            taken.add(name)
        columns.append(name)
    return columns
