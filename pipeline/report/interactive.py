"""Optuna's own plots on a page of their own: lines that can be brushed, axes that can be zoomed.

They are Plotly's, whose script (5 MB, once in the file) is the price; report.html stays light and runs no script.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import TYPE_CHECKING

from jinja2 import Environment, PackageLoader, StrictUndefined
from markupsafe import Markup

if TYPE_CHECKING:
    import plotly.graph_objects


def interactive_page(title: str, figures: Mapping[str, plotly.graph_objects.Figure]) -> str:
    """Return one HTML file that fetches nothing, with each figure under its name."""
    plots = {
        name: Markup(figure.to_html(full_html=False, include_plotlyjs=place == 0, include_mathjax=False))
        for place, (name, figure) in enumerate(figures.items())
    }
    environment = Environment(loader=PackageLoader("pipeline.report", "."), autoescape=True, undefined=StrictUndefined)
    return environment.get_template("interactive.html").render(title=title, plots=plots)
