"""A folder of class folders -> the list of candidate photos, each with its label and the hash of its bytes.

Owns what counts as a photo's place and label; whether the bytes are a photo is `decode`'s to say.
"""

from __future__ import annotations

import hashlib
import os
from collections.abc import Iterable, Sequence
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import NamedTuple

from pipeline.config import UserError

RESERVED_CLASS_NAMES = frozenset({"path", "label", "probability", "error"})  # columns of every prediction
HIDDEN = (".", "__MACOSX", "Thumbs.db")


class Candidate(NamedTuple):
    """A file that may be a photo: its address, its class, and SHA-256 of its bytes ('' if unreadable)."""

    path: Path
    label: str
    sha256: str


def find_photos(folder: Path, classes: Sequence[str]) -> list[Candidate]:
    """Return every file below the class folders, sorted by address, hidden files left out.

    Raises:
        UserError: fewer than two classes, a wanted class that is missing, or a reserved class name.
    """
    folders = [entry for entry in os.scandir(folder) if entry.is_dir() and not entry.name.startswith(HIDDEN)]
    files = {printable(entry.name): list(_files_below(Path(entry.path))) for entry in folders}
    present = sorted(label for label in files if files[label])
    if missing := [label for label in classes if label not in present]:
        raise UserError(
            f"classes must name folders with photos in {folder}, got {', '.join(missing)} "
            f"(there are: {', '.join(present) or 'none'})"
        )
    kept = [label for label in present if label in classes] if classes else present
    if len(kept) < 2:
        raise UserError(
            f"a classifier needs at least two classes, each a folder with photos, got {len(kept)} in {folder} "
            f"({', '.join(kept) or 'no folder with files'}) (expected {folder}/CLASS/photo.jpg)"
        )
    if reserved := RESERVED_CLASS_NAMES.intersection(kept):
        raise UserError(f"a class cannot be named {', '.join(sorted(reserved))}: predictions have columns of that name")
    return _hashed((path, label) for label in kept for path in files[label])


def printable(path: str | Path) -> str:
    """Return a path as text that can be printed and stored, also where a file's name is not UTF-8."""
    return os.fsencode(path).decode("utf-8", "backslashreplace")


def _files_below(folder: Path) -> Iterable[Path]:
    for parent, folders, names in os.walk(folder):
        folders[:] = sorted(name for name in folders if not name.startswith(HIDDEN))
        yield from (Path(parent, name) for name in sorted(names) if not name.startswith(HIDDEN))


def _hashed(photos: Iterable[tuple[Path, str]]) -> list[Candidate]:
    with ThreadPoolExecutor() as pool:
        return list(pool.map(lambda photo: Candidate(photo[0], photo[1], _sha256(photo[0])), photos))


def _sha256(path: Path) -> str:
    try:
        with path.open("rb") as file:
            return hashlib.file_digest(file, "sha256").hexdigest()
    except OSError:
        return ""
