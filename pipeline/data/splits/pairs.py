"""Fingerprints -> all pairs of photos that show one picture: copies, exact mirror images, and near duplicates.

Owns what the versions of the grouping rules find. Copies and exact mirror images are found whatever else is in the data
set; how near duplicates are told is `duplicates.py`'s in version 1, and `resemblance.py`'s in version 2.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import NamedTuple

import numpy as np
import pandas as pd
import pyarrow as pa
import pyarrow.compute as pc

from pipeline.data.splits.agreement import GreyOf
from pipeline.data.splits.duplicates import Pair, similar_pairs
from pipeline.data.splits.resemblance import near_duplicates

PAIR_COLUMNS = ["left", "right", "distance", "agreement", "is_mirrored", "is_exact", "is_linked"]


class FoundPairs(NamedTuple):
    """Pairs of photos that show one picture.

    Attributes:
        table: left, right (rows), distance (bits of the hash), agreement, is_mirrored, is_exact (pixel by pixel), and
            whether the pair is to share a split (is_linked).
        notes: sentences for the user.
    """

    table: pd.DataFrame
    notes: tuple[str, ...] = ()


FindPairs = Callable[[pd.DataFrame, GreyOf, bool], FoundPairs]


def _find_pairs_v1(photos: pd.DataFrame, grey_of: GreyOf, with_near: bool) -> FoundPairs:
    """Return the pairs of equal pixels and of similar pictures, by the same measures on any data set."""
    same, pictures = _same_pixels(photos)
    phashes, mirrored = (photos.loc[pictures, name].to_numpy(np.uint64) for name in ("phash", "mirrored_phash"))
    near = similar_pairs(phashes, mirrored, lambda index: grey_of(int(pictures[index]))) if with_near else []
    table = pd.DataFrame(near, columns=Pair._fields).rename(columns={"mirrored": "is_mirrored"})
    table = table.assign(left=pictures[table["left"].astype(int)], right=pictures[table["right"].astype(int)])
    return FoundPairs(_joined(same, table.assign(is_linked=True, is_exact=False)))


def _find_pairs_v2(photos: pd.DataFrame, grey_of: GreyOf, with_near: bool) -> FoundPairs:
    """Return the pairs of equal pixels, of exact mirror images, and of near duplicates as this data set tells them."""
    same, pictures = _same_pixels(photos)
    exact = _joined(same, _exact_mirrors(photos, pictures))
    if not with_near:
        return FoundPairs(exact)
    usable = pictures[(photos["reason"] == "").to_numpy()[pictures]]
    by_pixels = photos["pixels"].iloc[usable].argsort(kind="stable").to_numpy()
    pictures = usable[by_pixels]  # whatever the order of the rows
    phashes, mirrored = (photos.loc[pictures, name].to_numpy(np.uint64) for name in ("phash", "mirrored_phash"))
    labels = photos.loc[pictures, "label"]
    near, notes = near_duplicates(labels, phashes, mirrored, lambda index: grey_of(int(pictures[index])))
    ends = np.sort(pictures[near[["left", "right"]].to_numpy(int)], axis=1)
    groups = photos["given_group"].iloc[ends.ravel()].to_numpy().reshape(ends.shape)
    is_contradicted = (groups != "").all(axis=1) & (groups[:, 0] != groups[:, 1])
    is_linked = near["is_linked"].to_numpy(bool) & ~is_contradicted
    near = near.assign(left=ends[:, 0], right=ends[:, 1], is_linked=is_linked, is_exact=False)
    return FoundPairs(_joined(exact, near).drop_duplicates(["left", "right"], ignore_index=True), notes)


def _same_pixels(photos: pd.DataFrame) -> tuple[pd.DataFrame, np.ndarray]:
    """Return the pairs of each copy with the first photo of its pixels, and the rows of these first photos."""
    first = photos.index.to_series().groupby(photos["pixels"]).transform("min").to_numpy()
    copies = np.flatnonzero(first != photos.index.to_numpy())
    return _exact_pairs(first[copies], copies, is_mirrored=False), np.unique(first)


def _exact_mirrors(photos: pd.DataFrame, pictures: np.ndarray) -> pd.DataFrame:
    if "mirrored_pixels" not in photos:
        return _exact_pairs([], [], is_mirrored=True)
    pixels, mirrored = (pa.array(photos[name].iloc[pictures]) for name in ("pixels", "mirrored_pixels"))
    place = pc.index_in(mirrored, value_set=pixels).fill_null(-1).to_numpy()
    mirrors = np.where(place < 0, -1, pictures[place])
    left = pictures[mirrors > pictures]
    return _exact_pairs(left, mirrors[mirrors > pictures], is_mirrored=True)


def _exact_pairs(left: object, right: object, is_mirrored: bool) -> pd.DataFrame:
    ends = {"left": np.asarray(left, np.int64), "right": np.asarray(right, np.int64)}
    return pd.DataFrame(ends).assign(distance=0, agreement=1.0, is_mirrored=is_mirrored, is_linked=True, is_exact=True)


def _joined(*tables: pd.DataFrame) -> pd.DataFrame:
    filled = [table[PAIR_COLUMNS] for table in tables if len(table)]
    return pd.concat(filled, ignore_index=True) if filled else _exact_pairs([], [], is_mirrored=False)


FIND_PAIRS: dict[int, FindPairs] = {1: _find_pairs_v1, 2: _find_pairs_v2}  # see `rule_versions`
