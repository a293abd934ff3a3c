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
from collections.abc import Callable, Sequence
from typing import NamedTuple, TypeAlias

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
Texts: TypeAlias = Sequence[str] | pd.Series


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


def assign_splits(labels: Texts, keys: Texts, val_fraction: float, test_fraction: float, seed: int) -> np.ndarray:
    """Return the split name of every photo; every class has groups in all three splits.

    The position of a group is the SHA-256 of the seed and its key, as a number in 0..1: below ``test_fraction`` is
    test, then comes validation, then training. A group with several labels counts for the first of them by name.

    Raises:
        UserError: a class has fewer than three distinct photos.
    """
    groups = _groups(labels, keys, seed)

    def split_class(label: str, positions: np.ndarray) -> list[str]:
        return _split_class(label, positions, val_fraction, test_fraction)

    return _splits_of(groups, split_class)


def assign_splits_v2(labels: Texts, keys: Texts, val_fraction: float, test_fraction: float, seed: int) -> np.ndarray:
    """Return the split name of every photo, as `assign_splits` does, with a smaller spread in small classes.

    The second and third group of a class are in test, also if they lie above ``test_fraction``, up to twice and one and
    a half times of it; the same holds for validation. Training keeps at least half of its share. A fraction of 0 leaves
    its split empty.

    Raises:
        TooFewGroups: classes have fewer groups than there are splits.
    """
    groups = _groups(labels, keys, seed)
    _check_sizes(groups, val_fraction, test_fraction)

    def split_class(_: str, positions: np.ndarray) -> list[str]:
        return _split_class_v2(positions, val_fraction, test_fraction)

    return _splits_of(groups, split_class)


class _Groups(NamedTuple):
    """The groups of photos, numbered in the order of their keys.

    Attributes:
        labels: the names of the labels, sorted.
        label_of_photo: int (n,), an index of ``labels``.
        group_of_photo: int (n,).
        label: int, by group: the first of its photos' labels.
        position: float in 0..1, by group.
    """

    labels: Sequence[str]
    label_of_photo: np.ndarray
    group_of_photo: np.ndarray
    label: np.ndarray
    position: np.ndarray


def _groups(labels: Texts, keys: Texts, seed: int) -> _Groups:
    label_of_photo, names = pd.factorize(pd.Series(labels), sort=True)
    group_of_photo, distinct = pd.factorize(pd.Series(keys), sort=True)
    label = np.full(len(distinct), len(names))
    np.minimum.at(label, group_of_photo, label_of_photo)
    position = np.fromiter((_position(seed, key) for key in distinct), float, len(distinct))
    return _Groups(names.tolist(), label_of_photo, group_of_photo, label, position)


def _splits_of(groups: _Groups, split_class: Callable[[str, np.ndarray], list[str]]) -> np.ndarray:
    """Return the split of each photo: ``split_class`` gives those of a label's groups, by their sorted positions."""
    order = np.lexsort((groups.position, groups.label))  # stable: groups of one position stay in the order of keys
    present, starts = np.unique(groups.label[order], return_index=True)
    splits = np.empty(len(order), object)
    for label, members in zip(present, np.split(order, starts[1:]), strict=True):
        splits[members] = split_class(groups.labels[label], groups.position[members])
    return splits[groups.group_of_photo]


def group_keys(digests: pd.Series, groups: pd.Series, similar_pairs: Sequence[tuple[int, int]] = ()) -> pd.Series:
    """Return a key per photo, shared by photos that bytes, group or similarity connect, directly or transitively.

    The key is the smallest name among the connected photos: names of the user's groups first, then digests.

    Args:
        digests: digest of each photo's bytes.
        groups: the user's group of each photo; empty for none.
        similar_pairs: pairs of places of photos that look alike.
    """
    is_named = (groups != "").to_numpy()
    photo_codes, nodes = pd.factorize(digests)
    group_codes, _ = pd.factorize(groups[is_named])
    name_codes = photo_codes.copy()
    name_codes[is_named] = len(nodes) + group_codes
    links = photo_codes[np.array(similar_pairs, np.int64).reshape(-1, 2)]
    rows, columns = (np.concatenate([ends, links[:, side]]) for side, ends in enumerate((photo_codes, name_codes)))
    count = int(name_codes.max(initial=len(nodes) - 1)) + 1
    graph = coo_array((np.ones(len(rows)), (rows, columns)), shape=(count, count))
    component = connected_components(graph, directed=False)[1][photo_codes]
    keys = digests.mask(is_named, GROUP + groups) if is_named.any() else digests.copy()
    shared = np.flatnonzero(np.bincount(component)[component] > 1)  # of the others, the key is the name
    ranked = pd.DataFrame({"unnamed": ~is_named[shared], "name": keys.iloc[shared], "component": component[shared]})
    smallest = ranked.sort_values(["unnamed", "name"]).drop_duplicates("component").set_index("component")["name"]
    keys.iloc[shared] = smallest.loc[component[shared]].to_numpy()
    return keys


def check_given_splits(splits: pd.Series, keys: pd.Series, paths: pd.Series) -> None:
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


def _split_class(label: str, positions: np.ndarray, val_fraction: float, test_fraction: float) -> list[str]:
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


def _check_sizes(groups: _Groups, val_fraction: float, test_fraction: float) -> None:
    least = 1 + (val_fraction > 0) + (test_fraction > 0)
    pairs = pd.DataFrame({"label": groups.label_of_photo, "group": groups.group_of_photo}).drop_duplicates()
    distinct = np.bincount(pairs["label"], minlength=len(groups.labels))  # a group is one of each of its classes
    short = {label: int(count) for label, count in zip(groups.labels, distinct, strict=True) if count < least}
    if not short:
        return
    names = ", ".join(f"{count} in {label!r}" for label, count in short.items())
    raise TooFewGroups(f"every class needs at least {least} distinct photos, got {names}", least, list(short))


ASSIGN_SPLITS = {1: assign_splits, 2: assign_splits_v2}  # by version of the split rules: see `rule_versions`
