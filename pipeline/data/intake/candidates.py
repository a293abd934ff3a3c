"""A folder of class folders, or a table -> the candidate photos, each with its label, and the ignored files.

Owns how a path becomes a candidate and its label, and applies the rules of `rules.py` that concern names and paths.
Does not own whether the bytes are a photo (`decode`).
"""

from __future__ import annotations

import os
from collections.abc import Iterator, Sequence, Set
from pathlib import Path
from typing import TYPE_CHECKING, NamedTuple

from pipeline.config import UserError
from pipeline.data.class_columns import ANSWER_COLUMNS
from pipeline.data.rules import rule_text

if TYPE_CHECKING:
    import pandas as pd

SYSTEM_FILES = ("__MACOSX", "Thumbs.db", "desktop.ini")
HIDDEN_PREFIXES = (".", *SYSTEM_FILES)


class Candidate(NamedTuple):
    """A file that may be a photo.

    Attributes:
        path: the file.
        label: its class.
        sha256: digest of its bytes (see `digest_cache.py`); empty if they cannot be read.
        problem: why its bytes cannot be read; empty if they can.
        split: the split given by the table; empty if none.
        group: photos of one group share a split; empty if the table gives none.
        note: a remark about its path for the report; empty if none.
    """

    path: Path
    label: str
    sha256: str = ""
    problem: str = ""
    split: str = ""
    group: str = ""
    note: str = ""


class Ignored(NamedTuple):
    """A file or folder that is ignored, and why."""

    path: Path
    label: str
    reason: str


class ScanResult(NamedTuple):
    """All files of a folder or table: candidates in the order of their paths, or of the table, and the ignored ones."""

    photos: list[Candidate]
    ignored: list[Ignored]


def photos_in_table(table: pd.DataFrame, folder: Path, classes: Sequence[str]) -> ScanResult:
    """Return the photos of a table (see `tables.read_table`), in its order, with paths relative to ``folder``."""
    selected = _select_classes(sorted(set(table["label"])), classes, str(folder))
    photos, ignored = [], []
    for row in table.itertuples():
        if row.label in selected:
            photos.append(Candidate(folder / row.path, row.label, split=row.split, group=row.group))
        else:
            ignored.append(Ignored(folder / row.path, row.label, rule_text("class not wanted")))
    return ScanResult(photos, ignored)


def find_photos(folder: Path, classes: Sequence[str]) -> ScanResult:
    """Return every file below the class folders, sorted by path, and everything else as ignored.

    Raises:
        UserError: fewer than two classes, a requested class is missing, or a class name is reserved.
    """
    class_folders, ignored = _class_folders(folder)
    files: dict[str, list[Candidate]] = {}
    for label, class_folder in class_folders.items():
        files[label] = []
        for path, reason in _walk(class_folder):
            if reason:
                ignored.append(Ignored(path, label, reason))
            else:
                files[label].append(Candidate(path, label, note=_link_note(path, folder)))
        if not files[label]:
            ignored.append(Ignored(class_folder, label, rule_text("class without a file")))
    selected = _select_classes(sorted(label for label in files if files[label]), classes, str(folder))
    for label in sorted(set(files).difference(selected)):
        ignored += [Ignored(photo.path, label, rule_text("class not wanted")) for photo in files[label]]
    return ScanResult([photo for label in selected for photo in files[label]], ignored)


def _class_folders(folder: Path) -> tuple[dict[str, Path], list[Ignored]]:
    """Return the class folders by label, and the ignored entries beside them."""
    names = _subfolders(folder)
    class_folders, ignored = {}, []
    for entry in sorted(os.scandir(folder), key=lambda entry: entry.name):
        if entry.name in names and not (reason := _rejection_reason(folder / entry.name, names - {entry.name})):
            class_folders[printable(entry.name)] = folder / entry.name
        else:
            if entry.name not in names:
                reason = _hidden_reason(entry.name) or rule_text("beside the class folders")
            ignored.append(Ignored(folder / entry.name, "", reason))
    return class_folders, ignored


def _subfolders(folder: Path) -> set[str]:
    def is_folder(entry: os.DirEntry[str]) -> bool:
        try:
            return entry.is_dir()
        except OSError:  # a circular link
            return False

    return {
        entry.name for entry in os.scandir(folder) if is_folder(entry) and not entry.name.startswith(HIDDEN_PREFIXES)
    }


def _rejection_reason(folder: Path, others: Set[str]) -> str:
    """Return why a folder beside ``others`` is not a class folder, or an empty string."""
    if folder.is_symlink() and folder.parent.resolve().is_relative_to(folder.resolve()):
        return rule_text("link to a folder", "that it is in")
    inside = _subfolders(folder)
    return rule_text("repeats the class folders") if len(inside) > 1 and inside <= others else ""


def _hidden_reason(name: str) -> str:
    if name.startswith(SYSTEM_FILES):
        return rule_text("left by a system")
    return rule_text("hidden") if name.startswith(".") else ""


def _walk(folder: Path) -> Iterator[tuple[Path, str]]:
    """Yield each path below a class folder with the reason to ignore it, empty for a candidate."""
    for parent, folders, names in os.walk(folder):
        for name in sorted(folders):
            path = Path(parent, name)
            if reason := _hidden_reason(name) or (rule_text("link to a folder") if path.is_symlink() else ""):
                folders.remove(name)
                yield path, reason
        folders.sort()
        yield from ((Path(parent, name), _hidden_reason(name)) for name in sorted(names))


def _link_note(path: Path, folder: Path) -> str:
    if not path.is_symlink():
        return ""
    try:
        inside = path.resolve(strict=True).is_relative_to(folder.resolve())
    except (OSError, RuntimeError):  # dangling or circular link: reading it reports the error
        return ""
    return "" if inside else rule_text("link out of the folder")


def _select_classes(present: list[str], classes: Sequence[str], folder_text: str) -> list[str]:
    if missing := [label for label in classes if label not in present]:
        raise UserError(
            f"classes must name folders with photos in {folder_text}, got {', '.join(missing)} "
            f"(there are: {', '.join(present) or 'none'})"
        )
    selected = [label for label in present if label in classes] if classes else present
    if len(selected) < 2:
        raise UserError(
            f"a classifier needs at least two classes, each a folder with photos, got {len(selected)} in {folder_text} "
            f"({', '.join(selected) or 'no folder with files'}) (expected {folder_text}/CLASS/photo.jpg)"
        )
    if reserved := set(ANSWER_COLUMNS).intersection(selected):
        raise UserError(f"a class cannot be named {', '.join(sorted(reserved))}: predictions have columns of that name")
    return selected


def printable(path: str | Path) -> str:
    """Return a path as printable, storable text, even if the file name is not UTF-8."""
    return os.fsencode(path).decode("utf-8", "backslashreplace")


def photo_name(source: Path, path: Path) -> str:
    """Return a photo's name: its path relative to the source, or its full path if it lies elsewhere."""
    return printable((path.relative_to(source) if path.is_relative_to(source) else path).as_posix())
