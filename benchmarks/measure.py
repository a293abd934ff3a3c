"""Contenders measured in turns, so that a busy minute of the machine hits them all; medians, spread, ratios."""

from __future__ import annotations

import json
import math
import os
import platform
import time
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path

import numpy as np
import pandas as pd
from matplotlib.figure import Figure

from pipeline.plots import style

COLUMNS = ["case", "contender", "unit", "median", "low", "high", "ratio", "ratio_low", "ratio_high"]
MOST_IN_A_COLUMN = 8  # cases of a picture


def in_turns(case: str, unit: str, contenders: Mapping[str, Callable[[], float]], rounds: int) -> pd.DataFrame:
    """Call every contender once per round, in rotating order, and return a row for each.

    Args:
        case: what is measured, for the table's first column.
        unit: of what the contenders return.
        contenders: name -> one measurement; the first is ours, to which the others are compared.
        rounds: measurements per contender, after one round that does not count.

    Returns:
        Columns `COLUMNS`: the median, least and greatest measurement, and the median, least and greatest of
        ours divided by this contender's of the same round.
    """
    names = list(contenders)
    measured: dict[str, list[float]] = {name: [] for name in names}
    for number in range(rounds + 1):
        turn = number % len(names)
        for name in names[turn:] + names[:turn]:
            value = contenders[name]()
            if number:
                measured[name].append(value)
    return compared(case, unit, measured)


def per_second(count: float, work: Callable[[], object]) -> float:
    """Do the work, which is ``count`` of something, and return how many of it were done in a second."""
    start = time.perf_counter()
    work()
    return count / (time.perf_counter() - start)


def compared(case: str, unit: str, measured: Mapping[str, Sequence[float]]) -> pd.DataFrame:
    """Return a row per contender, as `in_turns` does, of equally many measurements of each, ours first."""
    values, names = pd.DataFrame(measured), list(measured)
    ratios = values.rdiv(values[names[0]], axis=0)
    rows = [(case, name, unit, *_middle_and_ends(values[name]), *_middle_and_ends(ratios[name])) for name in names]
    table = pd.DataFrame(rows, columns=COLUMNS)
    print(table.to_string(index=False, float_format="{:.3g}".format), flush=True)
    return table


def _middle_and_ends(values: pd.Series[float]) -> tuple[float, float, float]:
    return values.median(), values.min(), values.max()


def machine() -> str:
    """Return what the figures depend on: processor, cores, and the packages that compute."""
    from importlib.metadata import version

    model = next(
        (line.split(":")[1].strip() for line in _cpuinfo() if line.startswith("model name")), platform.machine()
    )
    packages = ", ".join(f"{name} {version(name)}" for name in ("tensorflow", "keras", "numpy", "opencv-python"))
    return f"{os.cpu_count()} cores of {model}; Python {platform.python_version()}, {packages}"


def _cpuinfo() -> list[str]:
    try:
        return Path("/proc/cpuinfo").read_text().splitlines()
    except OSError:
        return []


def save(table: pd.DataFrame, name: str, folder: Path, draw: Callable[[pd.DataFrame], Figure] | None = None) -> None:
    """Write ``NAME.json`` and ``NAME.png``, the picture that ``draw`` makes of the table.

    Without it that is a bar per contender, a panel per case, and whiskers from least to greatest.
    """
    folder.mkdir(parents=True, exist_ok=True)
    known = table.astype(object).where(table.notna() & ~table.isin([math.inf]), None)
    rows = known.to_dict(orient="records")
    content = {"machine": machine(), "rows": rows}
    Path(folder, f"{name}.json").write_text(json.dumps(content, indent=2) + "\n")
    figure = draw(table) if draw else _draw(table, name)
    figure.savefig(folder / f"{name}.png", dpi=110, bbox_inches="tight")
    print(f"written: {folder / name}.json and .png", flush=True)


def _draw(table: pd.DataFrame, name: str) -> Figure:
    cases = list(table["case"].unique())
    bars = [len(table[table["case"] == case]) for case in cases]
    columns = 1 if len(cases) <= MOST_IN_A_COLUMN else 2
    heights = [max(bars[start : start + columns]) for start in range(0, len(cases), columns)]
    figure = style.new_figure(9 * columns, 0.4 * sum(heights) + 0.9 * len(heights) + 0.4, name.replace("_", " "))
    panels = figure.subplots(len(heights), columns, squeeze=False, height_ratios=heights).ravel()
    for axes in panels[len(cases) :]:
        axes.set_visible(False)
    for axes, case in zip(panels, cases, strict=False):
        rows = table[table["case"] == case][::-1]
        numbers = rows[["median", "low", "high"]].replace(math.inf, math.nan)
        edge = 1.15 * float(numbers.max(axis=None)) if numbers.notna().any(axis=None) else 1.0
        places, high = np.arange(len(rows)), numbers["high"].fillna(edge)  # what was never reached lies beyond the edge
        axes.barh(places, numbers["median"].fillna(0), color=[style.GREY] * (len(rows) - 1) + [style.BLUE])
        axes.hlines(places, numbers["low"].fillna(edge), high, color="black")
        axes.plot(numbers["low"], places, "|", numbers["high"], places, "|", color="black")
        for place, value, end in zip(places, numbers["median"], high, strict=True):
            text = "never" if math.isnan(value) else f"{value:.3g}" if value < 1000 else f"{value:,.0f}"
            axes.text(end, place, f"  {text}", va="center", fontsize=style.SMALL)
        axes.set_yticks(places, rows["contender"])
        axes.set_xlabel(rows["unit"].iloc[0], fontsize=style.NORMAL)
        axes.set_title(case, fontsize=style.NORMAL)
        axes.set_xlim(0, edge)
    return figure
