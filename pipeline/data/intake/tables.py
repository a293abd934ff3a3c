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
from urllib.parse import urlsplit
from urllib.request import url2pathname

from pipeline.config import UserError, first_line
from pipeline.data.intake.layout import SPLIT_NAMES, TRAIN
from pipeline.data.rule_versions import NEWEST

if TYPE_CHECKING:
    import pandas as pd

TABLE_SUFFIXES = (".csv", ".tsv", ".parquet")
REQUIRED, OPTIONAL = ("path", "label"), ("split", "group")
SEPARATORS = (",", ";", "\t", "|")
ENCODINGS = {  # by a file's first bytes
    codecs.BOM_UTF32_LE: "utf-32", codecs.BOM_UTF32_BE: "utf-32", codecs.BOM_UTF16_LE: "utf-16",
    codecs.BOM_UTF16_BE: "utf-16",
}  # fmt: skip
MOST_OF_A_PATH = 4096  # characters; more is the photo itself
MOST_SHOWN = 200  # characters of a value in a message
LOCAL_URL = "file://"
URL = re.compile(rf"^(?!{LOCAL_URL})[a-zA-Z][a-zA-Z0-9+.-]+://")
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
    _reject_rows(file, table, table["path"].str.len() > MOST_OF_A_PATH, "a path must name a file")
    is_url = table["path"].str.contains(URL)
    _reject_rows(file, table, is_url, "a path must name a file", "; download the photos, and list the files")
    split = table["split"].str.lower()
    is_wrong = ~split.isin(["", *SPLIT_NAMES])
    _reject_rows(file, table, is_wrong, "split must be train, validation or test in every row, or empty")
    _reject_rows(file, table, (split == "") & (split != "").any(), "split must be given in every row or none")
    if version > 1:
        table["path"] = _existing_paths(file, table["path"].tolist())
    if (split != "").any() and not split.map(SPLIT_NAMES).eq(TRAIN).any():
        raise UserError(f"data={file} must have training photos if it has the column split, got none (split=train)")
    named = table["path"].map(lambda path: str((file.parent / path).absolute()))
    _reject_rows(file, table, named.duplicated(), "every photo must be listed once")
    return table.assign(split=split.map(SPLIT_NAMES).fillna(""))


def _columns(file: Path, table: pd.DataFrame) -> pd.DataFrame:
    """Return the columns that a table may have as text, whatever the case of their names and the blanks around them."""
    found = [str(name) for name in table.columns]
    table = with_plain_names(table)
    twice = [name for name in (*REQUIRED, *OPTIONAL) if list(table.columns).count(name) > 1]
    missing = [name for name in REQUIRED if name not in table]
    if missing or twice:
        wanted = " and ".join(missing)
        remedy = f"name a column {wanted} in the first row" if missing else f"keep one column {twice[0]}"
        raise UserError(
            f"data={file} must have the columns path and label (and may have split and group), got "
            f"{', '.join(found) or 'none'} ({remedy})"
        )
    table = table.reindex(columns=[*REQUIRED, *OPTIONAL]).reset_index(drop=True)
    texts = table.apply(lambda column: column.map(_as_text, na_action=None)).astype("string")
    is_one = table.apply(lambda column: column.map(_is_one_value, na_action=None)).all(axis=1)
    _reject_rows(file, texts, ~is_one, "every value must be one text or number")
    return texts


def with_plain_names(table: pd.DataFrame) -> pd.DataFrame:
    """Return a table whose columns are named in lower case, without blanks around."""
    return table.set_axis([str(name).strip().lower() for name in table.columns], axis=1)


def _as_text(value: Any) -> str:
    """Return a value of any column as text: missing ones as empty, and whole numbers without a point."""
    import pandas as pd

    if not _is_one_value(value):
        return str(value)
    if value is None or value is pd.NA or value is pd.NaT or value != value:
        return ""
    if isinstance(value, bytes):
        return value.decode(errors="backslashreplace")
    return str(int(value)) if isinstance(value, float) and value.is_integer() else str(value)


def _is_one_value(value: Any) -> bool:
    """Return whether a value of a Parquet table is none of lists (of labels) or records (of a photo's own bytes)."""
    import pandas as pd

    return bool(pd.api.types.is_scalar(value))


def _read_parquet(file: Path) -> pd.DataFrame:
    import pandas as pd  # imported here: decoding processes import this package and need no tables

    try:
        table = pd.read_parquet(file)
        return table.reset_index() if any(table.index.names) else table
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
            encoding = _encoding(opened.read(4))
        with file.open(encoding=encoding, newline="") as text:
            first = text.readline()
            directive = re.fullmatch(r"sep=(.)\s*", first)  # with which Excel says how a file is separated
            if directive:
                first = text.readline()
            separator = directive[1] if directive else _separator(first)
            names = next(csv.reader([first], delimiter=separator), [])
            if not names:
                raise UserError(f"{flag}={file} must be a CSV, got no column names in its first row")
            with warnings.catch_warnings():  # rows with more values still
                warnings.simplefilter("ignore", pd.errors.ParserWarning)
                table = pd.read_csv(
                    text, sep=separator, dtype=str, keep_default_na=False, index_col=False, skip_blank_lines=False,
                    header=None, names=range(len(names) + 1),
                )  # fmt: skip
    except UnicodeError as error:
        raise UserError(
            f"{flag}={file} must be a CSV in UTF-8, got {first_line(error)} (save it again as 'CSV UTF-8')"
        ) from error
    except (OSError, ValueError) as error:
        raise UserError(f"{flag}={file} must be a CSV, got {first_line(error)}") from error
    beyond = table.pop(len(names)).fillna("")  # empty where a row ends in a separator
    table.columns = names
    shown = table.assign(further=beyond)
    _reject_rows(file, shown, beyond != "", "a row must have no more values than the first one", '; quote "a, b"')
    return table


def _encoding(start: bytes) -> str:
    """Return a text file's encoding by its first four bytes, whose first two are Latin letters."""
    marked = next((name for mark, name in ENCODINGS.items() if start.startswith(mark)), "")
    without_mark = {0: "utf-16-be", 1: "utf-16-le"}.get(start.find(b"\0"), "utf-8-sig")
    return marked or without_mark


def _separator(header: str) -> str:
    """Return the separator by which the header has a column path, a comma if none does."""

    def names(separator: str) -> set[str]:
        return {name.strip().lower() for row in csv.reader([header], delimiter=separator) for name in row}

    return next((separator for separator in SEPARATORS if "path" in names(separator)), ",")


def _existing_paths(file: Path, paths: list[str]) -> list[str]:
    """Return each path as the table has it, or without blanks around it, with slashes or of a URL, if that is there.

    Raises:
        UserError: none of them is there.
    """
    spellings: tuple[Callable[[str], str], ...] = (
        str, str.strip, lambda path: path.strip().replace("\\", "/"), _path_of_url,
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
            f"{len(paths)} rows whose files do not exist, such as {example!r}, looked for at {file.parent / example} "
            f"({_alike(file.parent / example) or 'put the table where its paths begin'})"
        )
    return [path.strip() if found is None else found for path, found in zip(paths, existing, strict=True)]


def _path_of_url(path: str) -> str:
    return url2pathname(urlsplit(path).path) if path.startswith(LOCAL_URL) else ""


def _alike(path: Path) -> str:
    """Return what is there in place of a path: in another case, or with a suffix."""
    try:
        names = sorted(found.name for found in path.parent.iterdir())
    except OSError:
        return ""
    wanted = path.name.lower()
    found = next((name for name in names if wanted in (name.lower(), Path(name).stem.lower())), "")
    return f"there is {path.parent / found}: write names as the files have them" if found else ""


def _reject_rows(file: Path, table: pd.DataFrame, is_wrong: pd.Series[bool], rule: str, remedy: str = "") -> None:
    if is_wrong.any():
        first = table[is_wrong.to_numpy()].iloc[0]
        values = ", ".join(f"{name}={value[:MOST_SHOWN]!r}" for name, value in first.items() if value)
        raise UserError(
            f"{rule}, got {values or 'nothing'} in row {first.name + 2} of {file} "
            f"({int(is_wrong.sum())} such rows{remedy})"
        )
