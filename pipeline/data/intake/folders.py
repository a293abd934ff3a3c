"""A folder's listing, read once: a scan asks the same folder whether it is a class, what it wraps, and for its files.

Does not own what the names mean (`side_files.py`), nor which folders are classes (`layout.py`).
"""

from __future__ import annotations

import os
from collections.abc import Iterator
from functools import cached_property
from pathlib import Path

from pipeline.data.intake.side_files import (
    PHOTO_SUFFIXES,
    begins_like_a_photo,
    hidden_reason,
    side_file_reason,
    suffix_of,
)
from pipeline.data.rule_versions import NEWEST

MOST_SNIFFED = 20  # files without a photo's suffix that are opened in a folder to learn whether they are photos


class Folder:
    """A folder as it was when it was first asked what lies in it."""

    def __init__(self, path: Path, is_link: bool = False) -> None:
        self.path, self.name, self.is_link = path, path.name, is_link

    @cached_property
    def _listing(self) -> tuple[list[Folder], list[str], set[str]]:
        folders, files, links = [], [], set()
        with os.scandir(self.path) as entries:
            for entry in entries:
                if _is_folder(entry):
                    folders.append(Folder(self.path / entry.name, entry.is_symlink()))
                else:
                    files.append(entry.name)
                    links.update([entry.name] if entry.is_symlink() else [])
        return sorted(folders, key=lambda folder: folder.name), sorted(files), links

    @property
    def folders(self) -> list[Folder]:
        """All folders in it, by name, and links to folders; raises OSError if it cannot be listed."""
        return self._listing[0]

    @property
    def files(self) -> list[str]:
        """The names of all that is no folder, sorted; raises OSError if it cannot be listed."""
        return self._listing[1]

    @property
    def links(self) -> set[str]:
        """The names of files that are links."""
        return self._listing[2]

    def subfolders(self, version: int = NEWEST.intake) -> list[Folder]:
        """Return the folders in it, without those that the rules hide; raises OSError if it cannot be listed."""
        return [folder for folder in self.folders if not hidden_reason(folder.name, version)]

    @cached_property
    def photo_folders(self) -> list[Folder]:
        """The `subfolders` that hold photos; raises OSError if it cannot be listed."""
        return [folder for folder in self.subfolders() if folder.holds_photos]

    @cached_property
    def holds_photos(self) -> bool:
        """Whether any file in it or below it is named like a photo, or begins like one."""
        sniffed = 0
        for folder, name in self.files_below():
            if suffix_of(name) in PHOTO_SUFFIXES:
                return True
            if sniffed < MOST_SNIFFED:
                sniffed += 1
                if begins_like_a_photo(folder / name):
                    return True
        return False

    def files_below(self) -> Iterator[tuple[Path, str]]:
        """Yield folder and name of the files in it and below it, without hidden ones and what cannot be listed."""
        try:
            folders, files = self.subfolders(), self.files
        except OSError:
            return
        yield from ((self.path, name) for name in files if not hidden_reason(name))
        for folder in folders:
            if not folder.is_link:  # it could lead in a circle
                yield from folder.files_below()


def candidate_files(folder: Path) -> list[Path]:
    """Return the files in a folder and below it that may be photos: without hidden ones, notes and films."""
    found = Folder(folder).files_below()
    return [place / name for place, name in found if not side_file_reason(place, name)]


def _is_folder(entry: os.DirEntry[str]) -> bool:
    """Return whether an entry is a folder, or a link to one."""
    try:
        return entry.is_dir()
    except OSError:  # a circular link
        return False
