"""Draws the tables: history, class counts, trials.

Owns how numbers are shown. Does not own the numbers: what is derived here (a row's share, the best so far)
only places ink.
"""

from __future__ import annotations

from typing import Any

import numpy as np
import pandas as pd
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.ticker import MaxNLocator

from pipeline.plots.style import (
    BLUE,
    CHARACTER,
    GREY,
    NAME_LIMIT,
    SMALL,
    SPLIT_COLOURS,
    VERMILLION,
    dress,
    legend_above,
    new_figure,
    percent,
    percent_ticks,
    plain,
    say,
)

_WHOLE: dict[str, Any] = {"integer": True, "min_n_ticks": 1, "steps": [1, 2, 5, 10]}
_MAX_HEIGHT = 200.0
"""Inches; matplotlib refuses pictures of 65,536 pixels."""

_STAR: dict[str, Any] = {"color": "black", "marker": "*", "markersize": 14, "zorder": 4, "linestyle": "none"}


def draw_history(history: pd.DataFrame, title: str) -> Figure:
    """Loss, accuracy and learning rate by epoch; the epoch of the best val_accuracy is marked with its values.

    ``history`` has columns epoch, train_loss, val_loss, train_accuracy, val_accuracy (0..1), learning_rate.
    """
    figure = new_figure(13.5, 4.4, title)
    loss, accuracy, rate = figure.subplots(1, 3)
    measured = history["val_accuracy"].dropna()
    best = history.loc[measured.idxmax()] if len(measured) else None
    said = {"loss": "", "accuracy": ""}
    if best is not None:
        said["loss"] = f"Validation loss {best['val_loss']:.3f} at the best epoch"
        said["accuracy"] = f"Best validation accuracy {percent(best['val_accuracy'], 1)}, epoch {best['epoch']:g}"
    marker_size = 4 if len(history) <= 40 else 0
    for axes, name in ((loss, "loss"), (accuracy, "accuracy")):
        for split, colour, marker in (("train", BLUE, "o"), ("val", VERMILLION, "s")):
            values, label = history[f"{split}_{name}"], {"val": "validation"}.get(split, split)
            axes.plot(history["epoch"], values, color=colour, marker=marker, markersize=marker_size, label=label)
        if best is not None:
            axes.axvline(best["epoch"], color=GREY, linestyle="--", linewidth=1)
            axes.plot(best["epoch"], best[f"val_{name}"], **_STAR)
        dress(axes, "Epoch", {"loss": "Loss (cross-entropy, nats)", "accuracy": "Accuracy"}[name], said[name])
        axes.legend(fontsize=SMALL, edgecolor="none")
    accuracy.yaxis.set_major_formatter(percent_ticks())
    _draw_learning_rate(rate, history, marker_size)
    for axes in (loss, accuracy, rate):
        axes.xaxis.set_major_locator(MaxNLocator(**_WHOLE))
    return figure


def _draw_learning_rate(axes: Axes, history: pd.DataFrame, marker_size: float) -> None:
    """Logarithmic where a linear axis would lay most epochs on its foot."""
    rates = history["learning_rate"]
    axes.plot(history["epoch"], rates, color=BLUE, marker="o", markersize=marker_size)
    dress(axes, "Epoch", "Learning rate", f"Peak learning rate {rates.max():.2g}")
    if rates.min() > 0 and rates.max() > 20 * rates.min():
        axes.set_yscale("log")
    else:
        axes.set_ylim(0, max(rates.max() * 1.08, 1e-12))


def draw_class_counts(table: pd.DataFrame, title: str) -> Figure:
    """Stacked bars of photos per class and split, the numbers beside each bar.

    ``table`` has classes as index and columns train, validation, test (photos).
    """
    splits = [split for split in SPLIT_COLOURS if split in table]
    counts, width = table[splits].to_numpy(), 11.0
    ends = counts.cumsum(axis=1)
    totals = counts.sum(axis=1)
    names = [plain(name, NAME_LIMIT) for name in table.index]
    texts = [f"  {' + '.join(f'{n:,}' for n in row)} = {row.sum():,}" for row in counts]
    figure = new_figure(width, min(0.36 * len(table), _MAX_HEIGHT) + 1.9, title)
    axes = figure.subplots()
    rows = np.arange(len(table))
    for column, split in enumerate(splits):
        left = ends[:, column] - counts[:, column]
        axes.barh(rows, counts[:, column], left=left, height=0.72, color=SPLIT_COLOURS[split], label=split)
    for row, text in enumerate(texts):
        axes.text(totals[row], row, text, va="center", fontsize=SMALL)
    dress(axes, f"Photos ({' + '.join(splits)} = all)", "Class")
    axes.grid(visible=False, axis="y")
    axes.set_yticks(rows, names)
    axes.set_ylim(len(table) - 0.4, -0.6)
    text_share = max(map(len, texts)) * CHARACTER / (width - 1 - max(map(len, names)) * CHARACTER)
    axes.set_xlim(0, max(totals.max(), 1) / (1 - text_share))
    axes.xaxis.set_major_locator(MaxNLocator(**_WHOLE, nbins=6))
    axes.xaxis.set_major_formatter("{x:,.0f}")
    legend_above(axes)
    return figure


def draw_trials(trials: pd.DataFrame, title: str) -> Figure:
    """Every trial's val_accuracy by number, and the best finished one so far.

    ``trials`` has columns number, value (0..1, NaN without one) and state (Optuna's names: complete, pruned,
    fail, ..., in either case). A pruned trial stands at the value it is given, reached before it was stopped.
    """
    figure = new_figure(11, 5.2, title)
    states = trials["state"].map(lambda state: str(state).rsplit(".", 1)[-1].upper())
    trials = trials.assign(state=states).sort_values("number")
    finished = trials[(trials["state"] == "COMPLETE") & trials["value"].notna()]
    if finished.empty:
        return say(figure, "No trial has finished yet.")
    axes = figure.subplots()
    _mark_trials(axes, trials)
    best = finished.loc[finished["value"].idxmax()]
    numbers, values = [*finished["number"], trials["number"].max()], [*finished["value"].cummax(), best["value"]]
    axes.step(numbers, values, where="post", color=VERMILLION, linewidth=2, label="best so far", zorder=1)
    said = f"best: trial {best['number']} with {percent(best['value'], 1)}"
    axes.plot(best["number"], best["value"], **_STAR, label=said)
    axes.xaxis.set_major_locator(MaxNLocator(**_WHOLE))
    axes.yaxis.set_major_formatter(percent_ticks())
    dress(axes, "Trial number", "Validation accuracy")
    legend_above(axes)
    return figure


def _mark_trials(axes: Axes, trials: pd.DataFrame) -> None:
    """Mark finished and pruned trials at their value, and failed ones, which have none, at the foot."""
    marks = {"COMPLETE": ("o", BLUE, "finished"), "PRUNED": ("X", GREY, "pruned")}
    for state, (marker, colour, label) in marks.items():
        shown = trials[(trials["state"] == state) & trials["value"].notna()]
        if len(shown):
            said = f"{len(shown)} {label}"
            axes.plot(shown["number"], shown["value"], marker, color=colour, markersize=8, label=said)
    failed = trials.loc[trials["state"] == "FAIL", "number"]
    if len(failed):
        place: dict[str, Any] = {"transform": axes.get_xaxis_transform(), "markersize": 14, "markeredgewidth": 2}
        axes.plot(failed, np.full(len(failed), 0.03), "|", color="black", label=f"{len(failed)} failed", **place)
