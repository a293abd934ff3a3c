"""A folder of class folders, or a table -> the candidate photos, each with its label, and the ignored files.

Owns how a path becomes a candidate and its label, and applies the rules of `rules.py` that concern names and paths.
Does not own whether the bytes are a photo (`decode`).
"""

from __future__ import annotations

import os
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence, Set
from functools import partial
from itertools import chain
from pathlib import Path
from typing import TYPE_CHECKING, NamedTuple

from pipeline.config import UserError
from pipeline.data.class_columns import ANSWER_COLUMNS
from pipeline.data.intake.folders import Folder
from pipeline.data.intake.layout import SPLIT_ORDER, TRAIN, Layout, SplitFolder, find_layout, name_key
from pipeline.data.intake.photos import Photos, Row, printable
from pipeline.data.intake.remarks import (
    ARCHIVE_OF_CLASS,
    ARCHIVE_SUFFIXES,
    archives_remark,
    confusable_remarks,
    found_in,
    ignored_folders_remark,
    nested_remark,
    splits_remark,
)
from pipeline.data.intake.side_files import hidden_reason, side_file_reason
from pipeline.data.rule_versions import NEWEST
from pipeline.data.rules import rule_text

if TYPE_CHECKING:
    import pandas as pd


class Ignored(NamedTuple):
    """A file or folder that is ignored, and why."""

    path: Path
    label: str
    reason: str


class ScanResult(NamedTuple):
    """All files of a folder or table: candidates in the order of their paths, or of the table, and the ignored ones.

    ``remarks`` are lines for the user on how the folder or table was understood.
    """

    photos: Photos
    ignored: list[Ignored]
    remarks: tuple[str, ...] = ()


def photos_in_table(table: pd.DataFrame, folder: Path, classes: Sequence[str]) -> ScanResult:
    """Return the photos of a table (see `tables.read_table`), in its order, with paths relative to ``folder``."""
    present = sorted(set(table["label"]))
    selected = _select_classes(present, classes, str(folder), lambda: "the classes are those of the column label")
    is_wanted = table["label"].isin(selected)
    photos = Photos.of_rows(
        Row(*os.path.split(folder / row.path), row.label, split=row.split, group=row.group)
        for row in table[is_wanted].itertuples()
    )
    ignored = [
        Ignored(folder / row.path, row.label, rule_text("class not wanted")) for row in table[~is_wanted].itertuples()
    ]
    remarks = confusable_remarks(selected)
    if table["split"].any():
        remarks = [splits_remark({split: "" for split in SPLIT_ORDER if split in set(table["split"])}), *remarks]
    return ScanResult(photos, ignored, tuple(remarks))


def find_photos(folder: Path, classes: Sequence[str], version: int = NEWEST.intake) -> ScanResult:
    """Return every file below the class folders, sorted by path, and everything else as ignored.

    Args:
        folder: holds the class folders, or folders of them that are named after splits.
        classes: the wanted ones; empty for all.
        version: version of the intake rules: with 1, folders named after splits are classes, and every file that is
            not hidden is a candidate.

    Raises:
        UserError: fewer than two classes, a requested class is missing, a class name is reserved, or given splits
            that cannot be taken as such.
    """
    listed = Folder(folder)
    layout = find_layout(listed) if version > 1 else Layout([SplitFolder(listed)], {})
    ignored = [Ignored(path, "", reason) for path, reason in layout.ignored.items()]
    files: dict[str, list[Photos]] = {}
    class_folders: list[Folder] = []
    renamed: list[str] = []
    for root in layout.roots:
        found, beside = _class_folders(root.folder, version)
        ignored += beside
        class_folders += found.values()
        for name, class_folder in found.items():
            label = _known_as(name, files) if root.split else name
            renamed += [f"{class_folder.path.relative_to(folder)} is taken for {label!r}"] * (label != name)
            split_in = partial(_split_inside, class_folder, layout.splits_inside or {"": root.split})
            photos, passed_over = _files_of(class_folder, label, split_in, folder, version)
            files.setdefault(label, []).append(photos)
            ignored += passed_over
    present = sorted(label for label in files if any(map(len, files[label])))
    selected = _select_classes(
        present, classes, str(folder), lambda: f"expected {folder}/CLASS/photo.jpg; {found_in(folder)}"
    )
    for label in sorted(set(files).difference(selected)):
        ignored += [Ignored(photo.path, label, rule_text("class not wanted")) for photo in chain(*files[label])]
    photos = Photos.joined(part for label in selected for part in files[label])
    given = {root.split: root.folder.path.relative_to(folder).parts[0] for root in layout.roots if root.split}
    if layout.splits_inside:
        given = {split: name for split in SPLIT_ORDER for name, found in layout.splits_inside.items() if found == split}
    _check_classes_can_be_learned(photos, given, folder)
    remarks = [
        *([splits_remark(given)] if given else []),
        *ignored_folders_remark(layout.ignored),
        *archives_remark((entry.path, entry.reason) for entry in ignored),
        *([] if given else nested_remark(class_folders)),
        *renamed,
        *confusable_remarks(selected),
    ]
    return ScanResult(photos, ignored, tuple(remarks) if version > 1 else ())


def _known_as(name: str, labels: Iterable[str]) -> str:
    """Return the class of another split that a folder means, whose name may have another case or Unicode form."""
    alike = [label for label in labels if name_key(label) == name_key(name)]
    return alike[0] if len(alike) == 1 and name not in labels else name


def _files_of(
    class_folder: Folder, label: str, split_in: Callable[[str], str], folder: Path, version: int
) -> tuple[Photos, list[Ignored]]:
    """Return the candidates below one class folder, and what is ignored there."""
    ignored: list[Ignored] = []

    def rows() -> Iterator[Row]:
        for place, name, is_link, reason in _walk(class_folder, version):
            if reason:
                ignored.append(Ignored(Path(place, name), label, reason))
            else:
                note = _link_note(Path(place, name), folder) if is_link else ""
                yield Row(place, name, label, split=split_in(place), note=note)

    photos = Photos.of_rows(rows())
    if not photos:
        ignored.append(Ignored(class_folder.path, label, rule_text("class without a file")))
    return photos, ignored


def _split_inside(class_folder: Folder, splits: Mapping[str, str], place: str) -> str:
    """Return the split of what lies at a ``place`` in a class folder: that of the folder in it, or of the one split."""
    if "" in splits:
        return splits[""]
    return splits.get(next(iter(Path(place).relative_to(class_folder.path).parts), ""), "")


def _class_folders(folder: Folder, version: int) -> tuple[dict[str, Folder], list[Ignored]]:
    """Return the class folders by label, and the ignored entries beside them."""
    names = {below.name for below in folder.subfolders(version)}
    class_folders, ignored = {}, []
    for below in folder.folders:
        reason = hidden_reason(below.name, version) or _rejection_reason(below, names - {below.name}, version)
        if reason:
            ignored.append(Ignored(below.path, "", reason))
        else:
            class_folders[printable(below.name)] = below
    for name in folder.files:
        reason = hidden_reason(name, version) or rule_text("beside the class folders")
        ignored.append(Ignored(folder.path / name, "", reason))
    ignored.sort()
    without = [label for label, below in class_folders.items() if any(below.files_below()) and not below.holds_photos]
    if version > 1 and len(without) < len(class_folders):
        ignored += [Ignored(below.path, "", _reason_without(below)) for below in map(class_folders.pop, without)]
    return class_folders, ignored


def _reason_without(folder: Folder) -> str:
    """Return why a folder without a photo is no class: it may hold an archive of the class's photos."""
    archive = next((name for _, name in folder.files_below() if name.lower().endswith(ARCHIVE_SUFFIXES)), "")
    return rule_text("folder without a photo", archive and f"{ARCHIVE_OF_CLASS} {archive}")


def _rejection_reason(folder: Folder, others: Set[str], version: int) -> str:
    """Return why a folder beside ``others`` is not a class folder, or an empty string."""
    if folder.is_link and folder.path.parent.resolve().is_relative_to(folder.path.resolve()):
        return rule_text("link to a folder", "that it is in")
    inside = {below.name for below in folder.subfolders(version)}
    return rule_text("repeats the class folders") if len(inside) > 1 and inside <= others else ""


def _walk(folder: Folder, version: int) -> Iterator[tuple[str, str, bool, str]]:
    """Yield folder and name of what lies below a class folder, whether it is a link, and why it is ignored, or nothing.

    Files come before the folders beside them, and both by name. A folder that cannot be listed is a candidate, which
    `digest_cache` refuses by name; version 1 passed it over.
    """
    try:
        folders, files = folder.folders, folder.files
    except OSError:
        if version > 1:
            yield str(folder.path.parent), folder.name, False, ""
        return
    place = str(folder.path)
    below = []
    for inner in folders:
        if reason := hidden_reason(inner.name, version) or (rule_text("link to a folder") if inner.is_link else ""):
            yield place, inner.name, inner.is_link, reason
        else:
            below.append(inner)
    for name in files:
        reason = hidden_reason(name, version) or (side_file_reason(folder.path, name) if version > 1 else "")
        yield place, name, name in folder.links, reason
    for inner in below:
        yield from _walk(inner, version)


def _link_note(path: Path, folder: Path) -> str:
    try:
        inside = path.resolve(strict=True).is_relative_to(folder.resolve())
    except (OSError, RuntimeError):  # dangling or circular link: reading it reports the error
        return ""
    return "" if inside else rule_text("link out of the folder")


def _select_classes(
    present: list[str], classes: Sequence[str], folder_text: str, about: Callable[[], str]
) -> list[str]:
    selected = sorted({_named_class(name, present, folder_text) for name in classes}) if classes else present
    if len(selected) < 2:
        raise UserError(
            "a classifier needs at least two classes, each a folder with photos, got "
            f"{len(selected)} in {folder_text}: {', '.join(map(repr, selected)) or 'no folder with files'} ({about()})"
        )
    if reserved := set(ANSWER_COLUMNS).intersection(selected):
        raise UserError(
            f"a class cannot be named {', '.join(sorted(reserved))}: predictions have columns of that name (rename it)"
        )
    return selected


def _named_class(name: str, present: list[str], folder_text: str) -> str:
    """Return the class that a user calls ``name``, perhaps in another case or Unicode form."""
    if name in present:
        return name
    alike = [label for label in present if name_key(label) == name_key(name)]
    if len(alike) != 1:
        raise UserError(
            f"classes must name folders with photos in {folder_text}, got {name!r} "
            f"({'possible matches' if alike else 'available'}: {', '.join(alike or present) or 'none'})"
        )
    return alike[0]


def _check_classes_can_be_learned(photos: Photos, given: Mapping[str, str], folder: Path) -> None:
    """Raise UserError if given splits leave a class without a training photo."""
    if not given:
        return
    found = photos.distinct("label", "split")
    in_training = {label for label, split in found if split == TRAIN}
    if missing := sorted({label for label, split in found if split in given} - in_training):
        raise UserError(
            f"every class must have photos in {folder / given[TRAIN]}, got none of {', '.join(map(repr, missing))}, "
            "which other splits have (add or rename the folders, or choose classes=...)"
        )
