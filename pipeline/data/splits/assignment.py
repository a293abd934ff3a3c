"""Which photo goes to training, validation and test, without leaks, and so that a growing data set keeps its splits.

Photos that are alike are in one group, and a group is in one split. The split follows from the group's key alone: a
keyed hash gives each key a place in 0..1, and the place says the split. So shares hold as in a draw of lots: of n
groups, n * share are in a split, give or take the square root of n * share * (1 - share).

What is promised when photos are added, or removed:

1. A photo whose group stays as it is stays in its split, whatever becomes of other photos.
2. So does a group that gets copies of its files, and one with a name of the user's, whatever joins it.
3. Another group of k files that gets a photo much like its own moves, if at all, as a whole: with probability
   1 / (k + 1) it takes the newcomer's key, and then changes its split with probability 1 - (sum of squared shares),
   which is 0.34 by default. No rule without memory does better: of two photos in different splits that turn out to be
   alike one must yield, and the rule cannot know which was there first.
4. The exception is a class so small that no key of its own falls into some split. The groups with the least places then
   stand in for test and validation, and yield to newcomers with lesser places: towards training, not away from it (but
   in a class where all but one or two fall into test and validation, where training needs stand-ins).
"""

from __future__ import annotations

import hashlib
from collections.abc import Sequence

import numpy as np
import pandas as pd
from scipy.sparse import coo_array
from scipy.sparse.csgraph import connected_components

from pipeline.config import UserError

SPLITS = ("train", "validation", "test")
MIN_PHOTOS_PER_CLASS = 3  # one for each split


def assign_splits(
    labels: Sequence[str], keys: Sequence[str], val_fraction: float, test_fraction: float, seed: int
) -> np.ndarray:
    """Return the split name of every photo; every class has groups in all three.

    The place of a group is its key's SHA-256 with the seed, as a number in 0..1: below ``test_fraction`` is test, then
    comes validation, then training. A group of photos with several labels counts in the first of these by name.

    Raises:
        UserError: a class has fewer than three distinct photos.
    """
    photos = pd.DataFrame({"label": labels, "key": keys})
    groups = photos.groupby("key", as_index=False)["label"].min()
    groups["place"] = [_place(seed, key) for key in groups["key"]]
    split_of: dict[str, str] = {}
    for label, members in groups.sort_values(["place", "key"]).groupby("label"):
        split_of.update(
            zip(members["key"], _cut(str(label), members["place"], val_fraction, test_fraction), strict=True)
        )
    return photos["key"].map(split_of).to_numpy()


def leak_keys(digests: Sequence[str], groups: Sequence[str], alike: Sequence[tuple[int, int]] = ()) -> list[str]:
    """Return a key per photo that photos share if bytes, group or looks connect them, also by way of others.

    The key is the least name in the connected photos: the names of the user's groups first, then the digests.

    Args:
        digests: of the photos' bytes.
        groups: that the photos are in; empty for none.
        alike: places of photos that look alike, two by two.
    """
    names = [f"group {group}" if group else digest for digest, group in zip(digests, groups, strict=True)]
    codes, found = pd.factorize(pd.Series([*digests, *names]))
    ends = np.split(codes, 2)
    links = ends[0][np.array(alike, np.int64).reshape(-1, 2)]
    rows, columns = (np.concatenate([end, links[:, side]]) for side, end in enumerate(ends))
    graph = coo_array((np.ones(len(rows)), (rows, columns)), shape=(len(found), len(found)))
    component = connected_components(graph, directed=False)[1][ends[0]]
    ranked = pd.DataFrame({"unnamed": [not group for group in groups], "name": names, "component": component})
    least = ranked.sort_values(["unnamed", "name"]).drop_duplicates("component").set_index("component")["name"]
    return least.loc[component].tolist()


def check_given(splits: Sequence[str], keys: Sequence[str], paths: Sequence[str]) -> None:
    """Raise UserError if photos of one key are in more than one of the splits that the user gave."""
    photos = pd.DataFrame({"split": splits, "key": keys, "path": paths}).drop_duplicates(["key", "split"])
    torn = photos[photos["key"].duplicated(keep=False)].sort_values("key")
    if len(torn):
        pair = "; ".join(f"{row.path} in {row.split}" for row in torn.iloc[:2].itertuples())
        raise UserError(
            f"photos of one group, or with the same bytes, must be in one split, got {pair} "
            f"({torn['key'].nunique()} such groups; change the column split, or leave it out)"
        )


def _place(seed: int, key: str) -> float:
    return int.from_bytes(hashlib.sha256(f"{seed}:{key}".encode()).digest()[:8], "big") / 2**64


def _cut(label: str, places: pd.Series, val_fraction: float, test_fraction: float) -> list[str]:
    """Return the splits of a class's groups, whose places are given in order; none of the three is left out."""
    count = len(places)
    if count < MIN_PHOTOS_PER_CLASS:
        raise UserError(
            f"every class needs at least {MIN_PHOTOS_PER_CLASS} distinct photos (training, validation, test), "
            f"got {count} in {label!r} (add photos, or leave the class out with classes=...)"
        )
    test, held_out = np.searchsorted(places, [test_fraction, test_fraction + val_fraction])
    test = min(max(1, test), count - 2)
    held_out = min(max(test + 1, held_out), count - 1)
    return ["test"] * test + ["validation"] * (held_out - test) + ["train"] * (count - held_out)


ASSIGN_SPLITS = {1: assign_splits}  # by version of the rules of splits: see `rule_versions`
