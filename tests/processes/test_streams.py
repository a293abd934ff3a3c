"""Progress bars of processes that have imported tqdm before they are told to show none."""

from __future__ import annotations

import pytest

from pipeline.processes import hides_bars


@pytest.mark.parametrize(("text", "hidden"), [(None, None), ("", None), ("0", None), ("1", True)])
def test_bars_are_hidden_where_a_variable_says_so_also_after_tqdm_was_imported(
    monkeypatch: pytest.MonkeyPatch, text: str | None, hidden: bool | None
) -> None:
    monkeypatch.delenv("TQDM_DISABLE", raising=False)
    if text is not None:
        monkeypatch.setenv("TQDM_DISABLE", text)
    assert hides_bars() is hidden
