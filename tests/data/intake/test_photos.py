"""Photos in columns: what goes in comes out, whatever the names, and it takes little memory."""

from __future__ import annotations

import hashlib
import os
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from pipeline.data.intake import Candidate, Photos, photo_name
from pipeline.data.intake.photos import BATCH, Row

BYTES_PER_PHOTO = 120  # a name of 20 letters, a digest, numbers for what is the same of many, and room

names = st.binary(min_size=1, max_size=8).filter(lambda name: not set(name) & set(b"/\0") and name not in (b".", b".."))
texts = st.text(st.characters(exclude_categories=["Cs"]), max_size=4)
candidates = st.lists(
    st.builds(
        Candidate,
        path=st.lists(names, min_size=1, max_size=3).map(lambda parts: Path(*map(os.fsdecode, parts))),
        label=texts,
        sha256=st.sampled_from(["", hashlib.sha256(b"a").hexdigest(), hashlib.sha256(b"b").hexdigest()]),
        problem=texts, split=texts, group=texts, note=texts,
    ),
    max_size=5,
)  # fmt: skip


@given(found=candidates, parts=st.integers(0, 5))
def test_photos_in_columns_are_what_they_were(found: list[Candidate], parts: int) -> None:
    photos = Photos.of(found)
    assert list(photos) == found
    assert len(photos) == len(found)
    assert [photos[place] for place in range(len(photos))] == found
    joined = Photos.joined([photos[:parts], photos[parts:]])
    assert list(joined) == found
    assert list(joined[1:-1]) == found[1:-1]
    assert joined.distinct("label", "split") == {(photo.label, photo.split) for photo in found}
    assert joined.names(Path("a")) == [photo_name(Path("a"), photo.path) for photo in found]
    assert joined.absolute_paths() == [os.fsencode(photo.path.absolute()) for photo in found]
    is_kept = np.array([photo.label != "" for photo in found], bool)
    assert list(joined.kept(is_kept)) == [photo for photo in found if photo.label]


def test_photos_are_taken_in_batches_and_out_again() -> None:
    found = [Candidate(Path(f"c{number % 3}/{number}.jpg"), f"c{number % 3}") for number in range(2 * BATCH + 1)]
    photos = Photos.of(candidate for candidate in found)
    assert [len(part) for part in photos.batches()] == [BATCH, BATCH, 1]
    assert list(photos) == found
    assert photos[-1] == found[-1]
    with pytest.raises(ValueError, match="steps of 1, got 2"):
        photos[::2]


def test_a_photo_takes_about_a_hundred_bytes() -> None:
    """A million must fit beside all else: a path and a tuple of each would take ten times as much."""
    count = 20_000
    rows = (
        Row(f"/data/class{number % 100:03d}", f"photo{number:010d}.jpg", f"class{number % 100}")
        for number in range(count)
    )
    photos = Photos.of_rows(rows).with_digests(np.zeros((count, 32), np.uint8), {7: "cannot be read"})
    assert photos._table.nbytes / count < BYTES_PER_PHOTO
    assert (photos[7].sha256, photos[7].problem, photos[8].sha256) == ("", "cannot be read", "00" * 32)
