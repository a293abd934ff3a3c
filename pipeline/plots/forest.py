"""Draws an ablation as a forest plot: every setting's difference to the base, with its interval."""

from __future__ import annotations

from typing import Any

import numpy as np
import pandas as pd
from matplotlib.figure import Figure

from pipeline.config import Objective
from pipeline.plots.style import (
    ACCURACY,
    BLUE,
    CHARACTER_WIDTH,
    GREY,
    NORMAL,
    SMALL,
    VERMILLION,
    escape_text,
    legend_above,
    new_figure,
    style_axes,
)

_VERDICT_MARKERS = {"helps": (BLUE, "^"), "hurts": (VERMILLION, "v"), "cannot be told": (GREY, "o")}
_LABEL_LIMIT = 60


def draw_ablation(
    table: pd.DataFrame, differences: pd.DataFrame, title: str, objective: Objective = ACCURACY
) -> Figure:
    """Draw the mean difference of every setting (rows, best first) with interval and seeds.

    Shares are in percentage points, losses in nats.

    ``table`` is an `effects.difference_table`, ``differences`` its `paired_differences`. A setting whose trainings all
    diverged has a row without a marker.
    """
    scale, unit = (1, "nats") if objective.is_loss else (100, "percentage points")
    order = {"ascending": objective.is_loss, "na_position": "last"}
    rows = table.sort_values("difference", **order).reset_index(drop=True)
    names = [escape_text(f"{row.factor} = {row.value}", _LABEL_LIMIT) for row in rows.itertuples()]
    label_width = max(map(len, names)) * CHARACTER_WIDTH
    figure = new_figure(7 + label_width, 0.34 * len(rows) + 2.2, title)
    axes = figure.subplots()
    axes.axvline(0, color="black", linewidth=1, zorder=1)
    row_of = {(row.factor, row.value): index for index, row in enumerate(rows.itertuples())}
    seed_rows = np.array([row_of[row.factor, row.value] for row in differences.itertuples()])
    axes.plot(
        scale * differences["difference"], seed_rows, "|", color="#9a9a9a", markersize=9, label="one seed", zorder=2
    )
    for verdict, (colour, marker) in _VERDICT_MARKERS.items():
        with_verdict = rows[rows["verdict"] == verdict]
        if with_verdict["difference"].notna().any():
            means, lows, highs = (scale * with_verdict[name] for name in ("difference", "low", "high"))
            marker_style: dict[str, Any] = {"color": colour, "marker": marker, "markersize": 8, "linestyle": "none"}
            error_bars = np.nan_to_num([means - lows, highs - means])
            axes.errorbar(
                means, with_verdict.index, xerr=error_bars, label=verdict, elinewidth=2, zorder=3, **marker_style
            )
    style_axes(axes, f"Difference from the base in {objective.words}, {unit}\n(bars: 95 % interval over seeds)", "")
    for index in rows.index[rows["difference"].isna()]:
        axes.text(0, index, " diverged", va="center", fontsize=SMALL, color=GREY)
    axes.set_yticks(range(len(names)), names, fontsize=NORMAL)
    axes.set_ylim(len(rows) - 0.4, -0.6)
    legend_above(axes)
    return figure
