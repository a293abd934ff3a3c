"""What a command came to, as a value: a program reads its fields, Jupyter shows a summary, a table and the pictures."""

from __future__ import annotations

import base64
from abc import ABC, abstractmethod
from collections.abc import Mapping
from dataclasses import dataclass, field
from html import escape
from io import BytesIO
from pathlib import Path
from urllib.parse import quote, urlsplit
from urllib.request import url2pathname

import pandas as pd
from matplotlib.figure import Figure

SHOWN_ROWS, SHOWN_DPI = 20, 72  # of a notebook, which holds its pictures


@dataclass(frozen=True, repr=False)
class Result(ABC):
    """The result of a command.

    Attributes:
        model_uri: of the registered version that it is about, such as ``models:/flower-classifier/3``.
        run_id: of its MLflow run.
        report: address of its page; empty where it has none.
        figures: matplotlib figures by name.
    """

    model_uri: str
    run_id: str
    report: str = field(default="", kw_only=True)
    figures: Mapping[str, Figure] = field(default_factory=dict, kw_only=True)

    @property
    @abstractmethod
    def summary(self) -> str:
        """A sentence on it."""

    @property
    @abstractmethod
    def table(self) -> pd.DataFrame:
        """What is shown of it as a table."""

    def __repr__(self) -> str:
        return f"{type(self).__name__}: {self.summary}"

    def _repr_html_(self) -> str:
        link = f'<p><a href="{escape(_from_here(self.report))}">report</a></p>' if self.report else ""
        table = self.table.to_html(max_rows=SHOWN_ROWS, float_format="{:.4g}".format, border=0)
        return f"<p>{escape(self.summary)}</p>{link}{table}{''.join(map(_image, self.figures, self.figures.values()))}"


def _from_here(address: str) -> str:
    """Return a file's address from the working folder, as browsers open no ``file:`` from Jupyter's pages."""
    path = Path(url2pathname(urlsplit(address).path))
    is_below = address.startswith("file:") and path.is_relative_to(Path.cwd())
    return quote(path.relative_to(Path.cwd()).as_posix()) if is_below else address


def _image(name: str, figure: Figure) -> str:
    png = BytesIO()
    figure.savefig(png, format="png", bbox_inches="tight", dpi=SHOWN_DPI)
    content = base64.b64encode(png.getvalue()).decode()
    return f'<img alt="{escape(name)}" style="max-width: 100%" src="data:image/png;base64,{content}">'
