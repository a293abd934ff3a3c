"""Renders a page: a title, a few sentences, sections -> one self-contained HTML file without scripts.

Jinja2 fills `page.html` and escapes file and class names; a content security policy in the page blocks anything that
slips through. Sections are data, so that adding one means adding an item to a list.
"""

from __future__ import annotations

import base64
import io
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from functools import cached_property
from typing import NamedTuple

import cv2
import numpy as np
import pandas as pd
from jinja2 import Environment, PackageLoader, StrictUndefined
from markupsafe import Markup
from matplotlib.figure import Figure

NO_VALUE = "–"


@dataclass(frozen=True)
class Picture:
    """A drawing: a matplotlib figure, rendered as PNG, or the text of an SVG, whose parts may have tooltips."""

    drawing: Figure | str
    alt: str
    caption: str = ""

    @cached_property
    def markup(self) -> Markup:
        """The picture as HTML."""
        if isinstance(self.drawing, str):
            return Markup('<div role="img" aria-label="{}">{}</div>').format(self.alt, Markup(self.drawing))
        buffer = io.BytesIO()
        self.drawing.savefig(buffer, dpi=110, bbox_inches="tight")
        return Markup('<img class="plot" src="{}" alt="{}">').format(
            _data_uri("image/png", buffer.getvalue()), self.alt
        )


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


@dataclass(frozen=True)
class Table:
    """A table to show: a frame, a format per column, and a CSS class per row."""

    frame: pd.DataFrame
    formats: Mapping[str, str] = field(default_factory=dict)
    row_classes: Sequence[str] = ()

    @property
    def rows(self) -> list[tuple[str, list[str]]]:
        """Each row's CSS class and cells."""
        classes = self.row_classes or [""] * len(self.frame)
        cells = self.frame.astype(object).itertuples(index=False, name=None)
        return [
            (name, [self._text(column, value) for column, value in zip(self.frame, row, strict=True)])
            for name, row in zip(classes, cells, strict=True)
        ]

    @property
    def numeric(self) -> list[bool]:
        """Whether each column is numeric."""
        return [pd.api.types.is_numeric_dtype(self.frame[name]) for name in self.frame]

    def _text(self, column: str, value: object) -> str:
        if value is None or (isinstance(value, float) and np.isnan(value)):
            return NO_VALUE
        return self.formats.get(column, "{:.4g}" if isinstance(value, float) else "{}").format(value)


@dataclass(frozen=True)
class Section:
    """A heading and the content below it, in this order; empty parts are omitted."""

    title: str
    text: str = ""
    pictures: Sequence[Picture] = ()
    photos: Sequence[Photo] = ()
    table: Table | None = None
    code: str = ""


@dataclass(frozen=True)
class Page:
    """A report: title, answer in sentences, facts by name, sections, and CSS classes to highlight together."""

    title: str
    answer: Sequence[str]
    facts: Mapping[str, str]
    sections: Sequence[Section]
    linked: Sequence[str] = ()


def render(page: Page) -> str:
    """Return the page as HTML."""
    environment = Environment(
        loader=PackageLoader("pipeline.report", "."), autoescape=True, undefined=StrictUndefined,
        trim_blocks=True, lstrip_blocks=True,
    )  # fmt: skip
    return environment.get_template("page.html").render(page=page)


def _data_uri(kind: str, content: bytes) -> str:
    return f"data:{kind};base64,{base64.b64encode(content).decode()}"
