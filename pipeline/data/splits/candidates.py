"""Perceptual hashes -> the pairs of photos that may show the same picture: for every photo, its nearest others.

A pair is a candidate if two hashes, or one hash and that of the other's mirror image, differ in at most
`MAX_DISTANCE_BITS` bits. The search is multi-index hashing (Norouzi, Punjani and Fleet 2012), as in `duplicates.py`:
one of four bands of 16 bits then differs in at most two. Time and memory are bounded on any data set, also where all
photos have nearly the same hash: of a full bucket only the hashes that sort next to the one sought are looked at, a
photo that has its `NEAREST` candidates seeks no further ones, and photos are searched for a block at a time.
"""

from __future__ import annotations

from itertools import combinations

import numpy as np
import pandas as pd
from tqdm import tqdm

from pipeline.data.splits.duplicates import BAND_BITS, BANDS, MAX_DISTANCE_BITS, expand_ranges

NEAREST = 16  # candidates that a photo keeps, and as many for its mirror image
FULL_BUCKET = 64  # hashes looked at for one band value
BLOCK = 4096  # photos searched for at a time
CHUNK = 1 << 19  # comparisons at a time: bounds memory
FLIPS = [  # by number of flipped bits: the masks of a band
    np.array([sum(1 << bit for bit in bits) for bits in combinations(range(BAND_BITS), count)], np.uint64)
    for count in range(3)
]
assert BANDS * len(FLIPS) > MAX_DISTANCE_BITS


def candidate_pairs(labels: np.ndarray, phashes: np.ndarray, mirrored: np.ndarray) -> pd.DataFrame:
    """Return the candidate pairs: left < right, is_mirrored, distance in bits; sorted, each way of a pair once.

    Of more than `NEAREST` photos of one label with the same hash, each is compared with a few of the others, and the
    first of them with all further photos.

    Args:
        labels: int (n,), codes.
        phashes: uint64 (n,).
        mirrored: uint64 (n,), the hashes of the mirror images.
    """
    photos = pd.DataFrame({"label": labels, "phash": phashes})
    crowded = photos.groupby(["label", "phash"])["label"].transform("size") > NEAREST
    first = np.flatnonzero(~(photos.duplicated() & crowded))
    found = [_in_crowds(photos[crowded])]
    index = [_Band(phashes[first], band) for band in range(BANDS)]
    with tqdm(total=2 * len(first), desc="looking for copies", unit="photo", disable=None, leave=False, delay=1) as bar:
        for is_mirrored, queries in ((False, phashes[first]), (True, mirrored[first])):
            for begin in range(0, len(first), BLOCK):
                block = np.arange(begin, min(begin + BLOCK, len(first)))
                hits = _nearest(block, queries, phashes[first], index)
                hits[["query", "member"]] = first[hits[["query", "member"]]]
                found.append(hits.assign(is_mirrored=is_mirrored))
                bar.update(len(block))
    pairs = pd.concat(found, ignore_index=True)
    ends = np.sort(pairs[["query", "member"]].to_numpy(), axis=1)
    pairs = pairs.assign(left=ends[:, 0], right=ends[:, 1])
    order = ["left", "right", "is_mirrored"]
    nearest_first = pairs.sort_values([*order, "distance"], kind="stable")
    return nearest_first.drop_duplicates(order)[[*order, "distance"]].reset_index(drop=True)


def _in_crowds(photos: pd.DataFrame) -> pd.DataFrame:
    """Return the pairs of each photo with the first, and the next `NEAREST`, of its label and hash."""
    in_runs = photos.sort_values(["label", "phash"], kind="stable")
    members = in_runs.index.to_numpy()
    run = in_runs.groupby(["label", "phash"], sort=False).ngroup().to_numpy()
    starts = np.flatnonzero(np.diff(run, prepend=-1))
    found = [np.stack([members[starts[run]], members], axis=1)]
    for step in range(1, NEAREST + 1):
        same = run[step:] == run[:-step]
        found.append(np.stack([members[:-step][same], members[step:][same]], axis=1))
    pairs = np.concatenate(found)
    pairs = pairs[pairs[:, 0] != pairs[:, 1]]
    return _hits(pairs[:, 0], pairs[:, 1], np.zeros(len(pairs))).assign(is_mirrored=False)


class _Band:
    """All hashes in the order of one band of bits; equal bands by the bits that follow."""

    def __init__(self, hashes: np.ndarray, number: int) -> None:
        self.shift = number * BAND_BITS
        turned = self.turn(hashes)
        self.order = np.argsort(turned, kind="stable")
        self.turned = turned[self.order]
        counts = np.bincount((turned >> np.uint64(64 - BAND_BITS)).astype(np.int64), minlength=1 << BAND_BITS)
        self.starts = np.concatenate([[0], np.cumsum(counts)])

    def turn(self, hashes: np.ndarray) -> np.ndarray:
        """Return the hashes turned left so that this band is the highest."""
        if not self.shift:
            return hashes
        return (hashes << np.uint64(self.shift)) | (hashes >> np.uint64(64 - self.shift))

    def bucket(self, turned: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
        """Return, for each turned hash, where its band's bucket begins and how many of it to look at."""
        band = (turned >> np.uint64(64 - BAND_BITS)).astype(np.int64)
        first, count = self.starts[band], self.starts[band + 1] - self.starts[band]
        full = np.flatnonzero(count > FULL_BUCKET)
        place = np.searchsorted(self.turned, turned[full]) - FULL_BUCKET // 2
        first[full] = np.clip(place, first[full], first[full] + count[full] - FULL_BUCKET)
        count[full] = FULL_BUCKET
        return first, count


def _nearest(block: np.ndarray, queries: np.ndarray, hashes: np.ndarray, index: list[_Band]) -> pd.DataFrame:
    """Return at least the `NEAREST` hits of the photos of a block, or all that they have."""
    kept = _hits([], [], [])
    seeking = block
    for flips in FLIPS:
        for band in index:
            masks = flips << np.uint64(64 - BAND_BITS)
            turned = (band.turn(queries[seeking])[:, None] ^ masks).ravel()
            first, count = band.bucket(turned)
            for lookup, number in expand_ranges(first, count, CHUNK):
                query, member = seeking[lookup // len(masks)], band.order[number]
                distance = np.bitwise_count(queries[query] ^ hashes[member])
                near = (distance <= MAX_DISTANCE_BITS) & (query != member)
                if near.any():
                    kept = _keep_nearest(pd.concat([kept, _hits(query[near], member[near], distance[near])]))
        have = kept["query"].value_counts()
        seeking = np.setdiff1d(block, have.index[have >= NEAREST].to_numpy())
        if not len(seeking):
            break
    return kept


def _hits(query: object, member: object, distance: object) -> pd.DataFrame:
    return pd.DataFrame(
        {"query": np.asarray(query, np.int64), "member": np.asarray(member, np.int64)}
        | {"distance": np.asarray(distance, np.int64)}
    )


def _keep_nearest(hits: pd.DataFrame) -> pd.DataFrame:
    order = np.lexsort([hits["member"], hits["distance"], hits["query"]])
    hits = hits.iloc[order].drop_duplicates(["query", "member"])
    return hits[hits.groupby("query").cumcount() < NEAREST]
