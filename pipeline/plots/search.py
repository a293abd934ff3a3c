"""What a search tried, drawn: importance, parallel coordinates, slices, timeline. From tables; knows no Optuna.

Optuna's own matplotlib plots were not taken: their labels overlap from seven parameters on, and they leave out the
pruned trials, which are half of what a search knows. Its interactive plots are (`study_plots.study_figures`).
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

from pipeline.plots.style import (
    BLUE,
    GREY,
    NORMAL,
    ORANGE,
    SMALL,
    VERMILLION,
    dress,
    legend_above,
    new_figure,
    percent,
    percent_ticks,
    plain,
    say,
)

# From worse to better: viridis, the same for the colour-blind, without its yellow end, which is too pale on white.
COLOURS = LinearSegmentedColormap.from_list("better", colormaps["viridis"](np.linspace(0.92, 0, 256)))
STATE_COLOURS = {"complete": BLUE, "pruned": ORANGE, "fail": VERMILLION, "running": GREY}
STATE_WORDS = {"complete": "complete", "pruned": "pruned", "fail": "failed or killed", "running": "running"}
NAME_CHARACTERS = 16
BEST_SHARE = 0.1  # of the complete trials, drawn thick
PANELS_PER_ROW = 4


class Parameter(NamedTuple):
    """A dimension of the search: its choices in order, or (where empty) numbers, perhaps on a logarithmic scale."""

    name: str
    choices: tuple[Any, ...] = ()
    log: bool = False

    def place(self, values: pd.Series) -> np.ndarray:
        """Return where the values lie on a linear axis; NaN for a trial without one."""
        if self.choices:
            return values.map({choice: float(at) for at, choice in enumerate(self.choices)}).to_numpy(float)
        return np.log10(values.to_numpy(float)) if self.log else values.to_numpy(float)

    def number(self, place: float) -> str:
        """Return what is written at a place of the axis."""
        return f"{10**place if self.log else place:.2g}"


def draw_importance(importance: pd.Series, title: str) -> Figure:
    """Bars of each parameter's share (0..1) in the variance of val_accuracy, by fANOVA (Hutter et al. 2014)."""
    figure = new_figure(9, 0.42 * len(importance) + 1.7, title)
    axes = figure.subplots()
    rising = importance.sort_values()
    axes.barh([plain(name) for name in rising.index], rising, height=0.7, color=BLUE)
    for row, share in enumerate(rising):
        axes.text(share, row, f" {percent(share)}", va="center", fontsize=SMALL)
    dress(axes, "Share in the variance of the validation accuracy (fANOVA)", "")
    axes.grid(visible=False, axis="y")
    axes.set_xlim(0, 1.12 * rising.max())
    axes.xaxis.set_major_formatter(percent_ticks())
    return figure


def draw_parallel_coordinates(trials: pd.DataFrame, parameters: Sequence[Parameter], title: str) -> Figure:
    """A line per trial through the values of its parameters, coloured by its val_accuracy; the best are thick.

    ``trials`` has columns state, value (0..1) and one per parameter; those without a value are left out.
    """
    figure = new_figure(1.75 * (len(parameters) + 1) + 1.5, 6, title)
    shown = trials[trials["value"].notna()].sort_values("value")
    if shown.empty or not parameters:
        return say(figure, "No trial has a value yet.")
    axes = figure.subplots()
    every = [*parameters, Parameter("val_accuracy")]
    heights = [_share_of_axis(of, of.place(shown[of.name] if of.name in shown else shown["value"])) for of in every]
    colour_of = Normalize(shown["value"].quantile(0.1), shown["value"].max())  # one hopeless trial would pale the rest
    complete = shown["state"] == "complete"
    thick = shown["value"] >= shown.loc[complete, "value"].quantile(1 - BEST_SHARE) if complete.any() else complete
    for place, (number, trial) in enumerate(shown.iterrows()):
        colour = COLOURS(colour_of(trial["value"], clip=True))
        best = bool(thick[number] and complete[number])
        style: dict[str, Any] = {"linewidth": 2.6, "alpha": 1} if best else {"linewidth": 1, "alpha": 0.45}
        line = "-" if complete[number] else ":"
        axes.plot(range(len(every)), [height[place] for height in heights], line, color=colour, **style)
    for column, of in enumerate(every):
        _draw_axis(axes, column, of, shown[of.name] if of.name in shown else shown["value"])
    axes.set_xticks(range(len(every)), [plain(of.name) for of in every], fontsize=NORMAL)
    axes.set(xlim=(-0.15, len(every) - 0.6), ylim=(-0.04, 1.04), yticks=[])
    axes.tick_params(length=0, pad=8)
    axes.spines[:].set_visible(False)
    for label in axes.get_xticklabels():
        label.set(rotation=20, ha="right", rotation_mode="anchor")
    colours = ScalarMappable(colour_of, COLOURS)
    figure.colorbar(colours, ax=axes, format=percent_ticks(), fraction=0.03, pad=0.02, label="Validation accuracy")
    handles = [
        Line2D([], [], color="black", linewidth=2.6, label=f"best {percent(BEST_SHARE)} of the complete trials"),
        Line2D([], [], color="black", linewidth=1, label="complete"),
        Line2D([], [], color="black", linewidth=1, linestyle=":", label="pruned"),
    ]
    axes.legend(handles=handles, loc="lower center", bbox_to_anchor=(0.5, 1), ncols=3, frameon=False, fontsize=SMALL)
    return figure


def _limits(of: Parameter, places: np.ndarray) -> tuple[float, float]:
    low, high = (0.0, len(of.choices) - 1.0) if of.choices else (np.nanmin(places), np.nanmax(places))
    return (low, high) if high > low else (low - 0.5, high + 0.5)


def _share_of_axis(of: Parameter, places: np.ndarray) -> np.ndarray:
    low, high = _limits(of, places)
    return (places - low) / (high - low)


def _draw_axis(axes: Axes, column: int, of: Parameter, values: pd.Series) -> None:
    axes.axvline(column, color=GREY, linewidth=1, zorder=0)
    low, high = _limits(of, of.place(values))
    ticks: dict[float, str] = {float(at): str(choice) for at, choice in enumerate(of.choices)}
    if of.name == "val_accuracy":
        ticks = {float(at): percent(at, 1) for at in np.linspace(low, high, 5)}
    elif not of.choices:
        ticks = {float(at): of.number(at) for at in np.linspace(low, high, 5)}
    for at, text in ticks.items():
        box = {"facecolor": "white", "edgecolor": "none", "alpha": 0.75, "pad": 1}
        words = plain(text, NAME_CHARACTERS)
        axes.text(column + 0.04, (at - low) / (high - low), words, fontsize=SMALL, va="center", bbox=box, zorder=5)


def draw_slices(trials: pd.DataFrame, parameters: Sequence[Parameter], title: str) -> Figure:
    """A panel per parameter: each trial's val_accuracy against its value, the later the darker.

    ``trials`` has columns number, state, value (0..1) and one per parameter.
    """
    rows = math.ceil(max(1, len(parameters)) / PANELS_PER_ROW)
    columns = min(max(1, len(parameters)), PANELS_PER_ROW)
    figure = new_figure(3.2 * columns + 1, 3.1 * rows + 1, title)
    shown = trials[trials["value"].notna()]
    if shown.empty or not parameters:
        return say(figure, "No trial has a value yet.")
    panels = figure.subplots(rows, columns, sharey=True, squeeze=False).ravel()
    low = shown.loc[shown["state"] == "complete", "value"].min()
    floor = min(low, shown["value"].quantile(0.1)) if pd.notna(low) else shown["value"].min()
    for place, (panel, of) in enumerate(zip(panels, parameters, strict=False)):
        _draw_slice(panel, of, shown, "Validation accuracy" if place % columns == 0 else "")
        panel.set_ylim(floor - 0.02, min(1.0, shown["value"].max() + 0.02))
    for panel in panels[len(parameters) :]:
        panel.remove()
    marks = {"complete trials, the later the darker": ("o", BLUE), "pruned, when stopped": ("X", GREY)}
    marks["best trial"] = ("*", VERMILLION)
    handles = [
        Line2D([], [], linestyle="none", marker=marker, color=colour, markersize=9, label=label)
        for label, (marker, colour) in marks.items()
    ]
    figure.legend(handles=handles, loc="outside lower center", ncols=3, frameon=False, fontsize=SMALL)
    return figure


def _draw_slice(axes: Axes, of: Parameter, shown: pd.DataFrame, y_label: str) -> None:
    places = pd.Series(of.place(shown[of.name]), index=shown.index)
    if of.choices:  # side by side, the earliest to the left
        span = max(1, shown["number"].max() - shown["number"].min())
        places = places + 0.5 * ((shown["number"] - shown["number"].min()) / span - 0.5)
    complete, pruned = shown["state"] == "complete", shown["state"] == "pruned"
    axes.plot(places[pruned], shown.loc[pruned, "value"], "X", color=GREY, markersize=6, alpha=0.6)
    ages = shown.loc[complete, "number"].rank(pct=True)
    shade = colormaps["Blues"](0.35 + 0.65 * ages.to_numpy(float))
    axes.scatter(
        places[complete], shown.loc[complete, "value"], c=shade, s=38, edgecolors="white", linewidths=0.5, zorder=3
    )
    if complete.any():
        best = shown.loc[complete, "value"].idxmax()
        axes.plot(places[best], shown.loc[best, "value"], "*", color=VERMILLION, markersize=15, zorder=4)
    dress(axes, plain(of.name) + (" (log)" if of.log else ""), y_label)
    axes.yaxis.set_major_formatter(percent_ticks())
    if of.choices:
        names = [plain(choice, NAME_CHARACTERS) for choice in of.choices]
        tilt = sum(map(len, names)) > 26
        axes.set_xticks(range(len(names)), names, rotation=20 * tilt, ha="right" if tilt else "center")
        axes.set_xlim(-0.5, len(names) - 0.5)
    elif of.log:
        low, high = _limits(of, places.to_numpy(float))
        ticks = np.linspace(low, high, 4)
        axes.set_xticks(ticks, [of.number(tick) for tick in ticks])
    else:
        axes.xaxis.set_major_locator(MaxNLocator(nbins=4))


def draw_timeline(trials: pd.DataFrame, title: str) -> Figure:
    """A bar per trial from its start to its end, in minutes since the first.

    ``trials`` has columns number, state, started (time) and seconds.
    """
    figure = new_figure(11, min(14.0, max(3.2, 0.16 * len(trials) + 1.8)), title)
    begun = trials[trials["started"].notna()]
    if begun.empty:
        return say(figure, "No trial has begun yet.")
    axes = figure.subplots()
    starts = (begun["started"] - begun["started"].min()).dt.total_seconds() / 60
    for state, colour in STATE_COLOURS.items():
        of_state = begun["state"] == state
        if of_state.any():
            label = f"{of_state.sum()} {STATE_WORDS[state]}"
            minutes = begun.loc[of_state, "seconds"].fillna(0) / 60
            axes.barh(
                begun.loc[of_state, "number"], minutes, left=starts[of_state], height=0.8, color=colour, label=label
            )
    axes.yaxis.set_major_locator(MaxNLocator(integer=True, min_n_ticks=1))
    dress(axes, "Minutes since the first trial began", "Trial number")
    axes.invert_yaxis()
    legend_above(axes)
    return figure
