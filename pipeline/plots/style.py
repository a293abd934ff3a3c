"""What all figures share: canvas, colours, type, and text that is safe to draw.

Figures are made without pyplot and without touching matplotlib's global settings: each is freed with its
last reference, however many trials a process draws, and threads do not meet.
"""

from __future__ import annotations

import textwrap

from matplotlib.axes import Axes
from matplotlib.backends.backend_agg import FigureCanvasAgg
from matplotlib.figure import Figure
from matplotlib.layout_engine import ConstrainedLayoutEngine
from matplotlib.ticker import PercentFormatter

BLUE, SKY, VERMILLION, GREEN, ORANGE, GREY = "#0072B2", "#56B4E9", "#D55E00", "#009E73", "#E69F00", "#767676"
"""Okabe & Ito 2008: told apart with every common colour blindness; grey has contrast 4.5:1 on white."""

SPLIT_COLOURS = {"train": BLUE, "validation": ORANGE, "test": GREEN}
SMALL, NORMAL, LARGE = 10, 11, 14
"""Font sizes in points, 1.4 pixels each."""

CHARACTER = 0.085
"""Width of an average character at the small size, in inches."""

NAME_LIMIT = 26
"""Characters of a class name beside a row or column; more would starve the drawing."""

_NO_BREAK_SPACE = "\N{NO-BREAK SPACE}"
_DOTS_PER_INCH = 100
_MIN_WIDTH = 9.0


def new_figure(width: float, height: float, title: str) -> Figure:
    """Return an empty figure of ``width`` (at least 9) by ``height`` inches, 100 dots each, with its title."""
    width = max(width, _MIN_WIDTH)
    figure = Figure(figsize=(width, height), dpi=_DOTS_PER_INCH, layout=ConstrainedLayoutEngine(w_pad=0.12, h_pad=0.1))
    FigureCanvasAgg(figure)
    lines = textwrap.wrap(plain(title), int(width / CHARACTER / LARGE * SMALL * 0.85))
    figure.suptitle("\n".join(lines), fontsize=LARGE, fontweight="bold")
    return figure


def plain(text: object, limit: int = 300) -> str:
    """Return ``text`` so that $ is no mathematics, its middle left out beyond ``limit`` characters."""
    text = str(text)
    if len(text) > limit:
        text = f"{text[: limit // 2].rstrip()}…{text[-(limit - 1 - limit // 2) :].lstrip()}"
    return text.replace("$", r"\$")


def percent(share: float, digits: int = 0) -> str:
    """Return a share in 0..1 as text, such as ``97 %``, with a space at which no line is broken."""
    return f"{100 * share:.{digits}f}{_NO_BREAK_SPACE}%"


def percent_ticks() -> PercentFormatter:
    """Return the formatter of an axis whose values are shares in 0..1."""
    return PercentFormatter(1, symbol=f"{_NO_BREAK_SPACE}%")


def dress(axes: Axes, x_label: str, y_label: str, title: str = "") -> None:
    """Label the axes, keep only the two lines that carry values, and lay a faint grid behind the data."""
    axes.set_xlabel(x_label, fontsize=NORMAL)
    axes.set_ylabel(y_label, fontsize=NORMAL)
    axes.set_title(title, fontsize=NORMAL)
    axes.tick_params(labelsize=SMALL)
    axes.spines[["top", "right"]].set_visible(False)
    axes.set_axisbelow(True)
    axes.grid(color="#e3e3e3", linewidth=0.8)


def say(figure: Figure, text: str) -> Figure:
    """Write ``text`` where the drawing would be, for a figure that has nothing to show."""
    figure.text(0.5, 0.45, plain(text), ha="center", va="center", fontsize=LARGE, color=GREY)
    return figure


def legend_above(axes: Axes, columns: int = 6) -> None:
    """Put the legend in lines of ``columns`` above the axes, where it covers no data."""
    axes.legend(loc="lower center", bbox_to_anchor=(0.5, 1), ncols=columns, frameon=False, fontsize=SMALL)
