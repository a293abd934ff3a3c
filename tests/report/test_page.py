"""The page: whole in itself, escaped, and readable by people who do not see its pictures."""

from __future__ import annotations

import re
from html.parser import HTMLParser

import numpy as np
import pandas as pd
import pytest
from matplotlib.figure import Figure

from pipeline.report import Page, Photo, Picture, Section, Table, render

HOSTILE = "<script>alert(1)</script>\"'&"


class _Elements(HTMLParser):
    """Every element of a page with its attributes, and the text of its visible part."""

    def __init__(self, page: str) -> None:
        super().__init__()
        self.found: list[tuple[str, dict[str, str | None]]] = []
        self.text = ""
        self.feed(page)

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.found.append((tag, dict(attrs)))

    def handle_data(self, data: str) -> None:
        self.text += data

    def of(self, tag: str) -> list[dict[str, str | None]]:
        return [attributes for name, attributes in self.found if name == tag]


def _figure() -> Figure:
    figure = Figure(figsize=(1, 1))
    figure.subplots().plot([1, 2])
    return figure


@pytest.fixture(scope="module")
def page() -> str:
    photo = Photo(np.full((8, 8, 3), 200, np.uint8), HOSTILE, f"a photo of {HOSTILE}", HOSTILE)
    frame = pd.DataFrame({HOSTILE: ["a", HOSTILE], "value": [0.125, np.nan], "trial": [3, 4]})
    sections = [
        Section(HOSTILE, HOSTILE, [Picture(_figure(), HOSTILE, HOSTILE)], [photo], code=HOSTILE),
        Section("A table", tables=[Table(frame, {"value": "{:.1%}"}, ["trial-3 winner", "trial-4"])]),
        Section("A heat map", tables=[Table(frame.iloc[:, [0, 2]], caption=HOSTILE, shades=np.array([[0.5], [-1.0]]))]),
    ]
    return render(Page(HOSTILE, [HOSTILE], {HOSTILE: HOSTILE}, sections, ["trial-3"]))


def test_nothing_is_fetched_and_no_script_runs(page: str) -> None:
    elements = _Elements(page)
    names = {name for name, _ in elements.found}
    assert not names & {"script", "link", "iframe", "object", "embed", "base"}
    for _, attributes in elements.found:
        assert not [name for name in attributes if name.startswith("on")]
        for name in ("src", "href"):
            assert (attributes.get(name) or "#").startswith(("#", "data:image/"))
    (policy,) = [meta["content"] for meta in elements.of("meta") if meta.get("http-equiv")]
    assert policy == "default-src 'none'; img-src data:; style-src 'unsafe-inline'"
    assert "url(" not in page
    assert "@import" not in page


def test_what_names_say_is_shown_as_it_is(page: str) -> None:
    elements = _Elements(page)
    assert elements.text.count(HOSTILE) >= 9
    assert [image["alt"] for image in elements.of("img")] == [HOSTILE, f"a photo of {HOSTILE}"]


def test_it_fits_phones_and_follows_light_and_dark(page: str) -> None:
    assert {"name": "viewport", "content": "width=device-width, initial-scale=1"} in _Elements(page).of("meta")
    assert "prefers-color-scheme: dark" in page


def test_cells_are_formatted_and_rows_named(page: str) -> None:
    elements = _Elements(page)
    assert "12.5\N{NO-BREAK SPACE}%" in elements.text
    assert [row.get("class") for row in elements.of("tr")] == [None, "trial-3 winner", "trial-4", None, None, None]
    assert re.search(r"<td class=\"number\">–</td><td class=\"number\">4</td>", page)


def test_every_heading_is_linked(page: str) -> None:
    elements = _Elements(page)
    targets = {heading["id"] for heading in elements.of("h2")}
    assert {str(link["href"]).removeprefix("#") for link in elements.of("a")} == targets
    assert targets == {"section-1", "section-2", "section-3", "details"}


def test_a_heat_map_is_shaded_and_tells_better_from_worse(page: str) -> None:
    cells = [cell for cell in _Elements(page).of("td") if "style" in cell]
    assert cells == [{"style": "--shade:0.50"}, {"class": "worse", "style": "--shade:1.00"}]


def test_a_row_is_named_by_its_first_cell(page: str) -> None:
    assert [cell["scope"] for cell in _Elements(page).of("th")] == ["col"] * 3 + ["row"] * 2 + ["col"] * 2 + ["row"] * 2


def test_a_large_picture_can_be_enlarged_without_a_mouse(page: str) -> None:
    assert re.search(r'<details class="enlarge"><summary><span><img class="plot"', page)
