"""Which photos count as one picture: changed copies do, other photos do not, and the search misses no near hash."""

from __future__ import annotations

from collections.abc import Callable

import cv2
import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from pipeline.data.pixels.decode import decode
from pipeline.data.pixels.fingerprints import Fingerprint, fingerprint
from pipeline.data.sources.synthetic import draw_photo
from pipeline.data.sources.synthetic_kinds import KINDS
from pipeline.data.splits import duplicates
from pipeline.data.splits.duplicates import BAND_BITS, MAX_DISTANCE_BITS, similar_pairs


def _found(images: list[np.ndarray]) -> list[tuple[int, int]]:
    return [pair[:2] for pair in _pairs([fingerprint(image) for image in images])]


def _pairs(prints: list[Fingerprint]) -> list[duplicates.Pair]:
    phashes = np.array([one.phash for one in prints], np.uint64)
    mirrored = np.array([one.mirrored_phash for one in prints], np.uint64)
    return similar_pairs(phashes, mirrored, lambda place: prints[place].grey)


@pytest.fixture(scope="module")
def photo() -> np.ndarray:
    return decode(draw_photo("daisy", np.random.default_rng(5)))


def _jpeg(image: np.ndarray, quality: int) -> np.ndarray:
    return decode(cv2.imencode(".jpg", image[..., ::-1], [cv2.IMWRITE_JPEG_QUALITY, quality])[1].tobytes())


CHANGES: dict[str, Callable[[np.ndarray], np.ndarray]] = {
    "other bytes": lambda image: _jpeg(image, 30),
    "half the size": lambda image: cv2.resize(image, None, fx=0.5, fy=0.5, interpolation=cv2.INTER_AREA),
    "mirrored": lambda image: np.ascontiguousarray(image[:, ::-1]),
    "mirrored and half the size": lambda image: cv2.resize(image[:, ::-1], None, fx=0.5, fy=0.5),
    "black and white": lambda image: np.repeat(cv2.cvtColor(image, cv2.COLOR_RGB2GRAY)[..., None], 3, axis=2),
    "brighter": lambda image: np.clip(image * 0.8 + 40, 0, 255).astype(np.uint8),
    "2 % cropped": lambda image: np.ascontiguousarray(image[2:-2, 2:-2]),
}


@pytest.mark.parametrize("change", CHANGES)
def test_a_changed_copy_is_found(change: str, photo: np.ndarray) -> None:
    pairs = _pairs([fingerprint(photo), fingerprint(CHANGES[change](photo))])
    assert [(pair.left, pair.right) for pair in pairs] == [(0, 1)]
    assert pairs[0].mirrored == ("mirrored" in change)
    assert pairs[0].distance <= MAX_DISTANCE_BITS


def test_drawn_photos_are_not_taken_for_each_other() -> None:
    drawn = [
        draw_photo(kind, np.random.default_rng([0, place, n])) for place, kind in enumerate(KINDS) for n in range(12)
    ]
    assert _found([decode(jpeg) for jpeg in drawn]) == []


def test_photos_without_structure_are_not_taken_for_each_other() -> None:
    ramp = np.repeat(np.linspace(0, 255, 64).astype(np.uint8)[:, None, None], 64, axis=1).repeat(3, axis=2)
    assert _found([np.full((40, 40, 3), level, np.uint8) for level in (0, 1, 128, 255)] + [ramp, ramp // 2]) == []


def test_pixels_tell_pictures_apart_whatever_their_format(photo: np.ndarray) -> None:
    png = decode(cv2.imencode(".png", photo[..., ::-1])[1].tobytes())
    assert fingerprint(png).pixels == fingerprint(photo).pixels
    flat = np.zeros((20, 30, 3), np.uint8)
    other = photo.copy()
    other[-1, -1, -1] ^= 1
    pictures = [photo, other, flat, flat.reshape(30, 20, 3), np.ascontiguousarray(photo[:, ::-1])]
    assert len({fingerprint(picture).pixels for picture in pictures}) == len(pictures)
    assert fingerprint(photo[::2, ::2]).pixels == fingerprint(np.ascontiguousarray(photo[::2, ::2])).pixels


def test_the_mirrors_hash_is_that_of_the_mirror(photo: np.ndarray) -> None:
    mirror = fingerprint(np.ascontiguousarray(photo[:, ::-1]))
    assert (fingerprint(photo).mirrored_phash ^ mirror.phash).bit_count() <= 2  # the two are thinned out otherwise


hashes_close_together = st.lists(
    st.tuples(st.integers(0, 3), st.lists(st.integers(0, 63), max_size=8)), min_size=1, max_size=25
)


@given(hashes_close_together, st.integers(0, 2**32))
@settings(deadline=None, max_examples=40)
def test_the_search_meets_exactly_the_near_hashes(drawn: list[tuple[int, list[int]]], seed: int) -> None:
    centres = np.random.default_rng(seed).integers(0, 2**64, 4, dtype=np.uint64)
    hashes = np.array([int(centres[i]) ^ sum(1 << bit for bit in set(bits)) for i, bits in drawn], np.uint64)
    mirrored = hashes[::-1].copy()
    left, right, distance = duplicates._candidate_pairs(hashes, mirrored)
    near = {}
    for i in range(len(hashes)):
        for j in range(i + 1, len(hashes)):
            ways = (hashes[i] ^ hashes[j], mirrored[i] ^ hashes[j], hashes[i] ^ mirrored[j])
            near[i, j] = min(int(way).bit_count() for way in ways)
    expected = {pair: bits for pair, bits in near.items() if bits <= MAX_DISTANCE_BITS}
    assert dict(zip(zip(left.tolist(), right.tolist(), strict=True), distance.tolist(), strict=True)) == expected


def test_the_search_takes_little_memory_at_a_time(monkeypatch: pytest.MonkeyPatch) -> None:
    hashes = np.full(300, 7, np.uint64)  # all in one place of the index: the worst case
    whole = duplicates._candidate_pairs(hashes, hashes)
    sizes = []
    expand = duplicates.expand_ranges

    def watched(first: np.ndarray, counts: np.ndarray, chunk: int):
        for place, number in expand(first, counts, chunk):
            sizes.append(len(place))
            yield place, number

    monkeypatch.setattr(duplicates, "CHUNK", 1000)
    monkeypatch.setattr(duplicates, "expand_ranges", watched)
    in_parts = duplicates._candidate_pairs(hashes, hashes)
    assert all(np.array_equal(one, other) for one, other in zip(whole, in_parts, strict=True))
    assert len(whole[0]) == 300 * 299 // 2
    assert max(sizes) <= 1000 + 300
    assert BAND_BITS == 16
