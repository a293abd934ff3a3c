"""Tables -> CSV that any program reads back, whatever is in the names of files."""

from __future__ import annotations

import csv
from pathlib import Path
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    import pandas as pd

FORMULA = ("=", "+", "-", "@", "\t", "\r")  # OWASP, "CSV Injection"


def csv_text(table: pd.DataFrame, header: bool = True) -> str:
    r"""Return a table as CSV, without its index.

    A carriage return, as in macOS's ``Icon\r``, ends a line for readers unless it is quoted, which Python's csv module
    does since 3.13: where there is one, all text is quoted.
    """
    text = str(table.to_csv(index=False, header=header))
    return str(table.to_csv(index=False, header=header, quoting=csv.QUOTE_NONNUMERIC)) if "\r" in text else text


def count_formulas(table: pd.DataFrame) -> int:
    """Return how many names of columns and texts in a table a spreadsheet would take for formulas, and compute.

    They are written as they are: programs read the file, too, and to them a sign before a name would be another name.
    """
    texts = [*table.columns, *(text for name in table.select_dtypes(["object", "string"]) for text in table[name])]
    return sum(isinstance(text, str) and text.startswith(FORMULA) for text in texts)


def write_csv(table: pd.DataFrame, file: Path, append: bool = False) -> None:
    """Write a table as CSV, or ``append`` its rows to one, without its index."""
    with file.open("a" if append else "w", encoding="utf-8", newline="") as opened:
        opened.write(csv_text(table, header=not append))
