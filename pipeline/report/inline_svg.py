"""matplotlib figures as SVG elements of a page: in its font and colours, and scaled with the window."""

from __future__ import annotations

import io
import re
import textwrap
from collections.abc import Mapping
from xml.etree import ElementTree

import matplotlib
from matplotlib.figure import Figure

from pipeline.plots import style

INK, FAINT = "#0a0b0c", "#0d0e0f"
PAGE_COLOURS = {  # they follow light and dark mode
    INK: "currentColor", "#000000": "currentColor", FAINT: "var(--line)", "#e3e3e3": "var(--line)",
    style.BLUE: "var(--better)", style.VERMILLION: "var(--worse)",
}  # fmt: skip
_NARROW = 4.7  # inches: text of 10 points is about 10 pixels high on a phone
_MOST_LETTERS = 45  # of a line below an axis of that width
_SVG = "http://www.w3.org/2000/svg"


def inline_svg(figure: Figure, titles: Mapping[str, str] | None = None) -> str:
    """Return a figure as an SVG element; what has a gid of ``titles`` gets that as its class, and a tooltip."""
    buffer = io.StringIO()
    with matplotlib.rc_context({"svg.fonttype": "none"}):  # text stays text: searchable, in the page's own font
        figure.savefig(buffer, format="svg", transparent=True, metadata={"Date": None})
    return _page_svg(buffer.getvalue(), titles or {})


def narrow_svg(figure: Figure) -> str:
    """Return a figure, laid out anew for the width of a phone and without its title, as an SVG element.

    For figures of one column of axes and few words. The figure is changed.
    """
    width, height = figure.get_size_inches()
    figure.suptitle("")
    figure.set_size_inches(_NARROW, max(2.6, height * min(1.0, 1.25 * _NARROW / width)))
    for axes in figure.axes:
        if axes.get_legend():
            style.legend_above(axes, columns=1)
        axes.set_xlabel("\n".join(textwrap.wrap(axes.get_xlabel(), _MOST_LETTERS)))
    return inline_svg(figure)


def _page_svg(svg: str, titles: Mapping[str, str]) -> str:
    """Return only the SVG element, scalable, in the page's colours, with a title for each id in ``titles``."""
    ElementTree.register_namespace("", _SVG)
    ElementTree.register_namespace("xlink", "http://www.w3.org/1999/xlink")
    root = ElementTree.fromstring(svg)
    for name in ("width", "height"):
        del root.attrib[name]
    for metadata in root.findall(f"{{{_SVG}}}metadata"):
        root.remove(metadata)
    for element in root.iter(f"{{{_SVG}}}g"):
        name = element.attrib.pop("id", "")  # ids must be unique in a page
        if name in titles:
            element.set("class", name)
            title = ElementTree.Element(f"{{{_SVG}}}title")
            title.text = titles[name]
            element.insert(0, title)
    text = ElementTree.tostring(root, encoding="unicode")
    text = re.sub(r"font: [^;\"]*?(\d+(?:\.\d+)?px)[^;\"]*", r"font-size: \1", text)
    for colour, page_colour in PAGE_COLOURS.items():
        text = text.replace(colour.lower(), page_colour)
    return text
