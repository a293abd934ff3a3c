"""The search as inline SVG drawings: each trial has a tooltip, and is highlighted in all drawings at once.

matplotlib draws; its SVG gets a title (the browser's tooltip) and a CSS class per trial. Rejected: Plotly, whose script
adds 4 MB to every report, and Vega, whose script adds 0.8 MB; both need a page that runs scripts. These drawings need
none, and take 20 kB each.
"""

from __future__ import annotations

from collections.abc import Mapping

import numpy as np
import pandas as pd
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.ticker import LogFormatterSciNotation, LogLocator, MaxNLocator, NullFormatter, StrMethodFormatter

from pipeline.config import Objective
from pipeline.plots import style
from pipeline.report.inline_svg import FAINT, INK, inline_svg

STATE_MARKERS = {"complete": "o", "pruned": "X", "fail": "v", "running": "s"}
STATE_WORDS = {
    "complete": "a dot is a complete trial",
    "pruned": "a cross one that was pruned, that is, stopped early",
    "fail": "a triangle one that failed",
    "running": "a square one that has not ended",
}


def trial_class(number: int) -> str:
    """Return the CSS class of a trial's markers and table row."""
    return f"trial-{number}"


def describe_marks(trials: pd.DataFrame) -> str:
    """Return what the marks of the trials mean, as a sentence or two; of marks that there are."""
    has_value = trials["value"].notna()
    states = set(trials.loc[has_value, "state"])
    text = "; ".join(words for state, words in STATE_WORDS.items() if state in states)
    unmarked = int((~has_value).sum())
    plural = "s have" if unmarked > 1 else " has"
    rest = f" {unmarked} trial{plural} no value and so no mark, only a row in the table." if unmarked else ""
    return f"{text[:1].upper()}{text[1:]}.{rest}"


def draw_progress(trials: pd.DataFrame, winner: int, objective: Objective) -> str:
    """Draw each trial's value by its number, and the best complete one so far."""
    figure, axes = _canvas("Trials in the order they began", "trial", objective)
    complete = trials[trials["state"] == "complete"].sort_values("number")
    best_so_far = complete["value"].map(objective.score).cummax().map(objective.score)  # its own inverse
    axes.step(complete["number"], best_so_far, where="post", color=style.SKY, linewidth=1.5, zorder=1)
    axes.xaxis.set_major_locator(MaxNLocator(integer=True))
    return _draw_markers(figure, axes, trials, trials["number"], winner, objective)


def draw_parameter(trials: pd.DataFrame, name: str, winner: int, objective: Objective) -> str:
    """Draw each trial's value by one parameter: choices, or numbers, on a logarithmic axis if they span decades."""
    figure, axes = _canvas(name, "", objective)
    values = trials[name]
    if not pd.api.types.is_numeric_dtype(values) or values.dtype == bool:
        names = values.dropna().astype(str)  # a trial that was killed early has no value
        choices = sorted(names.unique())
        positions = names.map(choices.index).reindex(values.index) + _jitter(trials["number"])
        axes.set_xticks(range(len(choices)), choices)
        axes.set_xlim(-0.6, len(choices) - 0.4)
        return _draw_markers(figure, axes, trials, positions, winner, objective)
    if values.min() > 0 and values.max() / values.min() > 10:
        axes.set_xscale("log")
        few_decades = values.max() / values.min() < 100
        axes.xaxis.set_major_locator(LogLocator(subs=(1, 2, 5) if few_decades else (1,)))
        axes.xaxis.set_major_formatter(StrMethodFormatter("{x:g}") if few_decades else LogFormatterSciNotation())
        axes.xaxis.set_minor_formatter(NullFormatter())
    return _draw_markers(figure, axes, trials, values, winner, objective)


def draw_curves(curves: pd.DataFrame, trials: pd.DataFrame, winner: int, objective: Objective) -> str:
    """Draw the objective by epoch, a line per trial; ``curves`` has the columns number, epoch and value."""
    figure, axes = _canvas("Every trial, epoch by epoch", "epoch", objective)
    axes.xaxis.set_major_locator(MaxNLocator(integer=True))
    for number, curve in curves.sort_values("epoch").groupby("number"):
        colour, order, width = (style.VERMILLION, 3, 2.5) if number == winner else (style.BLUE, 2, 1.2)
        (line,) = axes.plot(curve["epoch"], curve["value"], color=colour, zorder=order, linewidth=width, alpha=0.85)
        line.set_gid(trial_class(int(str(number))))
    return _to_svg(figure, trials, objective)


def _canvas(title: str, x_label: str, objective: Objective) -> tuple[Figure, Axes]:
    figure = Figure(figsize=(4.6, 2.9), layout="constrained")
    axes = figure.subplots()
    style.style_axes(axes, x_label, objective.name, title)
    axes.yaxis.set_major_formatter(style.value_ticks(objective))
    axes.grid(color=FAINT, linewidth=0.5)
    for text in (axes.xaxis.label, axes.yaxis.label, axes.title):
        text.set_color(INK)
    axes.tick_params(colors=INK)
    axes.spines[["left", "bottom"]].set_color(INK)
    return figure, axes


def _jitter(numbers: pd.Series[int]) -> pd.Series[float]:
    """Return a deterministic jitter per trial, which separates trials of the same choice."""
    return (numbers * 0.618034 % 1 - 0.5) * 0.4


def _draw_markers(
    figure: Figure, axes: Axes, trials: pd.DataFrame, positions: pd.Series[float], winner: int, objective: Objective
) -> str:
    for position, trial in zip(positions, trials.to_dict("records"), strict=True):
        is_winner = trial["number"] == winner
        colour = style.VERMILLION if is_winner else style.BLUE if trial["state"] == "complete" else style.GREY
        (dot,) = axes.plot(
            position, trial["value"], STATE_MARKERS.get(trial["state"], "o"), color=colour, alpha=0.9,
            markersize=11 if is_winner else 7, markeredgecolor="none", zorder=3 if is_winner else 2,
        )  # fmt: skip
        dot.set_gid(trial_class(trial["number"]))
    return _to_svg(figure, trials, objective)


def _to_svg(figure: Figure, trials: pd.DataFrame, objective: Objective) -> str:
    titles = {trial_class(trial["number"]): _tooltip(trial, objective) for trial in trials.to_dict("records")}
    return inline_svg(figure, titles)


def _tooltip(trial: Mapping[str, object], objective: Objective) -> str:
    value = trial["value"]
    value_text = objective.format(value) if isinstance(value, float) and not np.isnan(value) else "no value"
    return f"trial {trial['number']}: {value_text}, {trial['state']}\n{trial.get('config', '')}"
