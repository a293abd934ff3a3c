"""Fonts for class names of any script: where the usual font lacks a character, installed ones that have it step in.

matplotlib falls back only to the families that a text names. Which they are depends on the text and on the machine.
"""

from __future__ import annotations

import logging
import unicodedata
from collections.abc import Collection
from functools import cache

from matplotlib import font_manager
from matplotlib.figure import Figure
from matplotlib.ft2font import FT2Font
from matplotlib.text import Text

USUAL = "DejaVu Sans"  # comes with matplotlib
PREFERRED = ("Noto Sans", "Noto", "Source Han", "WenQuanYi", "Droid", "Symbola")  # of several that have a character
INVISIBLE = ("Cc", "Cf", "Mn", "Zs", "Zl", "Zp")  # categories of characters that may lack a glyph of their own

log = logging.getLogger(__name__)
_told: set[str] = set()  # scripts of which it has been logged that no font has them


def use_fonts_of_all_scripts(figure: Figure) -> None:
    """Let every text of a figure name the families that have its characters; log once what none has."""
    for text in figure.findobj(Text):
        if needed := frozenset(text.get_text()) - _characters_of_usual():
            text.set_fontfamily([USUAL, *_families_with(needed)])


@cache
def _characters_of_usual() -> frozenset[str]:
    return _characters(font_manager.findfont(USUAL)) | {"\n"}


@cache
def _families_with(needed: frozenset[str]) -> tuple[str, ...]:
    """Return the fewest families, greedily, that have these characters, the preferred ones first."""
    missing = {character for character in needed if unicodedata.category(character) not in INVISIBLE}
    families = []
    for family, file in _installed():
        if found := missing & _characters(file):
            families.append(family)
            missing -= found
        if not missing:
            break
    if missing:
        _log_missing(missing)
    return tuple(families)


@cache
def _installed() -> tuple[tuple[str, str], ...]:
    """Return family and file of every upright font, also of those that were installed since matplotlib looked."""
    known = {entry.fname for entry in font_manager.fontManager.ttflist}
    for file in sorted(set(font_manager.findSystemFonts()) - known):
        try:
            font_manager.fontManager.addfont(file)
        except (RuntimeError, OSError, ValueError):  # not one that can be drawn, such as of coloured bitmaps
            continue
    upright = {
        entry.name: entry.fname
        for entry in font_manager.fontManager.ttflist
        if entry.style == "normal" and entry.weight in (400, "normal", "regular", 500)
    }
    return tuple(sorted(upright.items(), key=lambda font: (_preference(font[0]), font[0])))


def _preference(family: str) -> int:
    return next((place for place, name in enumerate(PREFERRED) if family.startswith(name)), len(PREFERRED))


@cache
def _characters(file: str) -> frozenset[str]:
    try:
        return frozenset(map(chr, FT2Font(file).get_charmap()))
    except (RuntimeError, OSError):  # listed, and gone since, or not one that can be drawn
        return frozenset()


def _log_missing(characters: Collection[str]) -> None:
    """Log a line per script, which is the first word of its characters' names, with one of its characters."""
    for character in sorted(characters):
        script = unicodedata.name(character, "unnamed").split()[0].capitalize()
        if script not in _told:
            _told.add(script)
            log.warning(
                "no installed font has %s characters, such as %s: pictures show boxes in their place "
                "(install one, such as with apt-get install fonts-noto-core fonts-noto-cjk fonts-symbola)",
                script, character,
            )  # fmt: skip
