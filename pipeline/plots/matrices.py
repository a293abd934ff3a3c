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

MAX_CLASSES, SHOWN_CLASSES = 40, 25
"""Of more classes than the first, the block of the most confused is drawn, of at most the second."""

MIN_CELL = 0.3
"""Side in inches; a smaller cell has no room for a number."""


def draw_confusion(table: pd.DataFrame, title: str) -> Figure:
    """Draw a heat map of `evaluation.confusion_table`, coloured by the share of each true class.

    Cells show count and share; a cell without photos is blank, so that the confusions stand out. Of more than
    `MAX_CLASSES` classes only those that are most confused are drawn, and the title says so.
    """
    totals = table.to_numpy().sum(axis=1, keepdims=True)
    if len(table) > MAX_CLASSES:
        block = most_confused(table.to_numpy())
        title = f"{title}; the {len(block)} most confused of {len(table):,} classes"
        table, totals = table.iloc[block, block], totals[block]
    counts = table.to_numpy()
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

    if len(difference) > MAX_CLASSES:
        block = most_confused(np.abs(difference.to_numpy()))
        title = f"{title}; the {len(block)} of {len(difference):,} classes that changed most"
        difference = difference.iloc[block, block]
    values = difference.to_numpy()
    improvement = np.where(np.eye(len(values), dtype=bool), values, -values).astype(np.float64)
    largest = max(1.0, np.abs(improvement).max())
    colours = seaborn.diverging_palette(40, 250, s=85, l=55, as_cmap=True)
    figure, axes, cell = _draw_heat_map(improvement, difference.index, title, vmin=-largest, vmax=largest, cmap=colours)
    texts = {(row, column): f"{values[row, column]:+,}" for row, column in np.argwhere(values)}
    _write_cells(axes, texts, cell, lambda row, column: False)
    figure.axes[1].set_ylabel("Photos: better (blue) or worse (orange)", fontsize=NORMAL)
    return figure


def most_confused(counts: np.ndarray) -> list[int]:
    """Return at most `SHOWN_CLASSES` classes that the largest cells beside the diagonal join, in their order."""
    beside = counts * ~np.eye(len(counts), dtype=bool)
    largest = np.argsort(-beside, axis=None, kind="stable")[: SHOWN_CLASSES**2]
    shown: dict[int, None] = {}
    for true, predicted in zip(*np.unravel_index(largest, beside.shape), strict=True):
        joined = shown | {int(true): None, int(predicted): None}
        if len(joined) <= SHOWN_CLASSES and beside[true, predicted]:
            shown = joined
    return sorted(shown) or list(range(SHOWN_CLASSES))


def _draw_heat_map(values: np.ndarray, classes: pd.Index, title: str, **colours: Any) -> tuple[Figure, Axes, float]:
    """Return a labelled heat map, and the side of its cells.

    Cells shrink to 0.3 inches, then the figure grows: 40 classes fill 1,500 pixels.
    """
    import seaborn  # takes a second to import, which commands that draw nothing should not pay

    names = [escape_text(name, NAME_LIMIT) for name in classes]
    label_width = max(map(len, names)) * CHARACTER_WIDTH
    cell = float(np.clip(7.5 / len(names), MIN_CELL, 2))
    is_tilted = label_width > cell
    figure = new_figure(
        len(names) * cell + label_width + 2, len(names) * cell * 0.8 + is_tilted * label_width * 0.7 + 1.8, title
    )
    axes = figure.subplots()
    seaborn.heatmap(
        pd.DataFrame(values, index=names, columns=names), ax=axes, linewidths=0.5, linecolor="#d0d0d0",
        xticklabels=True, yticklabels=True, cbar_kws={"fraction": 0.04, "pad": 0.02},
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
    """Write texts into cells; seaborn's own annotation takes longer."""
    text_style: dict[str, Any] = {"ha": "center", "va": "center", "fontsize": float(np.clip(cell * 20, 5.5, 12))}
    for (row, column), text in texts.items():
        colour = "white" if is_dark(row, column) else "black"
        axes.text(column + 0.5, row + 0.5, text, color=colour, **text_style).set_in_layout(False)
