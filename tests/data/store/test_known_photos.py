"""Which photos a model knows: told from the others after whatever became of the data set."""

from __future__ import annotations

import hashlib
import time
from pathlib import Path

import numpy as np
import pandas as pd
import pytest

from pipeline.data.store import KnownPhotos

SPLITS = ["train", "validation", "test", "test"]


def _digest(text: str) -> str:
    return hashlib.sha256(text.encode()).hexdigest()


def _manifest(names: list[str], splits: list[str] | None = None, **columns: list[str]) -> pd.DataFrame:
    """A row per photo; equal names are one file, and hashes of different photos are far apart."""
    table = pd.DataFrame({"sha256": [_digest(name) for name in names]})
    table["pixels"] = [_digest(f"pixels of {name}")[:32] for name in names]
    table["phash"] = np.array([int(_digest(name)[:16], 16) for name in names], np.uint64)
    table["group"], table["split"] = table["sha256"], splits or "test"
    return table.assign(**columns)


KNOWN = KnownPhotos.of(_manifest(["a", "b", "c", "d"], SPLITS))


def _seen(manifest: pd.DataFrame, known: KnownPhotos = KNOWN) -> list[bool]:
    return [bool(seen) for seen in known.has_seen(manifest, manifest)]


def test_what_was_trained_on_or_chosen_by_was_seen() -> None:
    assert _seen(_manifest(["a", "b", "c", "d", "new"])) == [True, True, False, False, False]
    assert KNOWN.knows(_manifest(["a", "d", "new"])).tolist() == [True, True, False]


def test_a_file_with_other_bytes_is_known_by_its_pixels() -> None:
    saved_again = _manifest(["a2", "c2"]).assign(pixels=_manifest(["a", "c"])["pixels"])
    assert _seen(saved_again) == [True, False]


@pytest.mark.parametrize(("bits", "expected"), [(0, True), (4, True), (5, False)])
def test_a_photo_encoded_again_is_known_by_its_hash(bits: int, expected: bool) -> None:
    again = _manifest(["a2"])
    again["phash"] = _manifest(["a"])["phash"] ^ np.uint64((1 << bits) - 1)
    assert _seen(again) == [expected]


def test_a_hash_is_asked_only_of_photos_that_are_no_longer_there() -> None:
    beside = _manifest(["a", "like a"])
    beside["phash"] = beside["phash"].iloc[0]
    assert _seen(beside) == [True, False]  # the groups of today have told them apart


def test_a_near_duplicate_of_a_seen_photo_is_seen() -> None:
    assert _seen(_manifest(["a", "new", "d"], group=["one", "one", "one"])) == [True, True, False]


def test_a_new_photo_of_a_group_that_was_learned_is_seen_and_no_name_is_kept() -> None:
    known = KnownPhotos.of(_manifest(["a", "b"], ["train", "test"], group=["group Ada", "group Eve"]))
    assert _seen(_manifest(["x", "y"], group=["group Ada", "group Eve"]), known) == [True, False]
    assert not known.table["group"].str.contains("Ada|Eve").any()


def test_what_the_start_has_learned_the_model_has_learned() -> None:
    later = KnownPhotos.of(_manifest(["a", "c", "e"], ["test", "test", "train"]), KNOWN)
    assert _seen(_manifest(["a", "b", "c", "d", "e"]), later) == [True, True, False, False, True]
    last = KnownPhotos.of(_manifest(["f", "g"], ["train", "test"]), later)
    assert _seen(_manifest(["a", "e", "f", "g"]), last) == [True, True, True, False]


def test_eighty_thousand_photos_take_seconds_and_five_megabytes(tmp_path: Path) -> None:
    names = [str(number) for number in range(80_000)]
    splits = np.where(np.random.default_rng(0).random(len(names)) < 0.15, "test", "train").tolist()
    known = KnownPhotos.of(_manifest(names, splits))
    known.write(tmp_path / "photos.parquet")
    assert (tmp_path / "photos.parquet").stat().st_size < 5_000_000
    read = KnownPhotos.read(tmp_path / "photos.parquet")
    pd.testing.assert_frame_equal(read.table, known.table)
    again = _manifest([f"{name} again" for name in names], splits)
    again["phash"] = known.table["phash"]
    test = again[again["split"] == "test"]
    began = time.perf_counter()
    seen = read.has_seen(test, again)
    assert time.perf_counter() - began < 30  # 1.5 s on an idle machine
    assert seen.mean() < 0.01  # all were test photos: only a chance likeness to another one counts
    swapped = again.assign(split=np.where(again["split"] == "test", "train", "test"))
    assert read.has_seen(swapped[swapped["split"] == "test"].head(5000), swapped).all()
