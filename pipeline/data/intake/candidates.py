"""A folder of class folders, or a table -> the candidate photos, each with its label, and the ignored files.

Owns how a path becomes a candidate and its label, and applies the rules of `rules.py` that concern names and paths.
Does not own whether the bytes are a photo (`decode`).
"""

from __future__ import annotations

import os
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence, Set
from pathlib import Path
from typing import TYPE_CHECKING, NamedTuple

from pipeline.config import UserError
from pipeline.data.class_columns import ANSWER_COLUMNS
from pipeline.data.intake.layout import SPLIT_ORDER, TRAIN, Layout, SplitFolder, find_layout, name_key
from pipeline.data.intake.remarks import (
    confusable_remarks,
    found_in,
    ignored_folders_remark,
    nested_remark,
    splits_remark,
)
from pipeline.data.intake.side_files import (
    files_below,
    hidden_reason,
    holds_photos,
    is_folder,
    side_file_reason,
    subfolders,
)
from pipeline.data.rule_versions import NEWEST
from pipeline.data.rules import rule_text

if TYPE_CHECKING:
    import pandas as pd


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
    """All files of a folder or table: candidates in the order of their paths, or of the table, and the ignored ones.

    ``remarks`` are lines for the user on how the folder or table was understood.
    """

    photos: list[Candidate]
    ignored: list[Ignored]
    remarks: tuple[str, ...] = ()


def photos_in_table(table: pd.DataFrame, folder: Path, classes: Sequence[str]) -> ScanResult:
    """Return the photos of a table (see `tables.read_table`), in its order, with paths relative to ``folder``."""
    present = sorted(set(table["label"]))
    selected = _select_classes(present, classes, str(folder), lambda: "the classes are those of the column label")
    photos, ignored = [], []
    for row in table.itertuples():
        if row.label in selected:
            photos.append(Candidate(folder / row.path, row.label, split=row.split, group=row.group))
        else:
            ignored.append(Ignored(folder / row.path, row.label, rule_text("class not wanted")))
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
    layout = find_layout(folder) if version > 1 else Layout([SplitFolder(folder)], {})
    ignored = [Ignored(path, "", reason) for path, reason in layout.ignored.items()]
    files: dict[str, list[Candidate]] = {}
    class_folders: list[Path] = []
    renamed: list[str] = []
    for root in layout.roots:
        found, beside = _class_folders(root.folder, version)
        ignored += beside
        class_folders += found.values()
        for name, class_folder in found.items():
            label = _known_as(name, files) if root.split else name
            renamed += [f"{class_folder.relative_to(folder)} is taken for {label!r}"] * (label != name)
            photos, passed_over = _files_of(class_folder, label, root, folder, version)
            files.setdefault(label, []).extend(photos)
            ignored += passed_over
    present = sorted(label for label in files if files[label])
    selected = _select_classes(
        present, classes, str(folder), lambda: f"expected {folder}/CLASS/photo.jpg; {found_in(folder)}"
    )
    for label in sorted(set(files).difference(selected)):
        ignored += [Ignored(photo.path, label, rule_text("class not wanted")) for photo in files[label]]
    photos = [photo for label in selected for photo in files[label]]
    given = {root.split: root.folder.relative_to(folder).parts[0] for root in layout.roots if root.split}
    if layout.splits_inside:
        photos = [
            photo._replace(split=layout.splits_inside[photo.path.relative_to(folder).parts[1]]) for photo in photos
        ]
        given = {split: name for split in SPLIT_ORDER for name, found in layout.splits_inside.items() if found == split}
    _check_classes_can_be_learned(photos, given, folder)
    remarks = [
        *([splits_remark(given)] if given else []),
        *ignored_folders_remark(layout.ignored),
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
    class_folder: Path, label: str, root: SplitFolder, folder: Path, version: int
) -> tuple[list[Candidate], list[Ignored]]:
    """Return the candidates below one class folder, and what is ignored there."""
    photos, ignored = [], []
    for path, is_link, reason in _walk(class_folder, version):
        if reason:
            ignored.append(Ignored(path, label, reason))
        else:
            photos.append(Candidate(path, label, split=root.split, note=_link_note(path, folder) if is_link else ""))
    if not photos:
        ignored.append(Ignored(class_folder, label, rule_text("class without a file")))
    return photos, ignored


def _class_folders(folder: Path, version: int) -> tuple[dict[str, Path], list[Ignored]]:
    """Return the class folders by label, and the ignored entries beside them."""
    names = _subfolders(folder, version)
    class_folders, ignored = {}, []
    for entry in sorted(os.scandir(folder), key=lambda entry: entry.name):
        path = folder / entry.name
        if entry.name in names:
            reason = _rejection_reason(path, names - {entry.name}, version)
        else:
            reason = hidden_reason(entry.name, version) or rule_text("beside the class folders")
        if reason:
            ignored.append(Ignored(path, "", reason))
        else:
            class_folders[printable(entry.name)] = path
    without = [label for label, path in class_folders.items() if any(files_below(path)) and not holds_photos(path)]
    if version > 1 and len(without) < len(class_folders):
        ignored += [Ignored(class_folders.pop(label), "", rule_text("folder without a photo")) for label in without]
    return class_folders, ignored


def _subfolders(folder: Path, version: int) -> set[str]:
    return {path.name for path in subfolders(folder, version)}


def _rejection_reason(folder: Path, others: Set[str], version: int) -> str:
    """Return why a folder beside ``others`` is not a class folder, or an empty string."""
    if folder.is_symlink() and folder.parent.resolve().is_relative_to(folder.resolve()):
        return rule_text("link to a folder", "that it is in")
    inside = _subfolders(folder, version)
    return rule_text("repeats the class folders") if len(inside) > 1 and inside <= others else ""


def _walk(folder: Path, version: int) -> Iterator[tuple[Path, bool, str]]:
    """Yield each path below a class folder, whether it is a link, and the reason to ignore it, empty for a candidate.

    Files come before the folders beside them, and both by name. A folder that cannot be listed is a candidate, which
    `digest_cache` refuses by name; version 1 passed it over.
    """
    try:
        with os.scandir(folder) as listing:
            entries = sorted(listing, key=lambda entry: entry.name)
    except OSError:
        if version > 1:
            yield folder, False, ""
        return
    folders = {entry.name for entry in entries if is_folder(entry)}
    below = []
    for entry in entries:
        if entry.name in folders:
            path, is_link = folder / entry.name, entry.is_symlink()
            if reason := hidden_reason(entry.name, version) or (rule_text("link to a folder") if is_link else ""):
                yield path, is_link, reason
            else:
                below.append(path)
    for entry in entries:
        if entry.name not in folders:
            path = folder / entry.name
            reason = hidden_reason(entry.name, version) or (side_file_reason(path) if version > 1 else "")
            yield path, entry.is_symlink(), reason
    for path in below:
        yield from _walk(path, version)


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
            f"({'which may be any of' if alike else 'there are'}: {', '.join(alike or present) or 'none'})"
        )
    return alike[0]


def _check_classes_can_be_learned(photos: Sequence[Candidate], given: Mapping[str, str], folder: Path) -> None:
    """Raise UserError if given splits leave a class without a training photo."""
    if not given:
        return
    labels = {split: {photo.label for photo in photos if photo.split == split} for split in given}
    if missing := sorted(set().union(*labels.values()) - labels[TRAIN]):
        raise UserError(
            f"every class must have photos in {folder / given[TRAIN]}, got none of {', '.join(map(repr, missing))}, "
            "which other splits have (add or rename the folders, or choose classes=...)"
        )


def printable(path: str | Path) -> str:
    """Return a path as printable, storable text, even if the file name is not UTF-8."""
    return os.fsencode(path).decode("utf-8", "backslashreplace")


def photo_name(source: Path, path: Path) -> str:
    """Return a photo's name: its path relative to the source, or its full path if it lies elsewhere."""
    full, inside = str(path), f"{source}{os.sep}"  # pathlib's relative_to takes ten times as long
    return printable(full.removeprefix(inside) if full.startswith(inside) else full).replace(os.sep, "/")
