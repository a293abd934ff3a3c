"""Assigns photos to training, validation and test, without leaks and stably as a data set grows.

Similar photos are in one group, and a group is in one split. The split depends only on the group's key: a seeded hash
maps each key to a position in 0..1, and the position determines the split. So the shares hold as in random sampling: of
n groups, n * share are in a split, give or take the square root of n * share * (1 - share).

Guarantees when photos are added or removed:

1. A photo whose group does not change stays in its split, whatever happens to other photos.
2. So does a group that gets copies of its files, and a group named by the user, whatever joins it.
3. Any other group of k files that gets a similar photo moves, if at all, as one: with probability 1 / (k + 1) it takes
   the new photo's key, and then changes its split with probability 1 - (sum of squared shares), which is 0.34 by
   default. No stateless rule does better: if two photos in different splits turn out to be similar, one must move, and
   the rule cannot know which was there first.
4. The exception is a class so small that no key of its own falls into some split. Then the groups with the smallest
   positions substitute for test and validation, and give way to new groups with smaller positions: they move to
   training, not away from it (except in a class where all groups but one or two fall into test and validation, where
   training needs substitutes).
5. Near duplicates are told by what is usual in the data set (`resemblance.py`). Photos that change what is usual, which
   has few steps, can join or part old groups; a photo whose group has another key then moves with probability 0.34.

Version 2 of the rules has the same positions, and more substitutes in small classes (`assign_splits_v2`). They make the
least counts larger, and keep guarantee 4, with its exception: a class in which training has but half of its share, and
holds photos of the other splits until it grows. The largest counts cannot be bounded: if the class grows, the photos
whose positions are in test or validation are to be there, and a photo that was in training meanwhile would have to
leave it.
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
GROUP = "group "  # begins the key of a group that the user named
MIN_PHOTOS_PER_CLASS = 3  # one for each split
REACH = (np.inf, 2, 1.5)  # how far the first groups of test and of validation may lie, in fractions of the split
LEAST_OF_TRAINING = 0.5  # of its share


class TooFewGroups(UserError):
    """Classes have fewer groups of photos than there are splits.

    Attributes:
        least: how many a class needs.
        labels: the classes.
        photos: the photos with their groups (see `grouping.GroupedPhotos`); set by `grouping.group_and_split`.
    """

    def __init__(self, message: str, least: int, labels: list[str]) -> None:
        super().__init__(message)
        self.least, self.labels, self.photos = least, labels, pd.DataFrame()


def assign_splits(
    labels: Sequence[str], keys: Sequence[str], val_fraction: float, test_fraction: float, seed: int
) -> np.ndarray:
    """Return the split name of every photo; every class has groups in all three splits.

    The position of a group is the SHA-256 of the seed and its key, as a number in 0..1: below ``test_fraction`` is
    test, then comes validation, then training. A group with several labels counts for the first of them by name.

    Raises:
        UserError: a class has fewer than three distinct photos.
    """
    photos = pd.DataFrame({"label": labels, "key": keys})
    groups = photos.groupby("key", as_index=False)["label"].min()
    groups["position"] = [_position(seed, key) for key in groups["key"]]
    split_of: dict[str, str] = {}
    for label, members in groups.sort_values(["position", "key"]).groupby("label"):
        split_of.update(
            zip(members["key"], _split_class(str(label), members["position"], val_fraction, test_fraction), strict=True)
        )
    return photos["key"].map(split_of).to_numpy()


def assign_splits_v2(
    labels: Sequence[str], keys: Sequence[str], val_fraction: float, test_fraction: float, seed: int
) -> np.ndarray:
    """Return the split name of every photo, as `assign_splits` does, with a smaller spread in small classes.

    The second and third group of a class are in test, also if they lie above ``test_fraction``, up to twice and one and
    a half times of it; the same holds for validation. Training keeps at least half of its share. A fraction of 0 leaves
    its split empty.

    Raises:
        TooFewGroups: classes have fewer groups than there are splits.
    """
    photos = pd.DataFrame({"label": labels, "key": keys})
    groups = photos.groupby("key", as_index=False)["label"].min()
    groups["position"] = [_position(seed, key) for key in groups["key"]]
    _check_sizes(photos, val_fraction, test_fraction)
    split_of: dict[str, str] = {}
    for _, members in groups.sort_values(["position", "key"]).groupby("label"):
        positions = members["position"].to_numpy()
        split_of.update(zip(members["key"], _split_class_v2(positions, val_fraction, test_fraction), strict=True))
    return photos["key"].map(split_of).to_numpy()


def group_keys(
    digests: Sequence[str], groups: Sequence[str], similar_pairs: Sequence[tuple[int, int]] = ()
) -> list[str]:
    """Return a key per photo, shared by photos that bytes, group or similarity connect, directly or transitively.

    The key is the smallest name among the connected photos: names of the user's groups first, then digests.

    Args:
        digests: digest of each photo's bytes.
        groups: the user's group of each photo; empty for none.
        similar_pairs: pairs of indices of photos that look alike.
    """
    names = [GROUP + group if group else digest for digest, group in zip(digests, groups, strict=True)]
    codes, nodes = pd.factorize(pd.Series([*digests, *names]))
    photo_codes, name_codes = np.split(codes, 2)
    links = photo_codes[np.array(similar_pairs, np.int64).reshape(-1, 2)]
    rows, columns = (np.concatenate([ends, links[:, side]]) for side, ends in enumerate((photo_codes, name_codes)))
    graph = coo_array((np.ones(len(rows)), (rows, columns)), shape=(len(nodes), len(nodes)))
    component = connected_components(graph, directed=False)[1][photo_codes]
    ranked = pd.DataFrame({"unnamed": [not group for group in groups], "name": names, "component": component})
    smallest = ranked.sort_values(["unnamed", "name"]).drop_duplicates("component").set_index("component")["name"]
    return smallest.loc[component].tolist()


def check_given_splits(splits: Sequence[str], keys: Sequence[str], paths: Sequence[str]) -> None:
    """Raise UserError if photos with the same key, of `group_keys`, are in more than one of the user's splits."""
    photos = pd.DataFrame({"split": splits, "key": keys, "path": paths}).drop_duplicates(["key", "split"])
    straddling = photos[photos["key"].duplicated(keep=False)].sort_values("key")
    if len(straddling):
        pair = "; ".join(f"{row.path} in {row.split}" for row in straddling.iloc[:2].itertuples())
        key = straddling["key"].iloc[0]
        pair += f" of {key}" if key.startswith(GROUP) else ""
        raise UserError(
            f"photos of one group, or with the same bytes, must be in one split, got {pair} "
            f"({straddling['key'].nunique()} such groups; change the column split, or leave it out)"
        )


def _position(seed: int, key: str) -> float:
    return int.from_bytes(hashlib.sha256(f"{seed}:{key}".encode()).digest()[:8], "big") / 2**64


def _split_class(label: str, positions: pd.Series, val_fraction: float, test_fraction: float) -> list[str]:
    """Return the splits of a class's groups, given their sorted positions; all three splits get at least one."""
    count = len(positions)
    if count < MIN_PHOTOS_PER_CLASS:
        raise UserError(
            f"every class needs at least {MIN_PHOTOS_PER_CLASS} distinct photos (training, validation, test), "
            f"got {count} in {label!r} (add photos, or leave the class out with classes=...)"
        )
    test, held_out = np.searchsorted(positions, [test_fraction, test_fraction + val_fraction])
    test = min(max(1, test), count - 2)
    held_out = min(max(test + 1, held_out), count - 1)
    return ["test"] * test + ["validation"] * (held_out - test) + ["train"] * (count - held_out)


def _split_class_v2(positions: np.ndarray, val_fraction: float, test_fraction: float) -> list[str]:
    count, held_out_splits = len(positions), (test_fraction > 0) + (val_fraction > 0)
    most = count - max(1, int(LEAST_OF_TRAINING * (1 - val_fraction - test_fraction) * count))  # in test and validation
    most = max(most, held_out_splits)
    test = min(_held_out(positions, 0, test_fraction), most - (val_fraction > 0))
    validation = min(_held_out(positions[test:], test_fraction, val_fraction), most - test)
    return ["test"] * test + ["validation"] * validation + ["train"] * (count - test - validation)


def _held_out(positions: np.ndarray, start: float, fraction: float) -> int:
    """Return how many of the sorted positions belong to the split that takes ``fraction`` from ``start`` on."""
    if not fraction:
        return 0
    ends = np.full(len(positions), start + fraction)
    ends[: len(REACH)] = start + fraction * np.array(REACH[: len(positions)])
    return int(np.argmin([*(positions < ends), False]))


def _check_sizes(photos: pd.DataFrame, val_fraction: float, test_fraction: float) -> None:
    least = 1 + (val_fraction > 0) + (test_fraction > 0)
    distinct = photos.drop_duplicates()["label"].value_counts().sort_index()  # a group is one of each of its classes
    short = distinct[distinct < least]
    if short.empty:
        return
    names = ", ".join(f"{count} in {label!r}" for label, count in short.items())
    raise TooFewGroups(f"every class needs at least {least} distinct photos, got {names}", least, short.index.tolist())


ASSIGN_SPLITS = {1: assign_splits, 2: assign_splits_v2}  # by version of the split rules: see `rule_versions`
