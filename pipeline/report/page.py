"""Renders a page: a title, a few sentences, sections -> one self-contained HTML file without scripts.

Jinja2 fills `page.html` and escapes file and class names; a content security policy in the page blocks anything that
slips through. Sections are data, so that adding one means adding an item to a list. The look is that of `pages`.
"""

from __future__ import annotations

import base64
import io
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from functools import cached_property
from pathlib import Path
from typing import NamedTuple

import cv2
import numpy as np
import pandas as pd
from markupsafe import Markup
from matplotlib.figure import Figure

from pipeline.pages import render_page

NO_VALUE = "–"
MANY_COLUMNS = 8  # a table of more is set smaller on paper


@dataclass(frozen=True)
class Picture:
    """A drawing: the text of an SVG, or a figure, which becomes a PNG that a click, a tap or a key enlarges."""

    drawing: Figure | str
    alt: str
    caption: str = ""

    @property
    def is_wide(self) -> bool:
        """Whether it takes a row of its own."""
        return not isinstance(self.drawing, str)

    @cached_property
    def markup(self) -> Markup:
        """The picture as HTML."""
        if isinstance(self.drawing, str):
            return Markup('<div role="img" aria-label="{}">{}</div>').format(self.alt, Markup(self.drawing))
        buffer = io.BytesIO()
        self.drawing.savefig(buffer, dpi=110, bbox_inches="tight")
        html = '<details class="enlarge"><summary><span><img class="plot" src="{}" alt="{}"></span></summary></details>'
        return Markup(html).format(_data_uri("image/png", buffer.getvalue()), self.alt)


class Photo(NamedTuple):
    """A photo, uint8 RGB (height, width, 3), its caption, its alt text, and a further detail."""

    pixels: np.ndarray
    caption: str
    alt: str
    detail: str = ""

    @property
    def source(self) -> str:
        """The photo as a data URI."""
        encoded = cv2.imencode(
            ".jpg", cv2.cvtColor(np.asarray(self.pixels), cv2.COLOR_RGB2BGR), [cv2.IMWRITE_JPEG_QUALITY, 90]
        )
        return _data_uri("image/jpeg", encoded[1].tobytes())


class Cell(NamedTuple):
    """A cell of a table: its text, its CSS class, and how strongly it is shaded, 0..1."""

    text: str
    css_class: str = ""
    shade: float = 0.0


@dataclass(frozen=True)
class Table:
    """A table to show; its first column names the rows.

    Attributes:
        frame: what it shows.
        formats: a format per column.
        row_classes: a CSS class per row.
        caption: above it.
        shades: how strongly the cells after the first column are shaded, -1..1, which makes the table a heat map;
            negative ones in the colour of what is worse.
        folded: the line that unfolds it; empty for one that is open.
    """

    frame: pd.DataFrame
    formats: Mapping[str, str] = field(default_factory=dict)
    row_classes: Sequence[str] = ()
    caption: str = ""
    shades: np.ndarray | None = None
    folded: str = ""

    @property
    def rows(self) -> list[tuple[str, list[Cell]]]:
        """Each row's CSS class and cells."""
        classes = self.row_classes or [""] * len(self.frame)
        cells = self.frame.astype(object).itertuples(index=False, name=None)
        return [
            (name, [self._cell(row, column, value) for column, value in enumerate(values)])
            for row, (name, values) in enumerate(zip(classes, cells, strict=True))
        ]

    @property
    def numeric(self) -> list[bool]:
        """Whether each column is numeric."""
        return [pd.api.types.is_numeric_dtype(kind) for kind in self.frame.dtypes]

    @property
    def upright(self) -> bool:
        """Whether the names of the columns are turned, so that many fit beside each other."""
        return self.shades is not None and max(len(str(name)) for name in self.frame.columns[1:]) > 3

    @property
    def css_class(self) -> str:
        """The CSS classes of the table."""
        return " ".join(
            ["heat"] * (self.shades is not None) + ["many"] * (len(self.frame.columns) > MANY_COLUMNS)
        )  # fmt: skip

    def _cell(self, row: int, column: int, value: object) -> Cell:
        text = self._text(str(self.frame.columns[column]), value)
        if self.shades is None or not column:
            return Cell(text, "number" if self.numeric[column] else "")
        shade = float(np.nan_to_num(self.shades[row, column - 1]))
        return Cell(text, "worse" if shade < 0 else "", abs(shade))

    def _text(self, column: str, value: object) -> str:
        if value is None or (isinstance(value, float) and np.isnan(value)):
            return NO_VALUE
        text = self.formats.get(column, "{:.4g}" if isinstance(value, float) else "{}").format(value)
        return text.replace("%", "\N{NO-BREAK SPACE}%") if isinstance(value, float) else text


@dataclass(frozen=True)
class Section:
    """A heading and the content below it; empty parts are omitted. Wide photos are pairs; ``note`` is below photos."""

    title: str
    text: str = ""
    pictures: Sequence[Picture] = ()
    photos: Sequence[Photo] = ()
    tables: Sequence[Table] = ()
    code: str = ""
    wide_photos: bool = False
    note: str = ""


@dataclass(frozen=True)
class Page:
    """A report: title, answer in sentences, sections, facts by name at the end, CSS classes to highlight together."""

    title: str
    answer: Sequence[str]
    facts: Mapping[str, str]
    sections: Sequence[Section]
    linked: Sequence[str] = ()


def render(page: Page) -> str:
    """Return the page as HTML."""
    return render_page(Path(__file__).with_name("page.html"), page=page)


def _data_uri(kind: str, content: bytes) -> str:
    return f"data:{kind};base64,{base64.b64encode(content).decode()}"
