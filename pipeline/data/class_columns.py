"""The names of a table's probability columns: one per class, distinct from the table's other columns."""

from __future__ import annotations

from collections.abc import Collection, Sequence

ANSWER_COLUMNS = ("path", "label", "probability", "error")  # a prediction's columns beside the probabilities


def class_columns(class_names: Sequence[str], others: Collection[str] = ANSWER_COLUMNS) -> list[str]:
    """Return each class's column: the class name, with ``_class`` appended where it collides with one of ``others``."""
    taken = {*others, *class_names}
    columns = []
    for name in class_names:
        if name in others:
            while name in taken:
                name += "_class"
            taken.add(name)
        columns.append(name)
    return columns
