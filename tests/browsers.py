"""Chromium, and what a page must pass in it: it fits, nothing is broken, and everybody can read and operate it."""

from __future__ import annotations

import importlib.util
import shutil
from collections.abc import Iterator
from contextlib import contextmanager
from typing import TYPE_CHECKING

import pytest

if TYPE_CHECKING:
    from playwright.sync_api import Browser, Page

CHROMIUM = next(filter(None, map(shutil.which, ("chromium", "chromium-browser", "google-chrome"))), "")
IS_INSTALLED = bool(CHROMIUM and importlib.util.find_spec("playwright"))
BROKEN = "[...document.images].filter(image => !image.complete || !image.naturalWidth).length"
ASIDE = """[...document.querySelectorAll('table, img, svg, p, h1, h2, h3')].filter(part => {
    const box = part.getBoundingClientRect(), may_scroll = part.closest('.scroll, .enlarge[open]');
    return box.width && (box.right > innerWidth + 1 || box.left < -1) && !may_scroll;
}).map(part => part.outerHTML.slice(0, 120))"""
OFF_PAPER = ASIDE.replace(" && !may_scroll", "")
A4_WIDTH_PX = 680  # at 96 to an inch, without margins


@contextmanager
def chromium() -> Iterator[Browser]:
    """Run Chromium; a test without it is skipped."""
    if not IS_INSTALLED:
        pytest.skip("needs chromium and playwright (extra test)")
    from playwright.sync_api import sync_playwright

    with sync_playwright() as playwright:
        yield playwright.chromium.launch(executable_path=CHROMIUM, args=["--no-sandbox"])


def faults_of(page: Page) -> list[str]:
    """Return what axe-core finds wrong: contrast, names, keyboard, structure."""
    from axe_playwright_python.sync_playwright import Axe

    found = Axe().run(page).response["violations"]
    return [f"{fault['id']}: {node['html'][:120]}" for fault in found for node in fault["nodes"]]
