"""Draws confusion matrices: one model's, and the difference of two models'."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any

import numpy as np
import pandas as pd
from matplotlib.axes import Axes
from matplotlib.figure import Figure

from pipeline.plots.style import (
    CHARACTER_WIDTH,
    NAME_LIMIT,
    NORMAL,
    SMALL,
    escape_text,
    new_figure,
    percent,
    percent_ticks,
)

MAX_READABLE_CLASSES = 100
"""With more classes only colour is drawn: a figure of 1,000 classes with numbers would take gigabytes."""

MIN_CELL = 0.3
"""Side in inches; a smaller cell has no room for a number."""


def draw_confusion(table: pd.DataFrame, title: str) -> Figure:
    """Draw a heat map of `evaluation.confusion_table`, coloured by the share of each true class.

    Cells show count and share; a cell without photos is blank, so that the confusions stand out.
    """
    counts = table.to_numpy()
    totals = counts.sum(axis=1, keepdims=True)
    shares = np.divide(counts, totals, out=np.full(counts.shape, np.nan), where=totals > 0)
    figure, axes, cell = _draw_heat_map(shares, table.index, title, vmin=0, vmax=1, cmap="Blues")
    texts = {
        (row, column): f"{counts[row, column]:,}\n{percent(shares[row, column], digits=int(cell > 0.7))}"
        for row, column in np.argwhere(counts)
    }
    _write_cells(axes, texts, cell, lambda row, column: shares[row, column] > 0.5)
    figure.axes[1].yaxis.set_major_formatter(percent_ticks())
    figure.axes[1].set_ylabel("Share of the true class", fontsize=NORMAL)
    return figure


def draw_confusion_difference(difference: pd.DataFrame, title: str) -> Figure:
    """Draw a heat map of `evaluation.confusion_difference`: photos more or fewer than the champion's in each cell.

    On the diagonal more is better, elsewhere fewer; in both, blue is better and orange worse.
    """
    import seaborn

    values = difference.to_numpy()
    improvement = np.where(np.eye(len(values), dtype=bool), values, -values).astype(np.float64)
    largest = max(1.0, np.abs(improvement).max())
    colours = seaborn.diverging_palette(40, 250, s=85, l=55, as_cmap=True)
    figure, axes, cell = _draw_heat_map(improvement, difference.index, title, vmin=-largest, vmax=largest, cmap=colours)
    texts = {(row, column): f"{values[row, column]:+,}" for row, column in np.argwhere(values)}
    _write_cells(axes, texts, cell, lambda row, column: False)
    figure.axes[1].set_ylabel("Photos for the better (blue) or the worse (orange)", fontsize=NORMAL)
    return figure


def _draw_heat_map(values: np.ndarray, classes: pd.Index, title: str, **colours: Any) -> tuple[Figure, Axes, float]:
    """Return a labelled heat map, and the side of its cells.

    Cells shrink to 0.3 inches, then the figure grows: 40 classes fill 1,500 pixels, 100 need zooming in.
    """
    import seaborn  # takes a second to import, which commands that draw nothing should not pay

    names = [escape_text(name, NAME_LIMIT) for name in classes]
    label_width, is_readable = max(map(len, names)) * CHARACTER_WIDTH, len(names) <= MAX_READABLE_CLASSES
    cell = float(np.clip(7.5 / len(names), MIN_CELL, 2)) if is_readable else 12 / len(names)
    is_tilted = label_width > cell
    figure = new_figure(
        len(names) * cell + label_width + 2, len(names) * cell * 0.8 + is_tilted * label_width * 0.7 + 1.8, title
    )
    axes = figure.subplots()
    seaborn.heatmap(
        pd.DataFrame(values, index=names, columns=names), ax=axes, linewidths=0.5 * is_readable, linecolor="#d0d0d0",
        xticklabels=is_readable or "auto", yticklabels=is_readable or "auto", cbar_kws={"fraction": 0.04, "pad": 0.02},
        **colours,
    )  # fmt: skip
    axes.set_xlabel("Predicted class", fontsize=NORMAL)
    axes.set_ylabel("True class", fontsize=NORMAL)
    axes.tick_params(length=0, labelsize=SMALL)
    axes.tick_params(axis="y", labelrotation=0)
    for label in axes.get_xticklabels():
        label.set(
            rotation=45 * is_tilted,
            ha="right" if is_tilted else "center",
            rotation_mode="anchor" if is_tilted else "default",
        )
    return figure, axes, cell


def _write_cells(
    axes: Axes, texts: Mapping[tuple[int, int], str], cell: float, is_dark: Callable[[int, int], bool]
) -> None:
    """Write texts into cells; seaborn's own annotation takes 2 s for the 10,000 cells of 100 classes."""
    if cell < MIN_CELL:
        return
    text_style: dict[str, Any] = {"ha": "center", "va": "center", "fontsize": float(np.clip(cell * 20, 5.5, 12))}
    for (row, column), text in texts.items():
        colour = "white" if is_dark(row, column) else "black"
        axes.text(column + 0.5, row + 0.5, text, color=colour, **text_style).set_in_layout(False)
