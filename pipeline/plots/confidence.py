"""Draws what probabilities are worth: the reliability diagram, and accuracy when unsure photos are refused."""

from __future__ import annotations

from typing import Any

import numpy as np
import pandas as pd
from matplotlib.figure import Figure
from matplotlib.ticker import MaxNLocator

from pipeline.plots.style import (
    BLUE,
    GREY,
    ORANGE,
    SKY,
    SMALL,
    VERMILLION,
    dress,
    legend_above,
    new_figure,
    percent,
    percent_ticks,
)


def draw_reliability(table: pd.DataFrame, ece: float, title: str, before: pd.DataFrame | None = None) -> Figure:
    """Accuracy against confidence of `evaluation.reliability_table`, above the number of photos per bin.

    ``ece`` is the expected calibration error in 0..1; ``before`` is the table without the temperature, if there is
    one. After Guo et al. 2017, figure 1.
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
    if before is not None:
        there = before[before["count"] > 0]
        above.plot(there["mean_confidence"], there["accuracy"], "D:", color=ORANGE, label="without the temperature")
    below.bar(full["bin_low"], full["count"], **bars)
    below.yaxis.set_major_locator(MaxNLocator(integer=True, nbins=4))
    below.yaxis.set_major_formatter("{x:,.0f}")
    above.set(xlim=(0, 1), ylim=(0, 1.02))
    above.yaxis.set_major_formatter(percent_ticks())
    below.xaxis.set_major_formatter(percent_ticks())
    dress(above, "", "Accuracy")
    dress(below, "Confidence: probability of the predicted class", "Photos")
    legend_above(above, columns=2)
    return figure


def draw_coverage(table: pd.DataFrame, title: str) -> Figure:
    """Accuracy of the answers and the threshold that it takes, against the share of photos that are answered.

    ``table`` is `evaluation.coverage_table`.
    """
    figure = new_figure(9, 5.4, title)
    axes = figure.subplots()
    every = table.iloc[0]
    axes.plot(table["coverage"], table["accuracy"], color=BLUE, linewidth=2.2, label="accuracy of the answers")
    axes.plot(table["coverage"], table["threshold"], color=ORANGE, linestyle="--", label="least confidence to answer")
    axes.plot(1, every["accuracy"], "o", color=BLUE, clip_on=False)
    axes.annotate(
        f"{percent(every['accuracy'], 1)} of all {every['photos']:,.0f}",
        (1, every["accuracy"]), (-8, -16), textcoords="offset points", ha="right", fontsize=SMALL,
    )  # fmt: skip
    axes.set(xlim=(0, 1), ylim=(min(0.5, float(np.nanmin(table[["accuracy", "threshold"]]))), 1.01))
    axes.xaxis.set_major_formatter(percent_ticks())
    axes.yaxis.set_major_formatter(percent_ticks())
    dress(axes, "Coverage: photos that are answered, the surest first", "Accuracy, confidence")
    legend_above(axes)
    return figure
