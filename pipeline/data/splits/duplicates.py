"""Fingerprints -> the pairs of photos that show the same picture, though not the same pixels.

The perceptual hash proposes candidates, the small grey copies verify them. A pair is a candidate if the two hashes, or
one hash and that of the other's mirror image, differ in at most `MAX_DISTANCE_BITS` bits; it is accepted if the fine
structure of the grey copies agrees. With hashes alone, about every second dandelion, a bright ball on dark ground,
matches another, and they would chain into one giant group. Both limits were chosen by looking at the pairs of Flower
Photos (docs/log.md).

The search is multi-index hashing (Norouzi, Punjani and Fleet 2012): if 64 bits differ in at most eleven, one of four
bands of 16 differs in at most two. So it finds every such pair without comparing all photos with all others. Rejected:
faiss (large, with its own threads beside TensorFlow's, for a sort and a bit count), and hash trees in Python (at this
distance a search visits most of their nodes).
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from functools import lru_cache
from itertools import combinations
from typing import NamedTuple

import cv2
import numpy as np

MAX_DISTANCE_BITS = 10
MIN_AGREEMENT = 0.7
BANDS, BAND_BITS, BAND_FLIPS = 4, 16, 2
assert BANDS * (BAND_FLIPS + 1) > MAX_DISTANCE_BITS
FINE_PX = 2.0  # standard deviation of the high-pass filter's blur, in pixels of the grey copy
SHIFT_PX = 2  # largest shift between two copies: 6 % of a side
MIN_CONTRAST = 1.0  # standard deviation of the fine structure in grey levels: below, there is nothing to compare
BORDER_PX = 4  # border in which the blur turns a mere brightness gradient into structure
CHUNK = 1 << 22  # pairs compared at a time: bounds memory


class Pair(NamedTuple):
    """Two photos that show the same picture.

    Attributes:
        left: index of the first photo, the smaller one.
        right: index of the second photo.
        distance: number of bits in which the hashes differ.
        agreement: correlation of the fine structure, up to 1.
        mirrored: whether one is the other's mirror image.
    """

    left: int
    right: int
    distance: int
    agreement: float
    mirrored: bool


def similar_pairs(phashes: np.ndarray, mirrored: np.ndarray, grey_of: Callable[[int], np.ndarray]) -> list[Pair]:
    """Return the pairs of photos that show the same picture, sorted.

    Args:
        phashes: uint64 (n,).
        mirrored: uint64 (n,), the hashes of the mirror images.
        grey_of: index -> grey copy, uint8 (side, side); called only for photos of candidate pairs.
    """

    @lru_cache(maxsize=4096)
    def high_pass_of(index: int) -> np.ndarray:
        return _high_pass(grey_of(index))

    pairs = []
    for left, right, distance in zip(*(ends.tolist() for ends in _candidate_pairs(phashes, mirrored)), strict=True):
        agreement, is_mirrored = _agreement(high_pass_of(left), high_pass_of(right))
        if agreement >= MIN_AGREEMENT:
            pairs.append(Pair(left, right, distance, agreement, is_mirrored))
    return pairs


def _high_pass(grey: np.ndarray) -> np.ndarray:
    copy = grey.astype(np.float32)
    return copy - cv2.GaussianBlur(copy, (0, 0), FINE_PX)


def _agreement(left: np.ndarray, right: np.ndarray) -> tuple[float, bool]:
    """Return the best correlation over small shifts, and whether the mirror image gave it."""
    if min(copy[BORDER_PX:-BORDER_PX, BORDER_PX:-BORDER_PX].std() for copy in (left, right)) < MIN_CONTRAST:
        return 0.0, False
    inner = left[SHIFT_PX:-SHIFT_PX, SHIFT_PX:-SHIFT_PX]
    plain, mirrored = (
        float(cv2.matchTemplate(other, inner, cv2.TM_CCOEFF_NORMED).max())
        for other in (right, np.ascontiguousarray(right[:, ::-1]))
    )
    return max(plain, mirrored), mirrored > plain


def _candidate_pairs(phashes: np.ndarray, mirrored: np.ndarray) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Return left, right and distance of every pair within `MAX_DISTANCE_BITS`, each pair once, sorted."""
    near = [ends for queries in (phashes, mirrored) for ends in _neighbours(queries, phashes)]
    ends = np.sort(np.concatenate([np.empty((0, 2), np.int64), *near]), axis=1)
    left, right = np.unique(ends, axis=0).T
    ways = ((phashes, phashes), (mirrored, phashes), (phashes, mirrored))
    distance = np.min([np.bitwise_count(one[left] ^ other[right]) for one, other in ways], axis=0)
    return left, right, distance


def _neighbours(queries: np.ndarray, hashes: np.ndarray) -> Iterator[np.ndarray]:
    """Yield int64 (m, 2): indices of ``queries`` and ``hashes`` within `MAX_DISTANCE_BITS`.

    Equal indices are left out; a pair may come repeatedly.
    """
    mask = (1 << BAND_BITS) - 1
    flipped = (bits for count in range(BAND_FLIPS + 1) for bits in combinations(range(BAND_BITS), count))
    flips = np.array([sum(1 << bit for bit in bits) for bits in flipped])
    for band in range(BANDS):
        keys, query_keys = ((some >> np.uint64(band * BAND_BITS)).astype(np.int64) & mask for some in (hashes, queries))
        order = np.argsort(keys, kind="stable")
        starts = np.concatenate([[0], np.cumsum(np.bincount(keys, minlength=mask + 1))])
        step = max(1, CHUNK // len(flips))
        for begin in range(0, len(queries), step):
            lookups = (query_keys[begin : begin + step, None] ^ flips).ravel()
            first = starts[lookups]
            for query, number in expand_ranges(first, starts[lookups + 1] - first, CHUNK):
                index, member = begin + query // len(flips), order[number]
                near = (np.bitwise_count(queries[index] ^ hashes[member]) <= MAX_DISTANCE_BITS) & (index != member)
                yield np.stack([index[near], member[near]], axis=1)


def expand_ranges(first: np.ndarray, counts: np.ndarray, chunk: int) -> Iterator[tuple[np.ndarray, np.ndarray]]:
    """Yield, about ``chunk`` at a time, each i paired with each of the ``counts[i]`` numbers from ``first[i]`` on."""
    nonempty = np.flatnonzero(counts)
    ends = np.cumsum(counts[nonempty])
    cuts = np.searchsorted(ends, np.arange(chunk, ends[-1] if len(ends) else 0, chunk))
    for some in np.split(nonempty, np.unique(cuts)):
        before = np.cumsum(counts[some]) - counts[some]
        index = np.repeat(np.arange(len(some)), counts[some])
        yield some[index], first[some][index] + np.arange(len(index)) - before[index]
