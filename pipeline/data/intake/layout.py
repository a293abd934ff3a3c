"""Where the class folders are: below wrapping folders, or in folders that are named after splits.

    photos/CLASS/1.jpg                      class folders
    set/images/CLASS/1.jpg, set/README      the same, wrapped; what holds no photo is passed over
    set/train/CLASS/1.jpg, set/val/CLASS…   class folders in given splits, of any case, wrapped each on its own or not
    set/CLASS/train/1.jpg, set/CLASS/val…   given splits in class folders

Does not own which files of a class folder are photos (`candidates`), nor who checks given splits (`splits`).
"""

from __future__ import annotations

import re
import unicodedata
from collections.abc import Mapping, Sequence
from pathlib import Path
from types import MappingProxyType
from typing import NamedTuple

from pipeline.config import UserError
from pipeline.data.intake.folders import Folder
from pipeline.data.intake.side_files import hidden_reason, side_file_reason
from pipeline.data.rules import rule_text

TRAIN, VALIDATION, TEST = "train", "validation", "test"
SPLIT_NAMES = {
    "train": TRAIN, "training": TRAIN, "val": VALIDATION, "valid": VALIDATION, "validation": VALIDATION,
    "dev": VALIDATION, "test": TEST, "testing": TEST,
}  # fmt: skip
SPLIT_ORDER = (TRAIN, VALIDATION, TEST)
EXPECTED = "expected {0}/CLASS/photo.jpg, or {0}/train/CLASS/photo.jpg with val and test beside train"


class SplitFolder(NamedTuple):
    """A folder of class folders, and the split that its name gives them; empty for none."""

    folder: Folder
    split: str = ""


class Layout(NamedTuple):
    """How a folder is laid out.

    Attributes:
        roots: the folders of class folders.
        ignored: the folders beside them that are ignored, with the reason.
        splits_inside: name -> split of the folders in the class folders, if these hold given splits; else empty.
    """

    roots: list[SplitFolder]
    ignored: dict[Path, str]
    splits_inside: Mapping[str, str] = MappingProxyType({})


def class_root(folder: Path) -> Path:
    """Return the folder of the class folders, or of the split folders, below any wrapping folders.

    A folder wraps another if that is the only one in it with photos, and holds folders itself.

    Raises:
        UserError: split folders that cannot be taken as such (see `find_layout`).
    """
    inner = Folder(folder)
    while not given_splits(inner):
        if len(inner.photo_folders) != 1 or not inner.photo_folders[0].photo_folders:
            break
        inner = inner.photo_folders[0]
    return inner.path


def beside(folder: Path, root: Path) -> dict[Path, str]:
    """Return what lies in ``folder`` and below it beside the way to its `class_root`, with the reason to ignore it."""
    ignored = {}
    while folder != root:
        for path in sorted(folder.iterdir()):
            if not root.is_relative_to(path):
                reason = "folder without a photo" if path.is_dir() else "beside the class folders"
                ignored[path] = hidden_reason(path.name) or rule_text(reason)
        folder = folder / root.relative_to(folder).parts[0]
    return ignored


def find_layout(folder: Folder) -> Layout:
    """Return where the class folders in ``folder`` are, which `class_root` has returned.

    Raises:
        UserError: some folders are named after splits, and which photos they mean is not clear.
    """
    given = given_splits(folder)
    if not given:
        _refuse_splits_below(folder)
        return Layout([SplitFolder(folder)], {}, _splits_inside(folder))
    ignored = {
        folder.path / name: hidden_reason(name) or rule_text("beside the class folders") for name in folder.files
    } | {
        other.path: hidden_reason(other.name) or _reason_beside_splits(other)
        for other in folder.folders
        if not any(root.folder.path.is_relative_to(other.path) for root in given)
    }
    roots = given if len(given) > 1 else [SplitFolder(given[0].folder)]
    return Layout(roots, dict(sorted(ignored.items())))


def _reason_beside_splits(folder: Folder) -> str:
    reason = "photos without a class" if split_of(folder.name) else "beside the split folders"
    files = sum(1 for _ in folder.files_below())
    return rule_text(reason if folder.holds_photos else "folder without a photo", f"{files} files")


def given_splits(folder: Folder) -> list[SplitFolder]:
    """Return the folders of class folders that are named after splits, training first; none if there are none.

    Raises:
        UserError: see `find_layout`.
    """
    named = [(split_of(below.name), below) for below in folder.subfolders() if split_of(below.name)]
    if not named:
        return []
    roots = [SplitFolder(_unwrapped(below), split) for split, below in named]
    labels = {root: _labels(root.folder) for root in roots}
    labelled = [root for root in roots if labels[root]]
    others = [below for below in folder.photo_folders if not split_of(below.name)]
    if len({split for split, _ in named}) == 1 and len(named) > 1:
        return []  # classes again: covid test, pregnancy test
    if not labelled:
        if not others and len(roots) > 1:
            raise _unclear(folder, [below for _, below in named], "hold photos that are in no class folder")
        return []  # classes that happen to be called so: buses, cars, trains
    known = set[str]().union(*(labels[root] for root in labelled if root.split == TRAIN))
    if not known:
        found = set[str]().union(*labels.values())
        if others and not any(_labels(_unwrapped(below)) & found for below in others):
            return []  # again: test tubes, with folders in them
        raise _unclear(folder, [root.folder for root in labelled], "would not be for training")
    given = [root for root in labelled if labels[root] & known or len(labels[root]) > 1]
    for split in SPLIT_ORDER:
        same = [root.folder for root in given if root.split == split]
        if len(same) > 1:
            raise _unclear(folder, same, f"are named after one split, {split}")
    if len(named) == 1:
        if others:
            raise _unclear(folder, [named[0][1]], f"is named after a split, unlike {_names(others)} beside it")
        return []  # it wraps the class folders
    return sorted(given, key=lambda root: SPLIT_ORDER.index(root.split))


def _refuse_splits_below(folder: Folder) -> None:
    for outer in folder.subfolders():
        inner = _unwrapped(outer)
        named = {split_of(below.name): below for below in inner.subfolders() if split_of(below.name)}
        if TRAIN in named and len(named) > 1:
            labels = [_labels(_unwrapped(below)) for below in named.values()]
            if len(set.intersection(*labels)) > 1:
                raise UserError(
                    f"data={folder.path} must hold class folders, got {outer.name!r}, which holds split folders of "
                    f"its own ({_names(list(named.values()))}; try data={inner.path})"
                )


def _splits_inside(folder: Folder) -> dict[str, str]:
    """Return name -> split of the folders in the class folders, if these hold given splits, none if they do not.

    Raises:
        UserError: some class folders do, and there are photos beside the splits.
    """
    splits: dict[str, str] = {}
    irregular: list[Folder] = []
    is_given = False
    for class_folder in folder.photo_folders:
        named = {below.name: split_of(below.name) for below in class_folder.photo_folders}
        is_given |= len({split for split in named.values() if split}) > 1
        if TRAIN not in named.values() or not all(named.values()) or _has_candidates(class_folder):
            irregular.append(class_folder)
        splits |= named
    if is_given and irregular:
        raise UserError(
            f"data={folder.path} must have all photos of every class in folders for train, val and test if some "
            f"classes have them there, got others in {_names(irregular)} (move them, or list the photos in a table "
            "with the columns path, label and split)"
        )
    return splits if is_given else {}


def _has_candidates(folder: Folder) -> bool:
    return not all(hidden_reason(name) or side_file_reason(folder.path, name) for name in folder.files)


def split_of(name: str) -> str:
    """Return the split that a folder is named after, as in ``Train``, ``seg_test`` or ``training_set``, or nothing."""
    found = {SPLIT_NAMES[word] for word in re.split(r"[^a-z]+", name.lower()) if word in SPLIT_NAMES}
    return found.pop() if len(found) == 1 else ""


def _unwrapped(folder: Folder) -> Folder:
    """Return the folder of the class folders of one split; ``seg_train/seg_train/CLASS`` is not unusual."""
    while len(folder.photo_folders) == 1 and folder.photo_folders[0].photo_folders:
        folder = folder.photo_folders[0]
    return folder


def _labels(folder: Folder) -> set[str]:
    return {name_key(below.name) for below in folder.photo_folders}


def name_key(name: str) -> str:
    """Return what stays of a class name without case, Unicode form and blanks; equal keys are easily confused."""
    folded = unicodedata.normalize("NFC", unicodedata.normalize("NFC", name).casefold())
    return "".join(letter for letter in folded if not letter.isspace() and unicodedata.category(letter) != "Cf")


def _names(folders: Sequence[Folder]) -> str:
    return " and ".join(repr(folder.name) for folder in folders[:3]) + (" and others" if len(folders) > 3 else "")


def _unclear(folder: Folder, inner: Sequence[Folder], problem: str) -> UserError:
    names = _names([Folder(folder.path / some.path.relative_to(folder.path).parts[0]) for some in inner])
    return UserError(
        f"data={folder.path} must say which photos are for training, got {names}, which {problem} "
        f"({EXPECTED.format(folder.path)}; or rename the folder, give the right one as data, or list the "
        "photos in a table with the columns path, label and split)"
    )
