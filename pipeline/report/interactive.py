"""Optuna's own interactive plots on a separate page, with brushing and zooming.

They need Plotly's script (5 MB, once in the file), so they are not in report.html, which stays small and runs no
script.
"""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import TYPE_CHECKING

from markupsafe import Markup

from pipeline.pages import render_page

if TYPE_CHECKING:
    import plotly.graph_objects


def interactive_page(title: str, figures: Mapping[str, plotly.graph_objects.Figure]) -> str:
    """Return one self-contained HTML file, with each figure under its name."""
    plots = {
        name: Markup(figure.to_html(full_html=False, include_plotlyjs=index == 0, include_mathjax=False))
        for index, (name, figure) in enumerate(figures.items())
    }
    return render_page(Path(__file__).with_name("interactive.html"), title=title, plots=plots)
