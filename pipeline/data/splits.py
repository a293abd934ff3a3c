"""Which photo goes to training, validation and test: stratified, seeded, independent of file order.

Photos with the same key (the same bytes, or a group that the user named) always share a split, whatever their names or
labels.
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
    """Return the split name of every photo.

    Within each class the groups of equal key are ranked by SHA-256 of (seed, key); the first
    ``test_fraction`` of them become test, the next ``val_fraction`` validation, at least one each.

    Raises:
        UserError: a class has fewer than three distinct photos.
    """
    photos = pd.DataFrame({"label": labels, "key": keys})
    groups = photos.groupby("key", as_index=False)["label"].min()
    groups["rank"] = [hashlib.sha256(f"{seed}:{key}".encode()).digest() for key in groups["key"]]
    split_of: dict[str, str] = {}
    for label, members in groups.sort_values("rank").groupby("label"):
        split_of.update(zip(members["key"], _cut(str(label), len(members), val_fraction, test_fraction), strict=True))
    return photos["key"].map(split_of).to_numpy()


def leak_keys(digests: Sequence[str], groups: Sequence[str]) -> list[str]:
    """Return a key per photo that photos share if their bytes or their groups are equal, also by way of others.

    Args:
        digests: of the photos' bytes.
        groups: that the photos are in; empty for none.
    """
    names = [f"group {group}" if group else digest for digest, group in zip(digests, groups, strict=True)]
    codes, found = pd.factorize(pd.Series([*digests, *names]))
    ends = np.split(codes, 2)
    graph = coo_array((np.ones(len(digests)), (ends[0], ends[1])), shape=(len(found), len(found)))
    component = connected_components(graph, directed=False)[1][ends[0]]
    least = pd.Series(names).groupby(component).min()
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


def _cut(label: str, count: int, val_fraction: float, test_fraction: float) -> list[str]:
    if count < MIN_PHOTOS_PER_CLASS:
        raise UserError(
            f"every class needs at least {MIN_PHOTOS_PER_CLASS} distinct photos (training, validation, test), "
            f"got {count} in {label!r} (add photos, or leave the class out with classes=...)"
        )
    test = min(max(1, round(count * test_fraction)), count - 2)
    validation = min(max(1, round(count * val_fraction)), count - test - 1)
    return ["test"] * test + ["validation"] * validation + ["train"] * (count - test - validation)
