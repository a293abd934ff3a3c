"""Tables as CSV: what programs read back, and what a spreadsheet would take for a formula."""

from __future__ import annotations

import io

import pandas as pd

from pipeline.files import count_formulas, csv_text


def test_texts_that_begin_like_formulas_are_counted_and_kept() -> None:
    texts = ["=1+1", "+a", "-b", "@c", "\td", "\re", "a=b", "", None, "daisy"]
    table = pd.DataFrame({"label": texts, "=probability": -0.5, "error": pd.Series(["-x"] + [None] * 9, dtype=object)})
    assert count_formulas(table) == 6 + 1 + 1
    read = pd.read_csv(io.StringIO(csv_text(table), newline=""), keep_default_na=False)
    assert read["label"].tolist() == [text or "" for text in texts]
    assert count_formulas(table.head(0)) == 1
    assert count_formulas(pd.DataFrame({"label": ["daisy"], "loss": [-1.0]})) == 0
