"""Draws an ablation: every setting's difference to the base with its interval, as a forest plot."""

from __future__ import annotations

from typing import Any

import numpy as np
import pandas as pd
from matplotlib.figure import Figure

from pipeline.plots.style import (
    BLUE,
    CHARACTER,
    GREY,
    NORMAL,
    SMALL,
    VERMILLION,
    dress,
    legend_above,
    new_figure,
    plain,
)

_MARKS = {"helps": (BLUE, "^"), "hurts": (VERMILLION, "v"), "cannot be told": (GREY, "o")}
_LABEL_LIMIT = 60


def draw_ablation(table: pd.DataFrame, differences: pd.DataFrame, title: str) -> Figure:
    """Mean difference of every setting (rows, best first) with interval and seeds, in percentage points.

    ``table`` is a `effects.difference_table`, ``differences`` its `paired_differences`. A setting whose trainings
    all diverged has a row without a mark.
    """
    rows = table.sort_values("difference", ascending=False, na_position="last").reset_index(drop=True)
    names = [plain(f"{row.factor} = {row.value}", _LABEL_LIMIT) for row in rows.itertuples()]
    room = max(map(len, names)) * CHARACTER
    figure = new_figure(7 + room, 0.34 * len(rows) + 2.2, title)
    axes = figure.subplots()
    axes.axvline(0, color="black", linewidth=1, zorder=1)
    places = {(row.factor, row.value): place for place, row in enumerate(rows.itertuples())}
    heights = np.array([places[row.factor, row.value] for row in differences.itertuples()])
    axes.plot(100 * differences["difference"], heights, "|", color="#9a9a9a", markersize=9, label="one seed", zorder=2)
    for verdict, (colour, marker) in _MARKS.items():
        shown = rows[rows["verdict"] == verdict]
        if shown["difference"].notna().any():
            means, lows, highs = (100 * shown[name] for name in ("difference", "low", "high"))
            look: dict[str, Any] = {"color": colour, "marker": marker, "markersize": 8, "linestyle": "none"}
            bars = np.nan_to_num([means - lows, highs - means])
            axes.errorbar(means, shown.index, xerr=bars, label=verdict, elinewidth=2, zorder=3, **look)
    dress(
        axes, "Difference to the base in validation accuracy, percentage points\n(bars: 95 % interval over seeds)", ""
    )
    for place in rows.index[rows["difference"].isna()]:
        axes.text(0, place, " diverged", va="center", fontsize=SMALL, color=GREY)
    axes.set_yticks(range(len(names)), names, fontsize=NORMAL)
    axes.set_ylim(len(rows) - 0.4, -0.6)
    legend_above(axes)
    return figure
