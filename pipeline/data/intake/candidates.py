"""A folder of class folders, or a table -> the candidate photos, each with its label, and what is passed over.

Owns what counts as a photo's place and label, and of the rules in `rules.py` those that concern names and places;
whether the bytes are a photo is `decode`'s to say.
"""

from __future__ import annotations

import os
from collections.abc import Iterator, Sequence, Set
from pathlib import Path
from typing import TYPE_CHECKING, NamedTuple

from pipeline.config import UserError
from pipeline.data.class_columns import ANSWER_COLUMNS
from pipeline.data.rules import by_rule

if TYPE_CHECKING:
    import pandas as pd

OF_SYSTEMS = ("__MACOSX", "Thumbs.db", "desktop.ini")
HIDDEN = (".", *OF_SYSTEMS)


class Candidate(NamedTuple):
    """A file that may be a photo.

    Attributes:
        path: where it is.
        label: its class.
        sha256: of its bytes (see `digests.py`); empty if they cannot be read.
        problem: why they cannot be read; empty if they can.
        split: that it is to go to, if its table says so.
        group: photos of one group share a split; empty if its table says nothing.
        note: what is remarkable about its place; empty if nothing is.
    """

    path: Path
    label: str
    sha256: str = ""
    problem: str = ""
    split: str = ""
    group: str = ""
    note: str = ""


class Ignored(NamedTuple):
    """A file or a folder that is passed over, and why."""

    path: Path
    label: str
    reason: str


class Found(NamedTuple):
    """All that is in a place: candidates in the order of their addresses, or of their table, and what is ignored."""

    photos: list[Candidate]
    ignored: list[Ignored]


def photos_in_table(table: pd.DataFrame, folder: Path, classes: Sequence[str]) -> Found:
    """Return the photos of a table (see `tables.read_table`), in its order, with paths relative to ``folder``."""
    kept = _kept_classes(sorted(set(table["label"])), classes, str(folder))
    photos, ignored = [], []
    for row in table.itertuples():
        if row.label in kept:
            photos.append(Candidate(folder / row.path, row.label, split=row.split, group=row.group))
        else:
            ignored.append(Ignored(folder / row.path, row.label, by_rule("class not wanted")))
    return Found(photos, ignored)


def find_photos(folder: Path, classes: Sequence[str]) -> Found:
    """Return every file below the class folders, sorted by address, and everything else that there is.

    Raises:
        UserError: fewer than two classes, a wanted class that is missing, or a reserved class name.
    """
    class_folders, ignored = _class_folders(folder)
    files: dict[str, list[Candidate]] = {}
    for label, place in class_folders.items():
        files[label] = []
        for path, reason in _below(place):
            if reason:
                ignored.append(Ignored(path, label, reason))
            else:
                files[label].append(Candidate(path, label, note=_note_on_link(path, folder)))
        if not files[label]:
            ignored.append(Ignored(place, label, by_rule("class without a file")))
    kept = _kept_classes(sorted(label for label in files if files[label]), classes, str(folder))
    for label in sorted(set(files).difference(kept)):
        ignored += [Ignored(photo.path, label, by_rule("class not wanted")) for photo in files[label]]
    return Found([photo for label in kept for photo in files[label]], ignored)


def _class_folders(folder: Path) -> tuple[dict[str, Path], list[Ignored]]:
    """Return the class folders by label, and what lies beside them."""
    names = _folders(folder)
    found, ignored = {}, []
    for entry in sorted(os.scandir(folder), key=lambda entry: entry.name):
        if entry.name in names and not (reason := _reason_against(folder / entry.name, names - {entry.name})):
            found[printable(entry.name)] = folder / entry.name
        else:
            reason = reason if entry.name in names else _hidden(entry.name) or by_rule("beside the class folders")
            ignored.append(Ignored(folder / entry.name, "", reason))
    return found, ignored


def _folders(folder: Path) -> set[str]:
    def is_folder(entry: os.DirEntry[str]) -> bool:
        try:
            return entry.is_dir()
        except OSError:  # a link to itself
            return False

    return {entry.name for entry in os.scandir(folder) if is_folder(entry) and not entry.name.startswith(HIDDEN)}


def _reason_against(folder: Path, others: Set[str]) -> str:
    """Return why a folder beside ``others`` is no class folder, or empty text."""
    if folder.is_symlink() and folder.parent.resolve().is_relative_to(folder.resolve()):
        return by_rule("link to a folder", "that it is in")
    inside = _folders(folder)
    return by_rule("repeats the class folders") if len(inside) > 1 and inside <= others else ""


def _hidden(name: str) -> str:
    if name.startswith(OF_SYSTEMS):
        return by_rule("left by a system")
    return by_rule("hidden") if name.startswith(".") else ""


def _below(folder: Path) -> Iterator[tuple[Path, str]]:
    """Yield everything below a class folder, and why it is ignored, or empty text for a candidate."""
    for parent, folders, names in os.walk(folder):
        for name in sorted(folders):
            path = Path(parent, name)
            if reason := _hidden(name) or (by_rule("link to a folder") if path.is_symlink() else ""):
                folders.remove(name)
                yield path, reason
        folders.sort()
        yield from ((Path(parent, name), _hidden(name)) for name in sorted(names))


def _note_on_link(path: Path, folder: Path) -> str:
    if not path.is_symlink():
        return ""
    try:
        inside = path.resolve(strict=True).is_relative_to(folder.resolve())
    except (OSError, RuntimeError):  # it leads nowhere, or in a circle: reading it will say so
        return ""
    return "" if inside else by_rule("link out of the folder")


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
    if reserved := set(ANSWER_COLUMNS).intersection(kept):
        raise UserError(f"a class cannot be named {', '.join(sorted(reserved))}: predictions have columns of that name")
    return kept


def printable(path: str | Path) -> str:
    """Return a path as text that can be printed and stored, also where a file's name is not UTF-8."""
    return os.fsencode(path).decode("utf-8", "backslashreplace")


def name_in(source: Path, path: Path) -> str:
    """Return what a photo is called: its path from the source on, or all of it where it lies elsewhere."""
    return printable((path.relative_to(source) if path.is_relative_to(source) else path).as_posix())
