"""Fingerprints -> the pairs of photos that show the same picture, though not the same pixels.

The perceptual hash proposes, the small grey copies decide. A pair is proposed when the hashes of the two, or of one and
the other's mirror image, differ in at most `MOST_BITS` bits; it counts when the fine structure of their grey copies
agrees. Hashes alone take every second dandelion, a bright ball on dark ground, for every other, and would chain them
into one giant group. Both limits were chosen by looking at the pairs of Flower Photos (docs/log.md).

The search is multi-index hashing (Norouzi, Punjani and Fleet 2012): where 64 bits differ in at most eleven, one of
four bands of 16 differs in at most two. So every such pair is met, and not all photos are compared with all. Rejected:
faiss (large, with threads of its own beside TensorFlow's, for a sort and a count of bits), trees of hashes in Python
(visit most of their nodes at this distance).
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from functools import lru_cache
from itertools import combinations
from typing import NamedTuple

import cv2
import numpy as np

MOST_BITS = 10
LEAST_AGREEMENT = 0.7
BANDS, BAND_BITS, BAND_FLIPS = 4, 16, 2
assert BANDS * (BAND_FLIPS + 1) > MOST_BITS
FINE_PX = 2.0  # standard deviation of the blur that takes away what is coarse, in pixels of the grey copy
SHIFT_PX = 2  # by which two copies may be shifted against each other: 6 % of a side
LEAST_CONTRAST = 1.0  # standard deviation of the fine structure in levels of grey: below, there is nothing to compare
BORDER_PX = 4  # in which the blur makes structure of a mere slope of light
CHUNK = 1 << 22  # pairs compared at a time: bounds memory


class Pair(NamedTuple):
    """Two photos that show the same picture.

    Attributes:
        left: place of the one, the lesser.
        right: place of the other.
        distance: bits in which the hashes differ.
        agreement: of the fine structure, up to 1.
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
        mirrored: uint64 (n,), those of the mirror images.
        grey_of: place -> grey copy, uint8 (side, side); asked for photos of proposed pairs alone.
    """

    @lru_cache(maxsize=4096)
    def fine_of(place: int) -> np.ndarray:
        return _fine(grey_of(place))

    pairs = []
    for left, right, distance in zip(*(ends.tolist() for ends in _proposed(phashes, mirrored)), strict=True):
        agreement, is_mirrored = _agreement(fine_of(left), fine_of(right))
        if agreement >= LEAST_AGREEMENT:
            pairs.append(Pair(left, right, distance, agreement, is_mirrored))
    return pairs


def _fine(grey: np.ndarray) -> np.ndarray:
    copy = grey.astype(np.float32)
    return copy - cv2.GaussianBlur(copy, (0, 0), FINE_PX)


def _agreement(left: np.ndarray, right: np.ndarray) -> tuple[float, bool]:
    """Return the best correlation over small shifts, and whether it is that with the mirror image."""
    if min(copy[BORDER_PX:-BORDER_PX, BORDER_PX:-BORDER_PX].std() for copy in (left, right)) < LEAST_CONTRAST:
        return 0.0, False
    inner = left[SHIFT_PX:-SHIFT_PX, SHIFT_PX:-SHIFT_PX]
    plain, mirrored = (
        float(cv2.matchTemplate(other, inner, cv2.TM_CCOEFF_NORMED).max())
        for other in (right, np.ascontiguousarray(right[:, ::-1]))
    )
    return max(plain, mirrored), mirrored > plain


def _proposed(phashes: np.ndarray, mirrored: np.ndarray) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Return left, right and distance of every pair within `MOST_BITS`, each pair once, sorted."""
    found = [ends for asked in (phashes, mirrored) for ends in _neighbours(asked, phashes)]
    ends = np.sort(np.concatenate([np.empty((0, 2), np.int64), *found]), axis=1)
    left, right = np.unique(ends, axis=0).T
    ways = ((phashes, phashes), (mirrored, phashes), (phashes, mirrored))
    distance = np.min([np.bitwise_count(one[left] ^ other[right]) for one, other in ways], axis=0)
    return left, right, distance


def _neighbours(asked: np.ndarray, hashes: np.ndarray) -> Iterator[np.ndarray]:
    """Yield int64 (m, 2): places of ``asked`` and of ``hashes`` within `MOST_BITS`, but equal ones; some repeatedly."""
    mask = (1 << BAND_BITS) - 1
    flipped = (bits for count in range(BAND_FLIPS + 1) for bits in combinations(range(BAND_BITS), count))
    flips = np.array([sum(1 << bit for bit in bits) for bits in flipped])
    for band in range(BANDS):
        keys, wanted = ((some >> np.uint64(band * BAND_BITS)).astype(np.int64) & mask for some in (hashes, asked))
        order = np.argsort(keys, kind="stable")
        starts = np.concatenate([[0], np.cumsum(np.bincount(keys, minlength=mask + 1))])
        step = max(1, CHUNK // len(flips))
        for begin in range(0, len(asked), step):
            looked_up = (wanted[begin : begin + step, None] ^ flips).ravel()
            first = starts[looked_up]
            for index, number in _all_of(first, starts[looked_up + 1] - first):
                place, member = begin + index // len(flips), order[number]
                near = (np.bitwise_count(asked[place] ^ hashes[member]) <= MOST_BITS) & (place != member)
                yield np.stack([place[near], member[near]], axis=1)


def _all_of(first: np.ndarray, counts: np.ndarray) -> Iterator[tuple[np.ndarray, np.ndarray]]:
    """Yield, about `CHUNK` at a time, every i with each of the ``counts[i]`` numbers from ``first[i]`` on."""
    asked = np.flatnonzero(counts)
    ends = np.cumsum(counts[asked])
    cuts = np.searchsorted(ends, np.arange(CHUNK, ends[-1] if len(ends) else 0, CHUNK))
    for some in np.split(asked, np.unique(cuts)):
        before = np.cumsum(counts[some]) - counts[some]
        index = np.repeat(np.arange(len(some)), counts[some])
        yield some[index], first[some][index] + np.arange(len(index)) - before[index]
