"""Draws tables: history, class counts, trials.

Owns the presentation of numbers. Does not own the numbers: what is derived here (a row's share, the best so far) only
positions marks.
"""

from __future__ import annotations

from typing import Any

import numpy as np
import pandas as pd
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.ticker import MaxNLocator

from pipeline.config import Objective
from pipeline.plots.style import (
    ACCURACY,
    BLUE,
    CHARACTER_WIDTH,
    GREEN,
    GREY,
    MOST_CLASSES,
    NAME_LIMIT,
    SMALL,
    SPLIT_COLOURS,
    VERMILLION,
    draw_message,
    escape_text,
    legend_above,
    new_figure,
    percent,
    percent_ticks,
    style_axes,
    value_ticks,
)

_INTEGER_TICKS: dict[str, Any] = {"integer": True, "min_n_ticks": 1, "steps": [1, 2, 5, 10]}
_BEST_MARKER: dict[str, Any] = {"color": "black", "marker": "*", "markersize": 14, "zorder": 4, "linestyle": "none"}


def draw_history(history: pd.DataFrame, title: str, objective: Objective = ACCURACY) -> Figure:
    """Draw loss, accuracy and learning rate by epoch, and mark the epoch of the best objective with its values.

    ``history`` has columns epoch, train_loss, val_loss, train_accuracy, val_accuracy (0..1), learning_rate, and that of
    the objective, which is drawn beside the accuracy.
    """
    figure = new_figure(13.5, 4.4, title)
    loss, accuracy, rate = figure.subplots(1, 3)
    best = _best_epoch(history, objective)
    titles = {"loss": "", "accuracy": ""}
    if best is not None:
        titles["loss"] = f"Validation loss {best['val_loss']:.3f} at the best epoch"
        titles["accuracy"] = f"Validation accuracy {percent(best['val_accuracy'], 1)} at the best epoch"
        best_value = f"Best {objective.words} {objective.format(best[objective.name])}, epoch {best['epoch']:g}"
        titles["loss" if objective.is_loss else "accuracy"] = best_value
    marker_size = 4 if len(history) <= 40 else 0
    for axes, name in ((loss, "loss"), (accuracy, "accuracy")):
        for split, colour, marker in (("train", BLUE, "o"), ("val", VERMILLION, "s")):
            values, label = history[f"{split}_{name}"], {"val": "validation"}.get(split, split)
            axes.plot(history["epoch"], values, color=colour, marker=marker, markersize=marker_size, label=label)
        if name == "accuracy" and objective.name not in ("val_accuracy", "val_loss"):
            marks: dict[str, Any] = {"color": GREEN, "marker": "^", "markersize": marker_size}
            axes.plot(history["epoch"], history[objective.name], label=objective.words, **marks)
            if best is not None:
                axes.plot(best["epoch"], best[objective.name], **_BEST_MARKER)
        elif best is not None:
            axes.plot(best["epoch"], best[f"val_{name}"], **_BEST_MARKER)
        if best is not None:
            axes.axvline(best["epoch"], color=GREY, linestyle="--", linewidth=1)
        style_axes(axes, "Epoch", {"loss": "Loss (cross-entropy, nats)", "accuracy": "Accuracy"}[name], titles[name])
        axes.legend(fontsize=SMALL, edgecolor="none")
    accuracy.yaxis.set_major_formatter(percent_ticks())
    _draw_learning_rate(rate, history, marker_size)
    for axes in (loss, accuracy, rate):
        axes.xaxis.set_major_locator(MaxNLocator(**_INTEGER_TICKS))
    return figure


def _best_epoch(history: pd.DataFrame, objective: Objective) -> pd.Series | None:
    """Return the row of the best objective, of equal ones that of the lowest val_loss; None where none was measured."""
    scores = history[objective.name].dropna().map(objective.score)
    if scores.empty:
        return None
    best = history.loc[scores.index[scores == scores.max()]]
    return best.loc[best["val_loss"].fillna(np.inf).idxmin()]


def _draw_learning_rate(axes: Axes, history: pd.DataFrame, marker_size: float) -> None:
    """Draw the learning rate, on a logarithmic axis if a linear one would press most epochs to the bottom."""
    rates = history["learning_rate"]
    axes.plot(history["epoch"], rates, color=BLUE, marker="o", markersize=marker_size)
    style_axes(axes, "Epoch", "Learning rate", f"Peak learning rate {rates.max():.2g}")
    if rates.min() > 0 and rates.max() > 20 * rates.min():
        axes.set_yscale("log")
    else:
        axes.set_ylim(0, max(rates.max() * 1.08, 1e-12))


def draw_class_counts(table: pd.DataFrame, title: str) -> Figure:
    """Draw stacked bars of photos per class and split, with the numbers beside each bar.

    ``table`` has classes as index and columns train, validation, test (photos). Of more than `MOST_CLASSES` the largest
    and the smallest are drawn, and the title says so.
    """
    if len(table) > MOST_CLASSES:
        ranked = table.loc[table.sum(axis=1).sort_values(ascending=False, kind="stable").index]
        half = MOST_CLASSES // 2
        title = f"{title}: the {half} largest and the {half} smallest of {len(table):,} classes"
        table = pd.concat([ranked.iloc[:half], ranked.iloc[-half:]])
    splits = [split for split in SPLIT_COLOURS if split in table]
    counts, width = table[splits].to_numpy(), 11.0
    bar_ends = counts.cumsum(axis=1)
    totals = counts.sum(axis=1)
    names = [escape_text(name, NAME_LIMIT) for name in table.index]
    bar_labels = [f"  {' + '.join(f'{n:,}' for n in row)} = {row.sum():,}" for row in counts]
    figure = new_figure(width, 0.36 * len(table) + 1.9, title)
    axes = figure.subplots()
    rows = np.arange(len(table))
    for column, split in enumerate(splits):
        left = bar_ends[:, column] - counts[:, column]
        axes.barh(rows, counts[:, column], left=left, height=0.72, color=SPLIT_COLOURS[split], label=split)
    for row, text in enumerate(bar_labels):
        axes.text(totals[row], row, text, va="center", fontsize=SMALL)
    style_axes(axes, f"Photos ({' + '.join(splits)} = all)", "Class")
    axes.grid(visible=False, axis="y")
    axes.set_yticks(rows, names)
    axes.set_ylim(len(table) - 0.4, -0.6)
    text_share = max(map(len, bar_labels)) * CHARACTER_WIDTH / (width - 1 - max(map(len, names)) * CHARACTER_WIDTH)
    axes.set_xlim(0, max(totals.max(), 1) / (1 - text_share))
    axes.xaxis.set_major_locator(MaxNLocator(**_INTEGER_TICKS, nbins=6))
    axes.xaxis.set_major_formatter("{x:,.0f}")
    legend_above(axes)
    return figure


def draw_trials(trials: pd.DataFrame, title: str, objective: Objective = ACCURACY) -> Figure:
    """Draw every trial's objective by number, and the best finished one so far.

    ``trials`` has columns number, value (NaN without one) and state (Optuna's names: complete, pruned,
    fail, ..., in either case). A pruned trial is drawn at its last value before it was stopped.
    """
    figure = new_figure(11, 5.2, title)
    states = trials["state"].map(lambda state: str(state).rsplit(".", 1)[-1].upper())
    trials = trials.assign(state=states).sort_values("number")
    finished = trials[(trials["state"] == "COMPLETE") & trials["value"].notna()]
    if finished.empty:
        return draw_message(figure, "No trial has finished yet.")
    axes = figure.subplots()
    _draw_trial_markers(axes, trials)
    scores = finished["value"].map(objective.score)
    best, best_so_far = finished.loc[scores.idxmax()], scores.cummax().map(objective.score)  # its own inverse
    numbers, values = [*finished["number"], trials["number"].max()], [*best_so_far, best["value"]]
    axes.step(numbers, values, where="post", color=VERMILLION, linewidth=2, label="best so far", zorder=1)
    label = f"best: trial {best['number']} with {objective.format(best['value'])}"
    axes.plot(best["number"], best["value"], **_BEST_MARKER, label=label)
    axes.xaxis.set_major_locator(MaxNLocator(**_INTEGER_TICKS))
    axes.yaxis.set_major_formatter(value_ticks(objective))
    style_axes(axes, "Trial number", objective.title)
    legend_above(axes)
    return figure


def _draw_trial_markers(axes: Axes, trials: pd.DataFrame) -> None:
    """Draw finished and pruned trials at their value, and failed ones, which have none, at the bottom."""
    markers = {"COMPLETE": ("o", BLUE, "finished"), "PRUNED": ("X", GREY, "pruned")}
    for state, (marker, colour, label) in markers.items():
        scored = trials[(trials["state"] == state) & trials["value"].notna()]
        if len(scored):
            style: dict[str, Any] = {"color": colour, "markersize": 8, "label": f"{len(scored)} {label}"}
            axes.plot(scored["number"], scored["value"], marker, **style)
    failed = trials.loc[trials["state"] == "FAIL", "number"]
    if len(failed):
        style = {"transform": axes.get_xaxis_transform(), "markersize": 14, "markeredgewidth": 2}
        axes.plot(failed, np.full(len(failed), 0.03), "|", color="black", label=f"{len(failed)} failed", **style)
