"""The common style of all figures: canvas, colours, fonts, and text that is safe to draw.

Figures are created without pyplot and without changing matplotlib's global settings: each is freed with its last
reference, however many trials a process draws, and threads do not interfere.
"""

from __future__ import annotations

import textwrap
import warnings

from matplotlib.axes import Axes
from matplotlib.backend_bases import RendererBase
from matplotlib.backends.backend_agg import FigureCanvasAgg
from matplotlib.figure import Figure
from matplotlib.layout_engine import ConstrainedLayoutEngine
from matplotlib.ticker import Formatter, PercentFormatter, StrMethodFormatter

from pipeline.config import OBJECTIVES, Objective
from pipeline.plots.fonts import use_fonts_of_all_scripts

BLUE, SKY, VERMILLION, GREEN, ORANGE, GREY = "#0072B2", "#56B4E9", "#D55E00", "#009E73", "#E69F00", "#767676"
"""Okabe & Ito 2008: distinguishable with every common colour blindness; grey has contrast 4.5:1 on white."""

ACCURACY = OBJECTIVES["val_accuracy"]
"""What a search or a training is drawn by unless it is for something else."""

SPLIT_COLOURS = {"train": BLUE, "validation": ORANGE, "test": GREEN}
SMALL, NORMAL, LARGE = 10, 11, 14
"""Font sizes in points, 1.4 pixels each."""

CHARACTER_WIDTH = 0.085
"""Width of an average character at the small size, in inches."""

NAME_LIMIT = 26
"""Characters of a class name beside a row or column; longer names would leave no room for the drawing."""

MOST_CLASSES = 50
"""Classes in one figure: more, and no screen shows them all."""

_NO_BREAK_SPACE = "\N{NO-BREAK SPACE}"
_DOTS_PER_INCH = 100
_MIN_WIDTH = 9.0


class _AnyScriptFigure(Figure):
    """A figure whose texts may be of any script: see `fonts`."""

    def draw(self, renderer: RendererBase) -> None:
        use_fonts_of_all_scripts(self)
        with warnings.catch_warnings():  # `fonts` has said so in one line
            warnings.filterwarnings("ignore", "Glyph .* missing from font", UserWarning)
            super().draw(renderer)


def new_figure(width: float, height: float, title: str) -> Figure:
    """Return an empty figure of ``width`` (at least 9) by ``height`` inches at 100 dpi, with its title."""
    width = max(width, _MIN_WIDTH)
    layout = ConstrainedLayoutEngine(w_pad=0.12, h_pad=0.1)
    figure = _AnyScriptFigure(figsize=(width, height), dpi=_DOTS_PER_INCH, layout=layout)
    FigureCanvasAgg(figure)
    lines = textwrap.wrap(escape_text(title), int(width / CHARACTER_WIDTH / LARGE * SMALL * 0.85))
    figure.suptitle("\n".join(lines), fontsize=LARGE, fontweight="bold")
    return figure


def escape_text(text: object, limit: int = 300) -> str:
    """Return ``text`` with $ escaped (else matplotlib reads mathematics), its middle elided beyond ``limit``."""
    text = str(text)
    if len(text) > limit:
        text = f"{text[: limit // 2].rstrip()}…{text[-(limit - 1 - limit // 2) :].lstrip()}"
    return text.replace("$", r"\$")


def percent(share: float, digits: int = 0) -> str:
    """Return a share in 0..1 as text, such as ``97 %``, with a no-break space."""
    return f"{100 * share:.{digits}f}{_NO_BREAK_SPACE}%"


def percent_ticks() -> PercentFormatter:
    """Return a tick formatter for shares in 0..1."""
    return PercentFormatter(1, symbol=f"{_NO_BREAK_SPACE}%")


def value_ticks(objective: Objective) -> Formatter:
    """Return a tick formatter for values of an objective."""
    return StrMethodFormatter("{x:g}") if objective.is_loss else percent_ticks()


def style_axes(axes: Axes, x_label: str, y_label: str, title: str = "") -> None:
    """Label the axes, hide the top and right spines, and draw a faint grid behind the data."""
    axes.set_xlabel(x_label, fontsize=NORMAL)
    axes.set_ylabel(y_label, fontsize=NORMAL)
    axes.set_title(title, fontsize=NORMAL)
    axes.tick_params(labelsize=SMALL)
    axes.spines[["top", "right"]].set_visible(False)
    axes.set_axisbelow(True)
    axes.grid(color="#e3e3e3", linewidth=0.8)


def draw_message(figure: Figure, text: str) -> Figure:
    """Write ``text`` in place of the drawing, for a figure without data."""
    figure.text(0.5, 0.45, escape_text(text), ha="center", va="center", fontsize=LARGE, color=GREY)
    return figure


def legend_above(axes: Axes, columns: int = 6) -> None:
    """Put the legend in ``columns`` columns above the axes, where it covers no data."""
    axes.legend(loc="lower center", bbox_to_anchor=(0.5, 1), ncols=columns, frameon=False, fontsize=SMALL)
