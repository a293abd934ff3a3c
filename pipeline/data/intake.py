"""A folder of class folders, or a table -> the candidate photos, each with its label and the hash of its bytes.

Owns what counts as a photo's place and label; whether the bytes are a photo is `decode`'s to say. The rules for files
in a folder: hidden ones and those that systems leave behind are no photos and are passed over; links to files are
followed, links to folders are not; a folder that repeats the class folders beside it is left out.
"""

from __future__ import annotations

import hashlib
import os
import stat
from collections.abc import Iterable, Sequence, Set
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import NamedTuple

import pandas as pd

from pipeline.config import UserError

RESERVED_CLASS_NAMES = frozenset({"path", "label", "probability", "error"})  # columns of every prediction
HIDDEN = (".", "__MACOSX", "Thumbs.db", "desktop.ini")


class Candidate(NamedTuple):
    """A file that may be a photo.

    Attributes:
        path: where it is.
        label: its class.
        sha256: of its bytes; empty if they cannot be read.
        problem: why they cannot be read; empty if they can.
        split: that it is to go to, if its table says so.
        group: photos of one group share a split; empty if its table says nothing.
    """

    path: Path
    label: str
    sha256: str
    problem: str = ""
    split: str = ""
    group: str = ""


def photos_in_table(table: pd.DataFrame, folder: Path, classes: Sequence[str]) -> list[Candidate]:
    """Return the photos of a table (see `tables.read_table`), in its order, with paths relative to ``folder``."""
    kept = _kept_classes(sorted(set(table["label"])), classes, str(folder))
    rows = table[table["label"].isin(kept)].itertuples()
    return _hashed(Candidate(folder / row.path, row.label, "", "", row.split, row.group) for row in rows)


def find_photos(folder: Path, classes: Sequence[str]) -> list[Candidate]:
    """Return every file below the class folders, sorted by address.

    Raises:
        UserError: fewer than two classes, a wanted class that is missing, or a reserved class name.
    """
    folders = _folders(folder)
    names = {entry.name for entry in folders}
    files = {
        printable(entry.name): list(_files_below(Path(entry.path)))
        for entry in folders
        if not _repeats(Path(entry.path), names - {entry.name})
    }
    kept = _kept_classes(sorted(label for label in files if files[label]), classes, str(folder))
    return _hashed(Candidate(path, label, "") for label in kept for path in files[label])


def _folders(folder: Path) -> list[os.DirEntry[str]]:
    def is_folder(entry: os.DirEntry[str]) -> bool:
        try:
            return entry.is_dir()
        except OSError:  # a link to itself
            return False

    return [entry for entry in os.scandir(folder) if is_folder(entry) and not entry.name.startswith(HIDDEN)]


def _repeats(folder: Path, names: Set[str]) -> bool:
    """Return whether a folder holds the class folders beside it once more, as in Kaggle's archive of flowers."""
    inside = {entry.name for entry in _folders(folder)}
    return len(inside) > 1 and inside <= names


def _kept_classes(present: list[str], classes: Sequence[str], place: str) -> list[str]:
    if missing := [label for label in classes if label not in present]:
        raise UserError(
            f"classes must name folders with photos in {place}, got {', '.join(missing)} "
            f"(there are: {', '.join(present) or 'none'})"
        )
    kept = [label for label in present if label in classes] if classes else present
    if len(kept) < 2:
        raise UserError(
            f"a classifier needs at least two classes, each a folder with photos, got {len(kept)} in {place} "
            f"({', '.join(kept) or 'no folder with files'}) (expected {place}/CLASS/photo.jpg)"
        )
    if reserved := RESERVED_CLASS_NAMES.intersection(kept):
        raise UserError(f"a class cannot be named {', '.join(sorted(reserved))}: predictions have columns of that name")
    return kept


def printable(path: str | Path) -> str:
    """Return a path as text that can be printed and stored, also where a file's name is not UTF-8."""
    return os.fsencode(path).decode("utf-8", "backslashreplace")


def _files_below(folder: Path) -> Iterable[Path]:
    for parent, folders, names in os.walk(folder):
        folders[:] = sorted(name for name in folders if not name.startswith(HIDDEN))
        yield from (Path(parent, name) for name in sorted(names) if not name.startswith(HIDDEN))


def _hashed(photos: Iterable[Candidate]) -> list[Candidate]:
    with ThreadPoolExecutor() as pool:
        return list(pool.map(_with_digest, photos))


def _with_digest(photo: Candidate) -> Candidate:
    try:
        if not stat.S_ISREG(photo.path.stat().st_mode):  # opening a pipe would wait for ever
            return photo._replace(problem="not a regular file")
        with photo.path.open("rb") as file:
            return photo._replace(sha256=hashlib.file_digest(file, "sha256").hexdigest())
    except (OSError, ValueError) as error:  # ValueError: a NUL in a table's path
        return photo._replace(problem=f"cannot be read ({getattr(error, 'strerror', None) or error})")
