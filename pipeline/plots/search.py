"""Draws a search: importance, parallel coordinates, slices, timeline. Draws tables; knows nothing of Optuna.

Rejected: Optuna's own matplotlib plots, whose labels overlap from seven parameters on, and which omit pruned trials,
half of the information of a search. Its interactive plots are used (`study_plots.study_figures`).
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import Any, NamedTuple

import numpy as np
import pandas as pd
from matplotlib import colormaps
from matplotlib.axes import Axes
from matplotlib.cm import ScalarMappable
from matplotlib.colors import LinearSegmentedColormap, Normalize
from matplotlib.figure import Figure
from matplotlib.lines import Line2D
from matplotlib.ticker import MaxNLocator

from pipeline.config import Objective
from pipeline.plots.style import (
    ACCURACY,
    BLUE,
    GREY,
    NORMAL,
    ORANGE,
    SMALL,
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

# From worse to better: viridis, safe for colour-blind readers, without its yellow end, which is too pale on white.
COLOURS = LinearSegmentedColormap.from_list("better", colormaps["viridis"](np.linspace(0.92, 0, 256)))
STATE_COLOURS = {"complete": BLUE, "pruned": ORANGE, "fail": VERMILLION, "running": GREY}
STATE_LABELS = {"complete": "complete", "pruned": "pruned", "fail": "failed or killed", "running": "running"}
MAX_CHOICE_LENGTH = 16
BEST_SHARE = 0.1  # share of the complete trials that is drawn thick
PANELS_PER_ROW = 4


class Parameter(NamedTuple):
    """A dimension of the search: its choices in order, or (if empty) numbers, perhaps on a logarithmic scale."""

    name: str
    choices: tuple[Any, ...] = ()
    log: bool = False

    def position(self, values: pd.Series) -> np.ndarray:
        """Return the positions of the values on a linear axis; NaN for a trial without a value."""
        if self.choices:
            return values.map({choice: float(tick) for tick, choice in enumerate(self.choices)}).to_numpy(float)
        return np.log10(values.to_numpy(float)) if self.log else values.to_numpy(float)

    def tick_label(self, position: float) -> str:
        """Return the tick label at a position of the axis."""
        return f"{10**position if self.log else position:.2g}"


def draw_importance(importance: pd.Series, title: str, objective: Objective = ACCURACY) -> Figure:
    """Draw each parameter's share (0..1) of the variance of the objective, by fANOVA (Hutter et al. 2014)."""
    figure = new_figure(9, 0.42 * len(importance) + 1.7, title)
    axes = figure.subplots()
    ascending = importance.sort_values()
    axes.barh([escape_text(name) for name in ascending.index], ascending, height=0.7, color=BLUE)
    for row, share in enumerate(ascending):
        axes.text(share, row, f" {percent(share)}", va="center", fontsize=SMALL)
    style_axes(axes, f"Share of the variance of the {objective.words} (fANOVA)", "")
    axes.grid(visible=False, axis="y")
    axes.set_xlim(0, 1.12 * ascending.max())
    axes.xaxis.set_major_formatter(percent_ticks())
    return figure


def draw_parallel_coordinates(
    trials: pd.DataFrame, parameters: Sequence[Parameter], title: str, objective: Objective = ACCURACY
) -> Figure:
    """Draw a line per trial through its parameter values, coloured by the objective; the best are thick.

    ``trials`` has columns state, value and one per parameter; trials without a value are omitted.
    """
    figure = new_figure(1.75 * (len(parameters) + 1) + 1.5, 6, title)
    scored = trials[trials["value"].notna()].sort_values("value", ascending=not objective.is_loss)
    if scored.empty or not parameters:
        return draw_message(figure, "No trial has a value yet.")
    scores = scored["value"].map(objective.score)
    axes = figure.subplots()
    dimensions = [*parameters, Parameter(objective.name)]
    columns = [scored[dimension.name if dimension.name in scored else "value"] for dimension in dimensions]
    shares = [_axis_shares(each, each.position(values)) for each, values in zip(dimensions, columns, strict=True)]
    worst = scores.quantile(0.1)  # not the minimum: one very bad trial would make the others look alike
    least, most = sorted(map(objective.score, (worst, scores.max())))
    colour_of = Normalize(least, most)
    colours_of = COLOURS.reversed() if objective.is_loss else COLOURS
    complete = scored["state"] == "complete"
    is_best = scores >= scores[complete].quantile(1 - BEST_SHARE) if complete.any() else complete
    for position, (number, trial) in enumerate(scored.iterrows()):
        colour = colours_of(colour_of(trial["value"], clip=True))
        best = bool(is_best[number] and complete[number])
        style: dict[str, Any] = {"linewidth": 2.6, "alpha": 1} if best else {"linewidth": 1, "alpha": 0.45}
        line = "-" if complete[number] else ":"
        axes.plot(range(len(dimensions)), [share[position] for share in shares], line, color=colour, **style)
    for index, (dimension, values) in enumerate(zip(dimensions, columns, strict=True)):
        _draw_axis(axes, index, dimension, values, objective)
    axes.set_xticks(range(len(dimensions)), [escape_text(each.name) for each in dimensions], fontsize=NORMAL)
    axes.set(xlim=(-0.15, len(dimensions) - 0.6), ylim=(-0.04, 1.04), yticks=[])
    axes.tick_params(length=0, pad=8)
    axes.spines[:].set_visible(False)
    for label in axes.get_xticklabels():
        label.set(rotation=20, ha="right", rotation_mode="anchor")
    colours = ScalarMappable(colour_of, colours_of)
    figure.colorbar(colours, ax=axes, format=value_ticks(objective), fraction=0.03, pad=0.02, label=objective.title)
    handles = [
        Line2D([], [], color="black", linewidth=2.6, label=f"best {percent(BEST_SHARE)} of the complete trials"),
        Line2D([], [], color="black", linewidth=1, label="complete"),
        Line2D([], [], color="black", linewidth=1, linestyle=":", label="pruned, failed or not ended"),
    ]
    axes.legend(handles=handles, loc="lower center", bbox_to_anchor=(0.5, 1), ncols=3, frameon=False, fontsize=SMALL)
    return figure


def _limits(parameter: Parameter, positions: np.ndarray) -> tuple[float, float]:
    low, high = (
        (0.0, len(parameter.choices) - 1.0) if parameter.choices else (np.nanmin(positions), np.nanmax(positions))
    )
    return (low, high) if high > low else (low - 0.5, high + 0.5)


def _axis_shares(parameter: Parameter, positions: np.ndarray) -> np.ndarray:
    low, high = _limits(parameter, positions)
    return (positions - low) / (high - low)


def _draw_axis(axes: Axes, column: int, parameter: Parameter, values: pd.Series, objective: Objective) -> None:
    axes.axvline(column, color=GREY, linewidth=1, zorder=0)
    low, high = _limits(parameter, parameter.position(values))
    ticks: dict[float, str] = {float(tick): str(choice) for tick, choice in enumerate(parameter.choices)}
    if parameter.name == objective.name:
        ticks = {float(tick): objective.format(tick) for tick in np.linspace(low, high, 5)}
    elif not parameter.choices:
        ticks = {float(tick): parameter.tick_label(tick) for tick in np.linspace(low, high, 5)}
    for tick, text in ticks.items():
        box = {"facecolor": "white", "edgecolor": "none", "alpha": 0.75, "pad": 1}
        label = escape_text(text, MAX_CHOICE_LENGTH)
        axes.text(column + 0.04, (tick - low) / (high - low), label, fontsize=SMALL, va="center", bbox=box, zorder=5)


def draw_slices(
    trials: pd.DataFrame, parameters: Sequence[Parameter], title: str, objective: Objective = ACCURACY
) -> Figure:
    """Draw a panel per parameter: each trial's objective against its value, later trials darker.

    ``trials`` has columns number, state, value and one per parameter.
    """
    rows = math.ceil(max(1, len(parameters)) / PANELS_PER_ROW)
    columns = min(max(1, len(parameters)), PANELS_PER_ROW)
    figure = new_figure(3.2 * columns + 1, 3.1 * rows + 1, title)
    scored = trials[trials["value"].notna()]
    if scored.empty or not parameters:
        return draw_message(figure, "No trial has a value yet.")
    panels = figure.subplots(rows, columns, sharey=True, squeeze=False).ravel()
    scores = scored["value"].map(objective.score)
    worst = scores[scored["state"] == "complete"].min()
    worst = min(worst, scores.quantile(0.1)) if pd.notna(worst) else scores.min()
    low, high = sorted(map(objective.score, (worst - 0.02, scores.max() + 0.02)))
    for position, (panel, parameter) in enumerate(zip(panels, parameters, strict=False)):
        _draw_slice(panel, parameter, scored, objective, is_first=position % columns == 0)
        panel.set_ylim(low, high if objective.is_loss else min(1.0, high))
    for panel in panels[len(parameters) :]:
        panel.remove()
    legend_marks = {"complete trials, later ones darker": ("o", BLUE), "pruned, when stopped": ("X", GREY)}
    legend_marks["best trial"] = ("*", VERMILLION)
    handles = [
        Line2D([], [], linestyle="none", marker=marker, color=colour, markersize=9, label=label)
        for label, (marker, colour) in legend_marks.items()
    ]
    figure.legend(handles=handles, loc="outside lower center", ncols=3, frameon=False, fontsize=SMALL)
    return figure


def _draw_slice(axes: Axes, parameter: Parameter, scored: pd.DataFrame, objective: Objective, is_first: bool) -> None:
    positions = pd.Series(parameter.position(scored[parameter.name]), index=scored.index)
    if parameter.choices:  # side by side, earliest trials to the left
        span = max(1, scored["number"].max() - scored["number"].min())
        positions = positions + 0.5 * ((scored["number"] - scored["number"].min()) / span - 0.5)
    complete, pruned = scored["state"] == "complete", scored["state"] == "pruned"
    axes.plot(positions[pruned], scored.loc[pruned, "value"], "X", color=GREY, markersize=6, alpha=0.6)
    ages = scored.loc[complete, "number"].rank(pct=True)
    shade = colormaps["Blues"](0.35 + 0.65 * ages.to_numpy(float))
    axes.scatter(
        positions[complete],
        scored.loc[complete, "value"],
        c=shade,
        s=38,
        edgecolors="white",
        linewidths=0.5,
        zorder=3,
    )
    if complete.any():
        best = scored.loc[complete, "value"].map(objective.score).idxmax()
        axes.plot(positions[best], scored.loc[best, "value"], "*", color=VERMILLION, markersize=15, zorder=4)
    style_axes(
        axes, escape_text(parameter.name) + (" (log)" if parameter.log else ""), objective.title if is_first else ""
    )
    axes.yaxis.set_major_formatter(value_ticks(objective))
    if parameter.choices:
        names = [escape_text(choice, MAX_CHOICE_LENGTH) for choice in parameter.choices]
        is_tilted = sum(map(len, names)) > 26
        axes.set_xticks(range(len(names)), names, rotation=20 * is_tilted, ha="right" if is_tilted else "center")
        axes.set_xlim(-0.5, len(names) - 0.5)
    elif parameter.log:
        low, high = _limits(parameter, positions.to_numpy(float))
        ticks = np.linspace(low, high, 4)
        axes.set_xticks(ticks, [parameter.tick_label(tick) for tick in ticks])
    else:
        axes.xaxis.set_major_locator(MaxNLocator(nbins=4))


def draw_timeline(trials: pd.DataFrame, title: str) -> Figure:
    """Draw a bar per trial from its start to its end, in minutes since the first start.

    ``trials`` has columns number, state, started (time) and seconds.
    """
    figure = new_figure(11, min(14.0, max(3.2, 0.16 * len(trials) + 1.8)), title)
    started = trials[trials["started"].notna()]
    if started.empty:
        return draw_message(figure, "No trial has begun yet.")
    axes = figure.subplots()
    starts = (started["started"] - started["started"].min()).dt.total_seconds() / 60
    for state, colour in STATE_COLOURS.items():
        in_state = started["state"] == state
        if in_state.any():
            label = f"{in_state.sum()} {STATE_LABELS[state]}"
            minutes = started.loc[in_state, "seconds"].fillna(0) / 60
            axes.barh(
                started.loc[in_state, "number"], minutes, left=starts[in_state], height=0.8, color=colour, label=label
            )
    axes.yaxis.set_major_locator(MaxNLocator(integer=True, min_n_ticks=1))
    style_axes(axes, "Minutes since the first trial began", "Trial number")
    axes.invert_yaxis()
    legend_above(axes)
    return figure
