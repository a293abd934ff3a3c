"""Candidate photos -> the files of a prepared store: decodes, splits and writes. Does not read them (`store.py`)."""

from __future__ import annotations

import contextlib
import hashlib
import json
import shutil
from collections.abc import Callable, Iterator, Sequence
from functools import lru_cache
from pathlib import Path
from tempfile import TemporaryDirectory

import numpy as np
import pandas as pd
import pyarrow as pa
from tqdm import tqdm

from pipeline.config import FIRST_MAX_PIXELS, MAX_PIXELS, DataConfig, identifying_flags
from pipeline.data.intake import Candidate, Photos
from pipeline.data.pixels.shard_processes import write_shards
from pipeline.data.pixels.shards import Shard, complete_shards
from pipeline.data.pixels.thumbnails import thumbnail_of_pixels
from pipeline.data.rule_versions import RuleVersions
from pipeline.data.rules import REASON_SEPARATOR, is_momentary
from pipeline.data.splits import SPLITS, TooFewGroups, group_and_split
from pipeline.data.store.array_file import ArrayFile
from pipeline.data.store.integrity import write_checksums
from pipeline.data.store.kept_photos import CONTENTS, SHARDS
from pipeline.data.store.too_few import TooFewPhotos

FORMAT = 4  # version of the file format; `rule_versions` versions the content
QUARANTINE_COLUMNS = ("path", "label", "reason", "thumbnail")
ABOUT = ("path", "label", "sha256", "split", "group")  # what is known of a photo before it is decoded
NOT_IN_MANIFEST = ("shard", "place", "mirrored_phash", "mirrored_pixels")


def store_digest(config: DataConfig, source: Path, candidates: Sequence[Candidate], rules: RuleVersions) -> str:
    """Return the digest that names the store of these photos and data flags, prepared by these rule versions."""
    options = identifying_flags(config.data_config(), exclude={"data", "exclude"})  # paths: only their content counts
    options["max_pixels"] = _limits_of_rules(config, rules).max_pixels
    # The reason why a file cannot be read is excluded: its wording depends on the system.
    last = [rules.changed] if rules.changed else []
    digest = hashlib.sha256()
    for part in _identity_parts([FORMAT, options], _about(candidates, source), last):
        digest.update(part.encode())
    return digest.hexdigest()


def _identity_parts(
    first: Sequence[object], photos: Iterator[list[list[str]]], last: Sequence[object]
) -> Iterator[str]:
    """Yield the JSON of the list of ``first``, a list of all photos, and ``last``: part by part, as it is large."""
    yield "[" + "".join(f"{json.dumps(value, sort_keys=True)}, " for value in first) + "["
    for number, part in enumerate(photos):
        rows = json.dumps(list(zip(*part, strict=True)))
        yield (", " if number else "") + rows[1:-1]
    yield "]" + "".join(f", {json.dumps(value, sort_keys=True)}" for value in last) + "]"


def _about(candidates: Sequence[Candidate], source: Path) -> Iterator[list[list[str]]]:
    """Yield `ABOUT` of the photos, some at a time, in columns."""
    for part in Photos.of(candidates).batches():
        yield [part.names(source), *(part.column(name) for name in ABOUT[1:])]


def write_store(
    draft: Path, config: DataConfig, source: Path, candidates: Sequence[Candidate], rules: RuleVersions
) -> None:
    """Write the store into ``draft``, resuming from the shards that an interrupted command left there.

    Raises:
        UserError: the photos cannot be split into three parts with every class in each.
        OSError: the disk is full or not writable.
    """
    config = _limits_of_rules(config, rules)
    usable, quarantined = _decode_all(draft / SHARDS, config, source, candidates, rules)
    class_names = sorted(label for (label,) in Photos.of(candidates).distinct("label"))
    photo_of = _photo_reader(draft / SHARDS, usable, config.image_size)
    try:
        photos, duplicates, notes = group_and_split(usable, lambda place: photo_of(place)["grey"], config, rules)
    except TooFewGroups as error:
        short = sorted({*error.labels, *class_names} - (set(usable["label"]) - set(error.labels)))
        rule = f"every class needs at least {error.least} distinct photos, one for each split"
        conflicting = error.photos[error.photos["reason"] != ""].assign(thumbnail="")[list(QUARANTINE_COLUMNS)]
        left_out = pd.concat([quarantined, conflicting], ignore_index=True)
        raise TooFewPhotos(rule, short, error.photos[error.photos["reason"] == ""], left_out) from error
    pa.default_memory_pool().release_unused()  # it would keep for itself what grouping has needed
    leaks = photos[photos["reason"] != ""]
    thumbnails = [thumbnail_of_pixels(photo_of(place)["image"]) for place in leaks.index]
    leaks = leaks.assign(thumbnail=thumbnails)[list(QUARANTINE_COLUMNS)]
    quarantined = pd.concat([quarantined, leaks], ignore_index=True)
    accepted = photos[photos["reason"] == ""].drop(columns="reason").reset_index(drop=True)
    accepted["class_index"] = accepted["label"].map({name: index for index, name in enumerate(class_names)})
    accepted["row"] = accepted.groupby("split").cumcount()
    _check_every_split_has_every_class(accepted, class_names, quarantined)
    sums = _join_shards(draft, accepted, config.image_size)
    accepted.drop(columns=list(NOT_IN_MANIFEST), errors="ignore").to_parquet(draft / "manifest.parquet")
    quarantined.to_parquet(draft / "quarantined.parquet")
    duplicates.to_parquet(draft / "duplicates.parquet")
    description = {"format": FORMAT, "class_names": class_names, "data": config.data_config().model_dump()}
    description |= {"rules": rules.changed, "notes": notes} if rules.changed else {}
    (draft / "store.json").write_text(json.dumps(description, indent=2))
    (draft / CONTENTS).unlink()
    write_checksums(draft, sums)


def can_read_more(
    store: Path, config: DataConfig, source: Path, candidates: Sequence[Candidate], rules: RuleVersions
) -> bool:
    """Return whether a photo that a fault of the moment kept out of a store has another outcome now."""
    quarantined = pd.read_parquet(store / "quarantined.parquet", columns=["path", "reason"])
    names = set(quarantined["path"][[is_momentary(reason) for reason in quarantined["reason"]]])
    if not names:
        return False
    photos = Photos.of(candidates)
    is_named = np.array([name in names for part in photos.batches() for name in part.names(source)], bool)
    retried = [photo for photo in photos.kept(is_named) if not photo.problem]
    if not retried:
        return False
    with TemporaryDirectory(dir=store.parent) as folder:
        shards = write_shards(Path(folder), retried, config, rules.pixels)
        return any(not is_momentary(record["reason"]) for shard in shards for record in shard.records())


def _limits_of_rules(config: DataConfig, rules: RuleVersions) -> DataConfig:
    """Return the data flags as these rules mean them: the first ones came with a smaller default of max_pixels."""
    is_first_default = rules.pixels == 1 and config.max_pixels == MAX_PIXELS
    return config.model_copy(update={"max_pixels": FIRST_MAX_PIXELS}) if is_first_default else config


def _decode_all(
    folder: Path, config: DataConfig, source: Path, candidates: Sequence[Candidate], rules: RuleVersions
) -> tuple[pd.DataFrame, pd.DataFrame]:
    """Write all shards; return the table of usable photos, with their index in their shard, and that of the others."""
    tables: dict[int, pd.DataFrame] = {}
    with tqdm(total=len(candidates), desc="preparing", unit="photo", disable=None) as bar:
        for shard in write_shards(folder, candidates, config, rules.pixels):
            tables[shard.number] = _record_table(shard)
            bar.update(len(tables[shard.number]))
    records = pd.concat([tables.pop(number) for number in sorted(tables)], ignore_index=True)
    about = [pd.DataFrame(dict(zip(ABOUT, part, strict=True))) for part in _about(candidates, source)]
    table = pd.concat([pd.concat(about, ignore_index=True), records], axis=1)
    usable = table["reason"] == ""
    accepted = table[usable].drop(columns=["reason", "thumbnail"]).reset_index(drop=True)
    accepted["place"] = accepted.groupby("shard").cumcount()
    return accepted, table.loc[~usable, list(QUARANTINE_COLUMNS)].reset_index(drop=True)


def _record_table(shard: Shard) -> pd.DataFrame:
    """Return the records of a complete shard."""
    table = pd.DataFrame(shard.records())
    table["notes"] = [REASON_SEPARATOR.join(notes) for notes in table["notes"]]
    return table.astype({"phash": np.uint64, "mirrored_phash": np.uint64}).assign(shard=shard.number)


def _photo_reader(folder: Path, photos: pd.DataFrame, image_size: int) -> Callable[[int], np.void]:
    """Return a function that reads the photo of a row from its shard, as `shards.photo_dtype`."""

    @lru_cache(maxsize=64)  # each keeps a file open
    def shard(number: int) -> np.ndarray:
        return Shard(folder, number, token="").photos(image_size)

    places = photos[["shard", "place"]].to_numpy()
    return lambda row: shard(int(places[row, 0]))[places[row, 1]]


def _join_shards(draft: Path, accepted: pd.DataFrame, image_size: int) -> dict[str, str]:
    """Write each split's pixels into one array, and return the checksums of these files by name.

    Each shard is deleted as soon as it is copied, so that no second copy is kept.
    """
    with contextlib.ExitStack() as files:
        shape = (image_size, image_size, 3)
        rows = accepted["split"].value_counts()
        arrays = {
            split: files.enter_context(ArrayFile(draft / f"{split}.npy", int(rows[split]), shape)) for split in SPLITS
        }
        rows_of = accepted.groupby("shard").indices
        for shard in complete_shards(draft / SHARDS):
            images = shard.photos(image_size)["image"]
            for split, place in accepted.loc[rows_of.get(shard.number, ()), ["split", "place"]].itertuples(index=False):
                arrays[split].append(images[place])
            shard.remove()
        sums = {f"{split}.npy": array.close() for split, array in arrays.items()}
    shutil.rmtree(draft / SHARDS)
    return sums


def _check_every_split_has_every_class(
    photos: pd.DataFrame, class_names: Sequence[str], quarantined: pd.DataFrame
) -> None:
    counts = photos.groupby(["label", "split"]).size().unstack(fill_value=0)
    counts = counts.reindex(index=list(class_names), columns=list(SPLITS), fill_value=0)
    if short := counts.index[(counts == 0).any(axis=1)].tolist():
        rule = "every class needs a photo that can be used in every split"
        raise TooFewPhotos(rule, short, photos, quarantined)
