"""Lines that tell a user how a folder or table was understood, where it could have been meant otherwise."""

from __future__ import annotations

import unicodedata
from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path

from pipeline.data.intake.folders import Folder
from pipeline.data.intake.layout import SPLIT_ORDER, name_key
from pipeline.data.intake.side_files import PHOTO_SUFFIXES, hidden_reason
from pipeline.data.intake.tables import TABLE_SUFFIXES

ARCHIVE_SUFFIXES = (".zip", ".tar", ".tgz", ".gz", ".bz2", ".xz", ".zst", ".7z", ".rar", ".iso")
ARCHIVE_OF_CLASS = "it holds the archive"  # begins the detail of a folder without a photo
MOST_NAMES = 4  # in a line


def splits_remark(given: Mapping[str, str]) -> str:
    """Return a line on the given splits: split -> its folder's name, or empty if a table gives it."""
    parts = [f"{split} from {name!r}" if name else split for split, name in given.items()]
    missing = [split for split in SPLIT_ORDER if split not in given]
    drawn = f"; {' and '.join(missing)} photos are drawn from the training ones" if missing else ""
    return f"the splits are as given: {', '.join(parts)}{drawn}"


def ignored_folders_remark(ignored: Mapping[Path, str]) -> list[str]:
    """Return a line on folders of photos beside split folders, none if there are none."""
    of_photos = ("photos without a class", "beside the split folders")
    shown = {path: reason for path, reason in ignored.items() if reason.startswith(of_photos)}
    names = ", ".join(f"{path.name!r} ({reason})" for path, reason in shown.items())
    return [f"ignored beside the split folders: {names}"] if names else []


def archives_remark(reasons: Iterable[tuple[Path, str]]) -> list[str]:
    """Return a line on ignored folders that hold no photo but an archive, by path and reason; none without such."""
    names = [repr(path.name) for path, reason in reasons if ARCHIVE_OF_CLASS in reason]
    if not names:
        return []
    return [f"warning: {', '.join(names)} not used as a class: it holds an archive and no photo (unpack the archive)"]


def nested_remark(class_folders: Sequence[Folder]) -> list[str]:
    """Return a line if all class folders hold the same folders, which may be the classes that are meant."""
    if len(class_folders) < 2:
        return []
    shared = set.intersection(*({below.name for below in folder.subfolders()} for folder in class_folders))
    if len(shared) < 2:
        return []
    outer = _listed(sorted({folder.name for folder in class_folders}))
    return [
        f"warning: the classes are {outer}, and each of these folders holds {_listed(sorted(shared))}: if those are "
        f"the classes, give one of the outer folders as data (data={class_folders[0].path}), or a table"
    ]


def found_in(folder: Path) -> str:
    """Return what lies in a folder that has no class folders: photos, archives, other files, folders."""
    paths = _shown(folder)
    while len(paths) == 1 and paths[0].is_dir():
        paths = _shown(paths[0])
    folders = [path.name for path in paths if path.is_dir()]
    photos = [path.name for path in paths if path.suffix.lower() in PHOTO_SUFFIXES]
    archives = [path.name for path in paths if path.name.lower().endswith(ARCHIVE_SUFFIXES)]
    tables = [path for path in paths if path.suffix.lower() in TABLE_SUFFIXES]
    others = [path.name for path in paths if path.name not in {*folders, *photos, *archives} and path not in tables]
    which = f", whose columns path and label may name the photos: data={tables[0]}" if tables else ""
    kinds = (
        (folders, "folders", ""), (photos, "photos that are in no class folder", ""),
        (archives, "archives", ", to be unpacked first"), ([path.name for path in tables], "tables", which),
        (others, "other files", ""),
    )  # fmt: skip
    parts = [f"{len(names)} {what} ({_listed(names)}{remedy})" for names, what, remedy in kinds if names]
    return f"found: {'; '.join(parts)}" if parts else "found: nothing"


def _shown(folder: Path) -> list[Path]:
    return sorted(path for path in folder.iterdir() if not hidden_reason(path.name))


def confusable_remarks(labels: Sequence[str]) -> list[str]:
    """Return a line for each set of class names that differ only in case, Unicode form or blanks."""
    alike: dict[str, list[str]] = {}
    for label in labels:
        alike.setdefault(name_key(label), []).append(label)
    return [
        f"warning: the classes {_told_apart(names)} differ only in case, Unicode form or blanks: if they are one, "
        "give them one name"
        for names in alike.values()
        if len(names) > 1
    ]


def _told_apart(names: Sequence[str]) -> str:
    """Return quoted names, escaped where they would look the same."""
    looks = {unicodedata.normalize("NFC", name) for name in names}
    return " and ".join(map(repr if len(looks) == len(names) else ascii, names))


def _listed(names: Sequence[str]) -> str:
    return ", ".join(map(repr, names[:MOST_NAMES])) + (", …" if len(names) > MOST_NAMES else "")
