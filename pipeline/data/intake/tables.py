"""Reads a CSV or Parquet file that lists photos: columns path and label, optionally split and group.

Paths are absolute, or relative to the table's folder.
"""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING

from pipeline.config import UserError, first_line

if TYPE_CHECKING:
    import pandas as pd

TABLE_SUFFIXES = (".csv", ".parquet")
REQUIRED, OPTIONAL = ("path", "label"), ("split", "group")
SPLIT_NAMES = {"train": "train", "training": "train", "val": "validation", "validation": "validation", "test": "test"}


def read_table(file: Path) -> pd.DataFrame:
    """Return the table's rows as text: path, label, split (a value of `SPLIT_NAMES`, or empty), group (or empty).

    Raises:
        UserError: the file cannot be read, lacks a column, or a row lacks a value or names a photo twice.
    """
    import pandas as pd  # imported here: decoding processes import this package and need no tables

    try:
        table = pd.read_parquet(file) if file.suffix.lower() == ".parquet" else pd.read_csv(file, dtype=str)
    except Exception as error:  # pandas and PyArrow raise many types on damaged files
        raise UserError(f"data={file} must be a CSV or Parquet table, got {first_line(error)}") from error
    if missing := [name for name in REQUIRED if name not in table]:
        raise UserError(
            f"data={file} must have the columns path and label (and may have split and group), got "
            f"{', '.join(map(str, table.columns)) or 'none'} (add {' and '.join(missing)})"
        )
    table = table.reindex(columns=[*REQUIRED, *OPTIONAL]).astype("string").fillna("")
    _reject_rows(file, table, (table["path"] == "") | (table["label"] == ""), "every row must have a path and a label")
    _reject_rows(file, table, table["path"].duplicated(), "every photo must be named once")
    table["split"] = table["split"].str.lower()
    is_wrong = ~table["split"].isin(["", *SPLIT_NAMES])
    _reject_rows(file, table, is_wrong, "split must be train, validation or test in every row, or empty")
    _reject_rows(
        file, table, (table["split"] == "") & (table["split"] != "").any(), "split must be given in every row or none"
    )
    table["split"] = table["split"].map(SPLIT_NAMES).fillna("")
    return table


def _reject_rows(file: Path, table: pd.DataFrame, is_wrong: pd.Series[bool], rule: str) -> None:
    if is_wrong.any():
        row = int(is_wrong.to_numpy().argmax())
        values = ", ".join(f"{name}={value!r}" for name, value in table.iloc[row].items() if value)
        raise UserError(
            f"{rule}, got {values or 'nothing'} in row {row + 2} of {file} ({int(is_wrong.sum())} such rows)"
        )
