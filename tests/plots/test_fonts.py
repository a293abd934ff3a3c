"""Class names of any script are drawn, and a script that no installed font has is named once."""

from __future__ import annotations

import logging

import numpy as np
import pandas as pd
import pytest
from matplotlib.text import Text

from pipeline import plots
from pipeline.plots import fonts

NAMES = {"CJK": "玫瑰", "Hangul": "장미", "Devanagari": "गुलाब", "Emoji": "🌹", "Latin": "Löwenzahn"}


@pytest.fixture(autouse=True)
def _forget() -> None:
    fonts._families_with.cache_clear()
    fonts._told.clear()


def _drawn(name: str) -> tuple[np.ndarray, list[str]]:
    """Return the pixels of a figure with this class, and the families of its label."""
    table = pd.DataFrame({"train": [3], "validation": [1], "test": [1]}, index=[name])
    figure = plots.draw_class_counts(table, "Photos")
    figure.canvas.draw()
    label = next(text for text in figure.findobj(Text) if text.get_text() == name)
    return np.asarray(figure.canvas.buffer_rgba()).copy(), label.get_fontfamily()


@pytest.mark.parametrize("script", NAMES)
def test_a_name_is_drawn_by_a_font_that_has_it(script: str, caplog: pytest.LogCaptureFixture) -> None:
    name = NAMES[script]
    if script != "Latin" and not any(set(name) & fonts._characters(file) for _, file in fonts._installed()):
        pytest.skip(f"no installed font has {script}")
    pixels, families = _drawn(name)
    assert not caplog.records
    assert families[0] == (fonts.USUAL if script != "Latin" else families[0])
    assert (len(families) > 1) == (script != "Latin")
    boxes, _ = _drawn("\N{OLD SOUTH ARABIAN NUMBER ONE}" * len(name))
    assert pixels.shape != boxes.shape or (pixels != boxes).any()


def test_a_script_without_a_font_is_named_once(
    monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    monkeypatch.setattr(fonts, "_installed", lambda: ())
    with caplog.at_level(logging.WARNING):
        _drawn("玫瑰")
        _drawn("花")
        _drawn("玫瑰花")
    (record,) = caplog.records
    assert "no installed font has Cjk characters" in record.getMessage()
    assert "fonts-noto-cjk" in record.getMessage()
