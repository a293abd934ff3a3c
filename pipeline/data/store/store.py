"""The prepared store: photos decoded once into uint8 arrays on disk, one file per split, and a manifest.

A store is the folder ``prepared/<digest>``. The digest covers the photos' names, labels and bytes, the data flags, and
the format, so equal input always finds its store again. A store is written to a draft beside its final path and renamed
when complete, under a lock, so that killed or concurrent processes do no harm. Its checksums detect damage.
"""

from __future__ import annotations

import json
import shutil
from collections.abc import Sequence
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from tempfile import TemporaryFile
from typing import Any, NamedTuple

import numpy as np
import pandas as pd

from pipeline.config import DATA_FOLDER, FROM_SCRATCH, DataConfig, UserError
from pipeline.data.intake import (
    Candidate,
    Ignored,
    ScanResult,
    add_digests,
    exclude_photos,
    find_photos,
    photos_in_table,
    read_table,
)
from pipeline.data.pixels import check_ops
from pipeline.data.rule_versions import HISTORY, RuleVersions
from pipeline.data.sources import Source, photo_source
from pipeline.data.splits import SPLITS
from pipeline.data.store.integrity import damaged_files
from pipeline.data.store.kept_photos import DRAFT_SUFFIX, SHARDS, describe_draft, lock_of, take_over
from pipeline.data.store.preparation import can_read_more, store_digest, write_store
from pipeline.data.store.too_few import TooFewPhotos

HELD_OUT = "test"
UNREAD_FILES = (f"{HELD_OUT}.npy",)  # not read without need, not even for a checksum
DIGEST_CACHE = "photo-digests.sqlite"
COPIED = 1024  # photos at a time
IMBALANCED = 3  # times as many training photos in one class as in another


@dataclass(frozen=True)
class HeldOutPhotos:
    """Photos of the test split: prepared uint8 RGB (n, side, side, 3), class indices (n,), and the manifest's rows.

    ``store`` has prepared them.
    """

    images: np.ndarray
    labels: np.ndarray
    rows: pd.DataFrame
    store: Store

    @property
    def groups(self) -> np.ndarray:
        """Ids (n,), equal for near-duplicate photos."""
        return self.rows["group"].to_numpy()

    @property
    def files(self) -> list[Path]:
        """The original photos."""
        return [self.store.source / path for path in self.rows["path"]]

    def only(self, kept: np.ndarray, class_names: Sequence[str] = ()) -> HeldOutPhotos:
        """Return the photos that are ``kept``, bool (n,), with the labels of ``class_names`` if these are given.

        The pixels of the others are left out in a file of their own, which nothing names: they may not fit into memory.
        """
        rows = self.rows[kept].reset_index(drop=True)
        labels = rows["label"].map(list(class_names).index).to_numpy(np.int64) if class_names else self.labels[kept]
        if kept.all():
            return HeldOutPhotos(self.images, labels, rows, self.store)
        places = np.flatnonzero(kept)
        with TemporaryFile() as file:
            images = np.memmap(file, np.uint8, shape=(len(places), *self.images.shape[1:]))
            for start in range(0, len(places), COPIED):
                images[start : start + COPIED] = self.images[places[start : start + COPIED]]
        return HeldOutPhotos(images, labels, rows, self.store)


@dataclass(frozen=True)
class Store:
    """Prepared photos. Each split's array is opened on first access."""

    folder: Path
    source: Path
    reused: bool
    damaged: tuple[str, ...] = ()  # files of the previous store whose damage caused it to be rebuilt
    ignored: tuple[Ignored, ...] = ()  # files and folders that this call ignored
    remarks: tuple[str, ...] = ()  # lines for the user on how the folder or table was understood
    has_given_splits: bool = False  # by the user, so that split_seed draws none

    @property
    def digest(self) -> str:
        """Hexadecimal SHA-256 over the photos and the data flags."""
        return self.folder.name

    @cached_property
    def manifest(self) -> pd.DataFrame:
        """One row per photo.

        path, label, class_index, split, row, sha256, group, width, height, notes, and the pixels and phash of its
        `fingerprints.Fingerprint`.
        """
        return pd.read_parquet(self.folder / "manifest.parquet")

    @cached_property
    def quarantined(self) -> pd.DataFrame:
        """One row per unusable file: path, label, reason, thumbnail (base64 JPEG, or empty)."""
        return pd.read_parquet(self.folder / "quarantined.parquet")

    @cached_property
    def duplicates(self) -> pd.DataFrame:
        """One row per pair of photos that show the same picture (see `grouping.GroupedPhotos`)."""
        return pd.read_parquet(self.folder / "duplicates.parquet")

    @cached_property
    def class_names(self) -> tuple[str, ...]:
        """The class names, in the order of the network's outputs."""
        return tuple(self._description["class_names"])

    @cached_property
    def rule_versions(self) -> RuleVersions:
        """The versions of the rules it was prepared by."""
        return RuleVersions.from_record(self._description.get("rules", {}))

    @property
    def notes(self) -> tuple[str, ...]:
        """What is to be known of its groups and splits (see `grouping.GroupedPhotos`)."""
        return tuple(self._description.get("notes", ()))

    @cached_property
    def _description(self) -> dict[str, Any]:
        return dict(json.loads((self.folder / "store.json").read_text()))

    def images(self, split: str) -> np.ndarray:
        """Memory-mapped uint8 RGB of shape (n, image_size, image_size, 3), opened once; train or validation."""
        return self._array(_not_held_out(split))

    def labels(self, split: str) -> np.ndarray:
        """Class indices, int64 of shape (n,), in the order of `images`; train or validation."""
        return _class_indices(self.rows(split))

    def rows(self, split: str) -> pd.DataFrame:
        """The manifest of one split, in the order of `images`; train or validation."""
        return self._rows(_not_held_out(split))

    def held_out_photos(self) -> HeldOutPhotos:
        """Return the test split, which only the evaluation of a finished model may read."""
        rows = self._rows(HELD_OUT)
        return HeldOutPhotos(self._array(HELD_OUT), _class_indices(rows), rows, self)

    def _array(self, split: str) -> np.ndarray:
        if split not in self._opened:
            self._opened[split] = np.load(self.folder / f"{split}.npy", mmap_mode="r")
        return self._opened[split]

    @cached_property
    def _opened(self) -> dict[str, np.ndarray]:
        return {}

    def _rows(self, split: str) -> pd.DataFrame:
        return self.manifest[self.manifest["split"] == split].sort_values("row").reset_index(drop=True)

    def class_counts(self) -> pd.DataFrame:
        """Photos per class (index) and split (columns)."""
        counts = self.manifest.groupby(["label", "split"]).size().unstack(fill_value=0)
        return counts.reindex(index=list(self.class_names), columns=list(SPLITS), fill_value=0)

    @property
    def imbalance(self) -> Imbalance | None:
        """The largest and the smallest class where they differ so much that training should mind, or None."""
        counts = self.class_counts()["train"]
        counts = counts[counts > 0]
        if counts.max() < IMBALANCED * counts.min():
            return None
        names = [name if name.isprintable() else repr(name) for name in (str(counts.idxmax()), str(counts.idxmin()))]
        return Imbalance(names[0], names[1], int(counts.max()), int(counts.min()))


class Imbalance(NamedTuple):
    """The largest and the smallest class, by their training photos."""

    largest: str
    smallest: str
    most: int
    fewest: int

    def __str__(self) -> str:
        return (
            f"the largest class, {self.largest}, has {self.most / self.fewest:.0f} times the training photos of the "
            f"smallest, {self.smallest} ({self.most:,} and {self.fewest:,})"
        )


def _not_held_out(split: str) -> str:
    assert split != HELD_OUT, "the test split is read by held_out_photos alone"
    return split


def _class_indices(rows: pd.DataFrame) -> np.ndarray:
    return rows["class_index"].to_numpy(np.int64)


def is_undamaged(folder: Path) -> bool:
    """Return whether a folder of ``prepared`` holds a store with no missing or changed file, large ones by size.

    Raises OSError if the folder cannot be read.
    """
    return not damaged_files(folder, thorough=False, size_only=UNREAD_FILES)


def prepared_store(
    config: DataConfig, data_folder: Path = DATA_FOLDER, thorough: bool = False, rules: RuleVersions | None = None
) -> Store:
    """Return the store for these data flags; build it if there is none yet, or if it is damaged.

    Args:
        config: the data flags; with an ``image_size`` that nobody has chosen, the photos are as for random weights.
        data_folder: the folder of downloaded and prepared photos.
        thorough: also compare the checksums of large files and of the test split before reusing a store.
        rules: the rule versions to prepare by, such as a model's own; None for those of the existing store, or the
            newest.

    Raises:
        UserError: the photos cannot be found or split into three parts with every class in each, or the disk is full.
    """
    check_ops(config.image_ops)
    config = config.model_copy(update={"image_size": config.image_size or FROM_SCRATCH["image_size"]})
    source = photo_source(config.data, data_folder / "raw")
    prepared = data_folder / "prepared"
    versions = [rules] if rules else list(reversed(HISTORY))
    rules, scan, digest = _rules_and_photos(config, source, data_folder, versions)
    folder = prepared / digest
    try:
        prepared.mkdir(parents=True, exist_ok=True)
        with lock_of(folder):
            damaged = tuple(damaged_files(folder, thorough, UNREAD_FILES)) if folder.is_dir() else ()
            reused = (
                folder.is_dir() and not damaged and not can_read_more(folder, config, source.folder, scan.photos, rules)
            )
            if not reused:
                _build(folder, config, source.folder, scan.photos, rules)
    except TooFewPhotos as error:
        error.source, error.digest, error.ignored = source.folder, folder.name, tuple(scan.ignored)
        raise
    except OSError as error:
        raise UserError(
            f"prepared photos must fit into {prepared}, got {error.strerror or error} (free up space or allow writing, "
            "and run the same command again: it continues with what is there)"
        ) from error
    is_given = scan.photos.distinct("split") > {("",)}
    return Store(folder, source.folder, reused, damaged, tuple(scan.ignored), scan.remarks, is_given)


def recorded_manifest(digest: str, data_folder: Path = DATA_FOLDER) -> pd.DataFrame | None:
    """Return the manifest of a store that was prepared earlier, by its digest, if it is still there and undamaged."""
    folder = data_folder / "prepared" / digest
    return Store(folder, folder, reused=True).manifest if folder.is_dir() and is_undamaged(folder) else None


def _rules_and_photos(
    config: DataConfig, source: Source, data_folder: Path, versions: Sequence[RuleVersions]
) -> tuple[RuleVersions, ScanResult, str]:
    """Return the first versions by which there is a store, or the first, the photos as these find them, the digest."""
    prepared = data_folder / "prepared"
    newest = _digested_photos(config, source, data_folder, versions[0].intake)
    newest_digest = store_digest(config, source.folder, newest.photos, versions[0])
    if not prepared.is_dir() or (prepared / newest_digest).is_dir():
        return versions[0], newest, newest_digest
    scans = {versions[0].intake: newest}
    # An earlier version took folders that are named after splits for classes: its store is not what is meant.
    has_given_splits = not source.table and newest.photos.distinct("split") > {("",)}
    for version in () if has_given_splits else versions[1:]:
        if version.intake not in scans:
            try:
                scans[version.intake] = _digested_photos(config, source, data_folder, version.intake)
            except UserError:  # what an earlier version refused, it has no store of
                continue
        digest = store_digest(config, source.folder, scans[version.intake].photos, version)
        if (prepared / digest).is_dir():
            return version, scans[version.intake], digest
    return versions[0], newest, newest_digest


def _digested_photos(config: DataConfig, source: Source, data_folder: Path, version: int) -> ScanResult:
    if source.table:
        scan = photos_in_table(read_table(source.table, version), source.folder, config.classes)
    else:
        scan = find_photos(source.folder, config.classes, version)
    scan = exclude_photos(scan, config.exclude, source.folder)
    wrapping = [Ignored(path, "", reason) for path, reason in source.beside.items()]
    return scan._replace(
        photos=add_digests(scan.photos, data_folder / DIGEST_CACHE), ignored=[*wrapping, *scan.ignored]
    )


def _build(
    folder: Path, config: DataConfig, source: Path, candidates: Sequence[Candidate], rules: RuleVersions
) -> None:
    """Write a store to a draft beside its final path, then rename it over any existing store.

    A kill, an interruption, a full disk or a class with too few photos leaves the draft, and the next call resumes it
    or takes over what it holds.
    """
    draft = folder.with_name(folder.name + DRAFT_SUFFIX)
    (draft / SHARDS).mkdir(parents=True, exist_ok=True)
    try:
        take_over(draft, config, candidates, rules)
        describe_draft(draft, config, candidates, rules)
        write_store(draft, config, source, candidates, rules)
    except (OSError, KeyboardInterrupt, UserError):
        raise
    except BaseException:
        shutil.rmtree(draft)
        raise
    if folder.is_dir():
        shutil.rmtree(folder)  # a cache: a damaged store is rebuilt
    draft.replace(folder)
