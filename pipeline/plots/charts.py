"""Draws the tables: confusion, history, class counts, reliability, trials.

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
    NORMAL,
    SKY,
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


def draw_confusion(table: pd.DataFrame, title: str) -> Figure:
    """Heat map of `evaluation.confusion_table`, coloured by the share of each true class.

    Cells say count and share; a cell without photos is blank, so that the confusions stand out. Cells
    shrink to 0.3 inches, then the figure grows: 40 classes fill 1,500 pixels, 100 want enlarging. Beyond
    100 only colour is left, for the picture of 1,000 classes with numbers would take gigabytes.
    """
    import seaborn  # takes a second to import, which commands that draw nothing should not pay

    counts = table.to_numpy()
    totals = counts.sum(axis=1, keepdims=True)
    shares = np.divide(counts, totals, out=np.full(counts.shape, np.nan), where=totals > 0)
    names = [plain(name, NAME_LIMIT) for name in table.index]
    room, readable = max(map(len, names)) * CHARACTER, len(names) <= 100
    cell = float(np.clip(7.5 / len(names), 0.3, 2)) if readable else 12 / len(names)
    tilt = room > cell
    figure = new_figure(len(names) * cell + room + 2, len(names) * cell * 0.8 + tilt * room * 0.7 + 1.8, title)
    axes = figure.subplots()
    seaborn.heatmap(
        pd.DataFrame(shares, index=names, columns=names), vmin=0, vmax=1, cmap="Blues", ax=axes,
        linewidths=0.5 * readable, linecolor="#d0d0d0", xticklabels=readable or "auto", yticklabels=readable or "auto",
        cbar_kws={"format": percent_ticks(), "fraction": 0.04, "pad": 0.02},
    )  # fmt: skip
    if readable:
        _write_cells(axes, counts, shares, digits=int(cell > 0.7), size=float(np.clip(cell * 20, 5.5, 12)))
    axes.set_xlabel("Predicted class", fontsize=NORMAL)
    axes.set_ylabel("True class", fontsize=NORMAL)
    axes.tick_params(length=0, labelsize=SMALL)
    axes.tick_params(axis="y", labelrotation=0)
    for label in axes.get_xticklabels():
        label.set(rotation=45 * tilt, ha="right" if tilt else "center", rotation_mode="anchor" if tilt else "default")
    figure.axes[1].set_ylabel("Share of the true class", fontsize=NORMAL)
    return figure


def _write_cells(axes: Axes, counts: np.ndarray, shares: np.ndarray, digits: int, size: float) -> None:
    """Write into the cells that hold photos; seaborn's own annotation takes 2 s for the 10,000 of 100 classes."""
    for row, column in np.argwhere(counts):
        share = shares[row, column]
        colour = "white" if share > 0.5 else "black"
        text = f"{counts[row, column]:,}\n{percent(share, digits)}"
        place: dict[str, Any] = {"ha": "center", "va": "center", "color": colour, "fontsize": size}
        axes.text(column + 0.5, row + 0.5, text, **place).set_in_layout(False)


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


def draw_reliability(table: pd.DataFrame, ece: float, title: str) -> Figure:
    """Accuracy against confidence of `evaluation.reliability_table`, above the number of photos per bin.

    ``ece`` is the expected calibration error in 0..1. After Guo et al. 2017, figure 1.
    """
    figure = new_figure(9, 7.8, f"{title} · ECE {percent(ece, 1)}")
    above, below = figure.subplots(2, 1, sharex=True, height_ratios=[3, 1])
    full = table[table["count"] > 0]
    confidence, accuracy = full["mean_confidence"], full["accuracy"]
    bars: dict[str, Any] = {"width": (full["bin_high"] - full["bin_low"]) * 0.94, "align": "edge", "color": SKY}
    above.bar(full["bin_low"], accuracy, **bars, label="accuracy in the bin")
    above.plot([0, 1], [0, 1], color=GREY, linestyle="--", label="perfectly calibrated")
    above.vlines(confidence, accuracy, confidence, color=VERMILLION, linewidth=2.5)
    above.plot(confidence, confidence, "o", color=VERMILLION, label="mean confidence, and its gap to accuracy")
    below.bar(full["bin_low"], full["count"], **bars)
    below.yaxis.set_major_locator(MaxNLocator(integer=True, nbins=4))
    below.yaxis.set_major_formatter("{x:,.0f}")
    above.set(xlim=(0, 1), ylim=(0, 1.02))
    above.yaxis.set_major_formatter(percent_ticks())
    below.xaxis.set_major_formatter(percent_ticks())
    dress(above, "", "Accuracy")
    dress(below, "Confidence: probability of the predicted class", "Photos")
    legend_above(above)
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
