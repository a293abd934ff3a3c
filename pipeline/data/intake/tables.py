"""Reads a CSV or Parquet file that lists photos: columns path and label, optionally split and group.

Paths are absolute, or relative to the table's folder. CSV is read as people's programs write it: separated by commas,
semicolons or tabs, in UTF-8 or UTF-16, with or without a byte order mark. A value that is not there is empty; ``NA``,
``None`` and ``null`` are words like any other.
"""

from __future__ import annotations

import codecs
import csv
import re
import warnings
from collections.abc import Callable
from pathlib import Path
from typing import TYPE_CHECKING, Any

from pipeline.config import UserError, first_line
from pipeline.data.intake.layout import SPLIT_NAMES, TRAIN
from pipeline.data.rule_versions import NEWEST

if TYPE_CHECKING:
    import pandas as pd

TABLE_SUFFIXES = (".csv", ".tsv", ".parquet")
REQUIRED, OPTIONAL = ("path", "label"), ("split", "group")
SEPARATORS = (",", ";", "\t", "|")
UTF_16_MARKS = (codecs.BOM_UTF16_LE, codecs.BOM_UTF16_BE)
MOST_OF_A_PATH = 4096  # characters; more is the photo itself
MOST_SHOWN = 200  # characters of a value in a message
URL = re.compile(r"^[a-zA-Z][a-zA-Z0-9+.-]+://")
# What pandas takes for a missing value, and version 1 of the rules did in the column group.
MISSING_1 = frozenset(
    ("#N/A", "#N/A N/A", "#NA", "-1.#IND", "-1.#QNAN", "-NaN", "-nan", "1.#IND", "1.#QNAN", "<NA>", "N/A", "NA", "NULL",
     "NaN", "None", "n/a", "nan", "null")
)  # fmt: skip


def read_table(file: Path, version: int = NEWEST.intake) -> pd.DataFrame:
    """Return the table's rows as text: path, label, split (a value of `SPLIT_NAMES`, or empty), group (or empty).

    Args:
        file: the table.
        version: version of the intake rules; with 1, blanks around values stay, and a group NA is none.

    Raises:
        UserError: the file cannot be read, lacks a column, none of its photos is there, or a row lacks a value or names
            a photo twice.
    """
    table = _columns(file, _read_parquet(file) if file.suffix.lower() == ".parquet" else read_csv(file, "data"))
    table = table[(table != "").any(axis=1)]  # spreadsheets leave empty rows; the others keep their numbers
    if table.empty:
        raise UserError(f"data={file} must list photos, got no row below the header")
    blank = table["path"].str.strip() == ""
    table = table.copy()
    if version > 1:
        table = table.apply(lambda column: column if column.name == "path" else column.str.strip())
    else:
        table["group"] = table["group"].where(~table["group"].isin(MISSING_1), "")
    _reject_rows(file, table, blank | (table["label"] == ""), "every row must have a path and a label")
    _reject_rows(file, table, table["path"].str.len() > MOST_OF_A_PATH, "a path must be that of a file")
    is_url = table["path"].str.contains(URL)
    _reject_rows(file, table, is_url, "a path must be that of a file", "; download the photos, and list the files")
    split = table["split"].str.lower()
    is_wrong = ~split.isin(["", *SPLIT_NAMES])
    _reject_rows(file, table, is_wrong, "split must be train, validation or test in every row, or empty")
    _reject_rows(file, table, (split == "") & (split != "").any(), "split must be given in every row or none")
    if version > 1:
        table["path"] = _existing_paths(file, table["path"].tolist())
    if (split != "").any() and not split.map(SPLIT_NAMES).eq(TRAIN).any():
        raise UserError(f"data={file} must give training photos where it gives splits, got none (split=train)")
    named = table["path"].map(lambda path: str((file.parent / path).absolute()))
    _reject_rows(file, table, named.duplicated(), "every photo must be named once")
    return table.assign(split=split.map(SPLIT_NAMES).fillna(""))


def _columns(file: Path, table: pd.DataFrame) -> pd.DataFrame:
    """Return the columns that a table may have as text, whatever the case of their names and the blanks around them."""
    found = [str(name) for name in table.columns]
    table = with_plain_names(table)
    twice = [name for name in (*REQUIRED, *OPTIONAL) if list(table.columns).count(name) > 1]
    missing = [name for name in REQUIRED if name not in table]
    if missing or twice:
        remedy = f"add {' and '.join(missing)}" if missing else f"keep one column {twice[0]}"
        raise UserError(
            f"data={file} must have the columns path and label (and may have split and group), got "
            f"{', '.join(found) or 'none'} ({remedy})"
        )
    table = table.reindex(columns=[*REQUIRED, *OPTIONAL])
    return table.apply(lambda column: column.map(_as_text, na_action=None)).reset_index(drop=True).astype("string")


def with_plain_names(table: pd.DataFrame) -> pd.DataFrame:
    """Return a table whose columns are named in lower case, without blanks around."""
    return table.set_axis([str(name).strip().lower() for name in table.columns], axis=1)


def _as_text(value: Any) -> str:
    """Return a value of any column as text: missing ones as empty, and whole numbers without a point."""
    import pandas as pd

    if value is None or value is pd.NA or value is pd.NaT or value != value:
        return ""
    if isinstance(value, bytes):
        return value.decode(errors="backslashreplace")
    return str(int(value)) if isinstance(value, float) and value.is_integer() else str(value)


def _read_parquet(file: Path) -> pd.DataFrame:
    import pandas as pd  # imported here: decoding processes import this package and need no tables

    try:
        return pd.read_parquet(file)
    except Exception as error:  # PyArrow raises many types on damaged files
        raise UserError(f"data={file} must be a CSV or Parquet table, got {first_line(error)}") from error


def read_csv(file: Path, flag: str) -> pd.DataFrame:
    """Return a CSV that a flag names, every value as text, with its separator and encoding found out.

    Raises:
        UserError: it cannot be read.
    """
    import pandas as pd

    if file.exists() and not file.is_file():  # opening a pipe would block for ever
        raise UserError(f"{flag}={file} must be a CSV, got what is no regular file")
    try:
        with file.open("rb") as opened:
            encoding = "utf-16" if opened.read(2) in UTF_16_MARKS else "utf-8-sig"
        with file.open(encoding=encoding, newline="") as text:
            first = text.readline()
            directive = re.fullmatch(r"sep=(.)\s*", first)  # with which Excel says how a file is separated
            separator = directive[1] if directive else _separator(first)
            text.seek(0)
            if directive:
                text.readline()
            with warnings.catch_warnings():  # rows that end in a separator have an empty value more than the header
                warnings.simplefilter("ignore", pd.errors.ParserWarning)
                return pd.read_csv(
                    text, sep=separator, dtype=str, keep_default_na=False, index_col=False, skip_blank_lines=False
                )
    except UnicodeError as error:
        raise UserError(
            f"{flag}={file} must be a CSV in UTF-8, got {first_line(error)} (save it again as 'CSV UTF-8')"
        ) from error
    except (OSError, ValueError) as error:
        raise UserError(f"{flag}={file} must be a CSV, got {first_line(error)}") from error


def _separator(header: str) -> str:
    """Return the separator by which the header has a column path, a comma if none does."""

    def names(separator: str) -> set[str]:
        return {name.strip().lower() for row in csv.reader([header], delimiter=separator) for name in row}

    return next((separator for separator in SEPARATORS if "path" in names(separator)), ",")


def _existing_paths(file: Path, paths: list[str]) -> list[str]:
    """Return each path as the table has it, or without blanks around it and with slashes, if only that is there.

    Raises:
        UserError: none of them is there.
    """
    spellings: tuple[Callable[[str], str], ...] = (
        str, str.strip, lambda path: path.strip().replace("\\", "/"),
    )  # fmt: skip

    def exists(path: str) -> bool:
        try:
            return bool(path) and (file.parent / path).exists()
        except (OSError, ValueError):  # no permission, too long; a NUL inside
            return False

    existing = [next((spell(path) for spell in spellings if exists(spell(path))), None) for path in paths]
    if paths and not any(existing):
        example = next((path for path in paths if path.strip()), "")[:MOST_SHOWN]
        raise UserError(
            f"data={file} must list photos by their full paths, or by paths relative to the table's folder, got "
            f"{len(paths)} rows of which none is there, such as {example!r}, looked for at {file.parent / example} "
            "(put the table where its paths begin)"
        )
    return [path.strip() if found is None else found for path, found in zip(paths, existing, strict=True)]


def _reject_rows(file: Path, table: pd.DataFrame, is_wrong: pd.Series[bool], rule: str, remedy: str = "") -> None:
    if is_wrong.any():
        first = table[is_wrong.to_numpy()].iloc[0]
        values = ", ".join(f"{name}={value[:MOST_SHOWN]!r}" for name, value in first.items() if value)
        raise UserError(
            f"{rule}, got {values or 'nothing'} in row {first.name + 2} of {file} "
            f"({int(is_wrong.sum())} such rows{remedy})"
        )
