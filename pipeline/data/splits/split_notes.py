"""Photos in groups and splits -> sentences that warn of splits whose figures will say little, with the remedy."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import pandas as pd

from pipeline.config import DataConfig

FEW_PHOTOS = 5  # of a class in a split: one more photo right or wrong is 20 points or more of its recall
MISSED = 0.02  # of all photos: a share that is off by this, and by what the draw of lots explains, is named
LARGE_GROUP, LARGE_SHARE = 10, 0.1  # photos, and share of their class, of a group that is named
FLAGS = {"validation": "val_fraction", "test": "test_fraction"}
NAMED = 5  # classes, or groups, in a sentence


def notes_on_shares(photos: pd.DataFrame, config: DataConfig) -> tuple[str, ...]:
    """Return a warning if the splits' shares miss the wanted ones by more than a draw of lots explains."""
    if photos.empty:
        return ()
    wanted = {"validation": config.val_fraction, "test": config.test_fraction}
    wanted = {"train": 1 - sum(wanted.values())} | wanted
    got = photos["split"].value_counts(normalize=True)
    if not any(
        abs(got.get(split, 0.0) - share) > MISSED + 2 * np.sqrt(share * (1 - share) / len(photos))
        for split, share in wanted.items()
    ):
        return ()
    came_out = "/".join(f"{100 * got.get(split, 0.0):.0f}" for split in wanted)
    asked_for = "/".join(f"{100 * share:.0f}" for share in wanted.values())
    groups = photos["group"].value_counts()
    largest = (
        f"the largest group has {groups.iloc[0]} photos; near_duplicates=false parts what only looks alike"
        if groups.iloc[0] >= LARGE_GROUP
        else "every small class has photos in each split"
    )
    return (
        f"WARNING: the splits are {came_out} % of the photos (train/validation/test), not {asked_for}: {largest}; "
        "or give a column split",
    )


def notes_on_sizes(photos: pd.DataFrame, is_given: bool) -> tuple[str, ...]:
    """Return sentences on classes with too few photos to validate or test on, and on large groups.

    Args:
        photos: label, group, split.
        is_given: whether the user gave the splits.
    """
    counts = photos.groupby(["label", "split"]).size().unstack(fill_value=0)
    few = {split: counts.index[counts[split] < FEW_PHOTOS].tolist() for split in FLAGS if split in counts}
    notes = [
        f"WARNING: fewer than {FEW_PHOTOS} {split} photos of {_named(labels)}: their figures say little "
        + ("(add photos)" if is_given else f"(add photos, raise {FLAGS[split]}, or give a column split)")
        for split, labels in few.items()
        if labels
    ]
    groups = photos.groupby(["label", "group"]).size().sort_values(ascending=False, kind="stable")
    totals = photos["label"].value_counts()
    large = [
        f"{size} of {totals[label]} photos of {label}"
        for (label, _), size in groups[groups >= LARGE_GROUP].items()
        if size >= LARGE_SHARE * totals[label]
    ]
    if large:
        notes.append(f"groups that share a split, and count as one picture: {_named(large)}")
    return tuple(notes)


def _named(names: Sequence[object]) -> str:
    return ", ".join(map(str, names[:NAMED])) + (f" and {len(names) - NAMED} more" if len(names) > NAMED else "")
