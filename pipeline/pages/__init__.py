"""The frame and the look of every HTML page: `base.html`, which templates extend, and `style.css`, which it contains.

A page is one file that fetches nothing and can be kept, sent, read on a phone, printed, and used by keyboard, in light
and in dark mode. Does not own what a page says.
"""

from __future__ import annotations

from pathlib import Path

import jinja2

__all__ = ["render_page"]


def render_page(template: Path, **values: object) -> str:
    """Return the page of a Jinja2 template that extends ``base.html``; values are escaped unless they are Markup."""
    loader = jinja2.FileSystemLoader([template.parent, Path(__file__).parent])
    environment = jinja2.Environment(
        loader=loader, autoescape=True, undefined=jinja2.StrictUndefined, trim_blocks=True, lstrip_blocks=True
    )
    return environment.get_template(template.name).render(**values)
