"""Draws a model's quality: scores by class, and accuracy under corruptions."""

from __future__ import annotations

import numpy as np
import pandas as pd
from matplotlib.figure import Figure

from pipeline.plots.style import (
    BLUE,
    GREEN,
    GREY,
    NAME_LIMIT,
    NORMAL,
    ORANGE,
    SKY,
    escape_text,
    legend_above,
    new_figure,
    percent_ticks,
    style_axes,
)

SCORES = {"precision": (BLUE, "o", -0.22), "recall": (ORANGE, "s", 0.0), "f1": (GREEN, "D", 0.22)}
MAX_CLASSES = 25
_COLUMNS = 4


def draw_per_class(intervals: pd.DataFrame, per_class: pd.DataFrame, title: str) -> Figure:
    """Draw precision, recall and F1 of every class as points with 95 % intervals.

    ``intervals`` is `evaluation.interval_table`, ``per_class`` is `evaluation.per_class_table`. Of more than
    `MAX_CLASSES` those of the lowest F1 are drawn, and the title says so.
    """
    if len(per_class) > MAX_CLASSES:
        title = f"{title}: the {MAX_CLASSES} weakest of {len(per_class):,}"
        per_class = per_class.sort_values("f1", kind="stable").iloc[:MAX_CLASSES]
    names = [str(name) for name in per_class.index]
    figure = new_figure(10, 0.55 * len(names) + 2, title)
    axes = figure.subplots()
    rows = np.arange(len(names))
    for score, (colour, marker, offset) in SCORES.items():
        scores = intervals.loc[[f"{score} {name}" for name in names]]
        axes.hlines(rows + offset, scores["low"], scores["high"], color=colour, linewidth=2)
        axes.plot(scores["value"], rows + offset, marker, color=colour, label={"f1": "F1"}.get(score, score))
    support = per_class["support"]
    labels = [f"{escape_text(name, NAME_LIMIT)} ({photos:,})" for name, photos in zip(names, support, strict=True)]
    axes.set_yticks(rows, labels)
    axes.set_ylim(len(names) - 0.4, -0.6)
    axes.set_xlim(0, 1.02)
    axes.xaxis.set_major_formatter(percent_ticks())
    style_axes(axes, "Score, with its 95 % interval", "Class (test photos)")
    axes.grid(visible=False, axis="y")
    legend_above(axes)
    return figure


def draw_corruptions(table: pd.DataFrame, title: str) -> Figure:
    """Draw a panel per corruption: accuracy by strength, 0 for the clean photos, with its 95 % interval.

    ``table`` is `evaluation.corruption_table`, whose first row has strength 0.
    """
    clean, corrupted = table.iloc[0], table.iloc[1:]
    names = list(dict.fromkeys(corrupted["corruption"]))
    columns = min(_COLUMNS, len(names))
    rows = -(-len(names) // columns)
    figure = new_figure(12, 2.7 * rows + 1, title)
    panels = figure.subplots(rows, columns, sharex=True, sharey=True, squeeze=False)
    for axes, name in zip(panels.flat, names, strict=False):
        by_strength = pd.concat([table.iloc[:1], corrupted[corrupted["corruption"] == name]])
        axes.fill_between(
            by_strength["strength"], by_strength["low"], by_strength["high"], color=SKY, alpha=0.35, linewidth=0
        )
        axes.plot(by_strength["strength"], by_strength["accuracy"], "o-", color=BLUE)
        axes.axhline(clean["accuracy"], color=GREY, linestyle="--", linewidth=1)
        style_axes(axes, "", "", escape_text(name, NAME_LIMIT))
    for index, axes in enumerate(panels.flat):
        if index >= len(names):
            axes.set_axis_off()
        axes.tick_params(labelbottom=index + columns >= len(names))  # the lowest panel of its column
    panels[0, 0].set(ylim=(0, 1.02), xticks=range(int(table["strength"].max()) + 1))
    panels[0, 0].yaxis.set_major_formatter(percent_ticks())
    figure.supxlabel("Strength (0: unchanged photos; dashed: their accuracy)", fontsize=NORMAL)
    figure.supylabel("Accuracy", fontsize=NORMAL)
    return figure
