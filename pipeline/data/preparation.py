"""Candidate photos -> the files of a prepared store: decoded, split, and written. Reading them is `store.py`'s."""

from __future__ import annotations

import contextlib
import hashlib
import json
import shutil
from collections.abc import Sequence
from pathlib import Path

import pandas as pd
from tqdm import tqdm

from pipeline.config import DataConfig, UserError
from pipeline.data.array_file import ArrayFile
from pipeline.data.checksums import write_checksums
from pipeline.data.intake import Candidate, name_in
from pipeline.data.rules import BETWEEN
from pipeline.data.shard_processes import write_shards
from pipeline.data.shards import written_shards
from pipeline.data.splits import SPLITS, assign_splits, check_given, leak_keys

FORMAT = 4  # raise when the same photos and flags would give other pixels or another manifest
SHARDS = "shards"  # the folder of a draft in which they lie until they are joined


def store_digest(config: DataConfig, source: Path, candidates: Sequence[Candidate]) -> str:
    """Return the digest that names the store of these photos and data flags."""
    options = config.data_config().model_dump(exclude={"data"})
    # Why a file cannot be read is no part of it: systems word that differently.
    photos = [
        (name_in(source, photo.path), photo.label, photo.sha256, photo.split, photo.group) for photo in candidates
    ]
    return hashlib.sha256(json.dumps([FORMAT, options, photos], sort_keys=True).encode()).hexdigest()


def write_store(draft: Path, config: DataConfig, source: Path, candidates: Sequence[Candidate]) -> None:
    """Write the whole store into ``draft``, with what an interrupted command has left there already.

    Raises:
        UserError: the photos cannot be split into three parts with every class in each.
        OSError: the disk is full, or may not be written.
    """
    accepted, quarantined = _decoded(draft / SHARDS, config, source, candidates)
    class_names = sorted({photo.label for photo in candidates})
    labels, given = accepted["label"].tolist(), accepted["split"].tolist()
    accepted["class_index"] = [class_names.index(label) for label in labels]
    accepted["group"] = leak_keys(accepted["sha256"].tolist(), accepted["group"].tolist())
    keys = accepted["group"].tolist()
    if any(given):
        check_given(given, keys, accepted["path"].tolist())
    else:
        accepted["split"] = assign_splits(labels, keys, config.val_fraction, config.test_fraction, config.split_seed)
    accepted["row"] = accepted.groupby("split").cumcount()
    _check_every_split_has_every_class(accepted, class_names)
    _join_shards(draft, accepted, config.image_size)
    accepted.drop(columns=["shard", "place"]).to_parquet(draft / "manifest.parquet")
    quarantined.to_parquet(draft / "quarantined.parquet")
    about_store = {"format": FORMAT, "class_names": class_names, "data": config.data_config().model_dump()}
    (draft / "store.json").write_text(json.dumps(about_store, indent=2))
    write_checksums(draft)


def _decoded(
    folder: Path, config: DataConfig, source: Path, candidates: Sequence[Candidate]
) -> tuple[pd.DataFrame, pd.DataFrame]:
    """Write all shards; return the table of the usable photos, with their place in their shard, and of the others."""
    folder.mkdir(exist_ok=True)
    tables: dict[int, pd.DataFrame] = {}
    with tqdm(total=len(candidates), desc="preparing", unit="photo", disable=None) as bar:
        for shard in write_shards(folder, candidates, config):
            tables[shard.number] = pd.DataFrame(shard.records()).assign(shard=shard.number)
            bar.update(len(tables[shard.number]))
    about = pd.DataFrame(
        [(name_in(source, photo.path), photo.label, photo.sha256, photo.split, photo.group) for photo in candidates],
        columns=["path", "label", "sha256", "split", "group"],
    )
    records = pd.concat([tables[number] for number in sorted(tables)], ignore_index=True)
    table = pd.concat([about, records], axis=1)
    table["notes"] = [BETWEEN.join(notes) for notes in table["notes"]]
    usable = table["reason"] == ""
    accepted = table[usable].drop(columns=["reason", "thumbnail"]).reset_index(drop=True)
    accepted["place"] = accepted.groupby("shard").cumcount()
    return accepted, table.loc[~usable, ["path", "label", "reason", "thumbnail"]].reset_index(drop=True)


def _join_shards(draft: Path, accepted: pd.DataFrame, image_size: int) -> None:
    """Write each split's pixels into one array; a shard goes as soon as it is copied: no second copy is kept."""
    with contextlib.ExitStack() as files:
        shape = (image_size, image_size, 3)
        arrays = {split: files.enter_context(ArrayFile(draft / f"{split}.npy", shape)) for split in SPLITS}
        rows_of = accepted.groupby("shard").indices
        for shard in written_shards(draft / SHARDS):
            images = shard.images(image_size)
            for split, place in accepted.loc[rows_of.get(shard.number, ()), ["split", "place"]].itertuples(index=False):
                arrays[split].append(images[place])
            shard.remove()
    shutil.rmtree(draft / SHARDS)


def _check_every_split_has_every_class(manifest: pd.DataFrame, class_names: Sequence[str]) -> None:
    for split in SPLITS:
        if missing := sorted(set(class_names) - set(manifest.loc[manifest["split"] == split, "label"])):
            raise UserError(
                f"every class needs a readable photo in every split, got none of {', '.join(missing)} in {split} "
                "(add photos, raise the split's fraction, or try another split_seed)"
            )
