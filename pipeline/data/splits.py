"""Which photo goes to training, validation and test: stratified, seeded, independent of file order.

Photos with the same key (the same bytes) always share a split, whatever their names or labels.
"""

from __future__ import annotations

import hashlib
from collections.abc import Sequence

import numpy as np
import pandas as pd

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


def _cut(label: str, count: int, val_fraction: float, test_fraction: float) -> list[str]:
    if count < MIN_PHOTOS_PER_CLASS:
        raise UserError(
            f"every class needs at least {MIN_PHOTOS_PER_CLASS} distinct photos (training, validation, test), "
            f"got {count} in {label!r} (add photos, or leave the class out with classes=...)"
        )
    test = min(max(1, round(count * test_fraction)), count - 2)
    validation = min(max(1, round(count * val_fraction)), count - test - 1)
    return ["test"] * test + ["validation"] * validation + ["train"] * (count - test - validation)
