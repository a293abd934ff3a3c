"""Draws confidence: the reliability diagram, and accuracy when photos of low confidence are refused."""

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
    legend_above,
    new_figure,
    percent,
    percent_ticks,
    style_axes,
)


def draw_reliability(table: pd.DataFrame, ece: float, title: str, before: pd.DataFrame | None = None) -> Figure:
    """Draw accuracy against confidence of `evaluation.reliability_table`, above the number of photos per bin.

    ``ece`` is the expected calibration error in 0..1; ``before`` is the table without the temperature, if there is
    one. After Guo et al. 2017, figure 1.
    """
    figure = new_figure(9, 7.8, f"{title} · ECE {percent(ece, 1)}")
    upper, lower = figure.subplots(2, 1, sharex=True, height_ratios=[3, 1])
    bins = table[table["count"] > 0]
    confidence, accuracy = bins["mean_confidence"], bins["accuracy"]
    bars: dict[str, Any] = {"width": (bins["bin_high"] - bins["bin_low"]) * 0.94, "align": "edge", "color": SKY}
    upper.bar(bins["bin_low"], accuracy, **bars, label="accuracy in the bin")
    upper.plot([0, 1], [0, 1], color=GREY, linestyle="--", label="perfectly calibrated")
    upper.vlines(confidence, accuracy, confidence, color=VERMILLION, linewidth=2.5)
    upper.plot(confidence, confidence, "o", color=VERMILLION, label="mean confidence, and its gap to accuracy")
    if before is not None:
        before_bins = before[before["count"] > 0]
        points = before_bins["mean_confidence"], before_bins["accuracy"]
        upper.plot(*points, "D:", color=ORANGE, label="without the temperature")
    lower.bar(bins["bin_low"], bins["count"], **bars)
    lower.yaxis.set_major_locator(MaxNLocator(integer=True, nbins=4))
    lower.yaxis.set_major_formatter("{x:,.0f}")
    upper.set(xlim=(0, 1), ylim=(0, 1.02))
    upper.yaxis.set_major_formatter(percent_ticks())
    lower.xaxis.set_major_formatter(percent_ticks())
    style_axes(upper, "", "Accuracy")
    style_axes(lower, "Confidence: probability of the predicted class", "Photos")
    legend_above(upper, columns=2)
    return figure


def draw_coverage(table: pd.DataFrame, title: str) -> Figure:
    """Draw the accuracy of the answers, and the threshold, against the share of photos that are answered.

    ``table`` is `evaluation.coverage_table`.
    """
    figure = new_figure(9, 5.4, title)
    axes = figure.subplots()
    all_photos = table.iloc[0]
    axes.plot(table["coverage"], table["accuracy"], color=BLUE, linewidth=2.2, label="accuracy of the answers")
    axes.plot(table["coverage"], table["threshold"], color=ORANGE, linestyle="--", label="confidence threshold")
    axes.plot(1, all_photos["accuracy"], "o", color=BLUE, clip_on=False)
    axes.annotate(
        f"{percent(all_photos['accuracy'], 1)} of all {all_photos['photos']:,.0f}",
        (1, all_photos["accuracy"]), (-8, -16), textcoords="offset points", ha="right", fontsize=SMALL,
    )  # fmt: skip
    axes.set(xlim=(0, 1), ylim=(min(0.5, float(np.nanmin(table[["accuracy", "threshold"]]))), 1.01))
    axes.xaxis.set_major_formatter(percent_ticks())
    axes.yaxis.set_major_formatter(percent_ticks())
    style_axes(axes, "Coverage: share of photos answered, most confident first", "Accuracy, confidence")
    legend_above(axes)
    return figure
