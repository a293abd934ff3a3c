"""Decoded photos -> the same photos with groups and splits, so that nothing leaks from training into a test.

A group is all photos connected by bytes, pixels, similarity or the user's own groups; it is in one split. Photos with
equal pixels and two labels are quarantined, because one of the labels must be wrong. Photos that only look alike may
well have two labels: a part with and without its scratch.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import NamedTuple

import numpy as np
import pandas as pd

from pipeline.config import DataConfig
from pipeline.data.rule_versions import NEWEST, RuleVersions
from pipeline.data.rules import rule_text
from pipeline.data.splits.assignment import ASSIGN_SPLITS, SPLITS, check_given_splits, group_keys
from pipeline.data.splits.duplicates import Pair, similar_pairs

DUPLICATE_KINDS = ("same pixels", "alike", "mirrored")


class GroupedPhotos(NamedTuple):
    """The result of `group_and_split`.

    Attributes:
        photos: the input rows with ``group`` and ``split``; ``reason`` says why a row is quarantined, else empty.
        duplicates: the pairs of duplicates: group, kind (of `DUPLICATE_KINDS`), distance (bits of the hash), agreement,
            and path, label and split of both photos; the split of a quarantined photo is empty.
    """

    photos: pd.DataFrame
    duplicates: pd.DataFrame


def group_and_split(
    photos: pd.DataFrame, grey_of: Callable[[int], np.ndarray], config: DataConfig, rules: RuleVersions = NEWEST
) -> GroupedPhotos:
    """Return the photos in groups and splits.

    Args:
        photos: a row per photo, numbered from 0: path, label, sha256, group, split (the user's), pixels, phash,
            mirrored_phash.
        grey_of: row -> the photo's grey copy (see `fingerprints.py`).
        config: the data flags, which give the shares of the splits.
        rules: the versions of the grouping and split rules.

    Raises:
        UserError: a class has too few photos, or a group is in several of the user's splits.
    """
    photos = photos.assign(reason=_conflicting_labels(photos), given_group=photos["group"])
    pairs = FIND_PAIRS[rules.grouping](photos, grey_of)
    photos["group"] = _assign_groups(photos, pairs)
    usable = photos["reason"] == ""
    if photos["split"].any():
        photos.loc[usable, "reason"] = _leaks_across_given_splits(photos[usable])
        photos.loc[photos["reason"] != "", "split"] = ""
    else:
        labels, keys = photos.loc[usable, "label"].tolist(), photos.loc[usable, "group"].tolist()
        splits = ASSIGN_SPLITS[rules.splits](labels, keys, config.val_fraction, config.test_fraction, config.split_seed)
        photos.loc[usable, "split"] = splits
    return GroupedPhotos(photos.drop(columns="given_group"), _duplicate_table(photos, pairs))


def _conflicting_labels(photos: pd.DataFrame) -> list[str]:
    """Return the reason to quarantine each photo whose pixels have several labels, else an empty string."""
    several = photos[photos.groupby("pixels")["label"].transform("nunique") > 1]
    labels = several.groupby("pixels")["label"].agg(lambda names: " and ".join(sorted(set(names)))).to_dict()
    rule = "same picture under two labels"
    return [rule_text(rule, labels[pixels]) if pixels in labels else "" for pixels in photos["pixels"]]


def _find_pairs(photos: pd.DataFrame, grey_of: Callable[[int], np.ndarray]) -> list[Pair]:
    """Return the pairs of equal pixels (each copy with the first photo of its pixels) and of similar pictures."""
    first = photos.index.to_series().groupby(photos["pixels"]).transform("min").to_numpy()
    copies = np.flatnonzero(first != photos.index.to_numpy())
    same = [Pair(int(first[copy]), int(copy), 0, 1.0, False) for copy in copies]
    pictures = np.unique(first)
    phashes, mirrored = (photos.loc[pictures, name].to_numpy(np.uint64) for name in ("phash", "mirrored_phash"))
    similar = similar_pairs(phashes, mirrored, lambda index: grey_of(int(pictures[index])))
    return same + [pair._replace(left=int(pictures[pair.left]), right=int(pictures[pair.right])) for pair in similar]


def _assign_groups(photos: pd.DataFrame, pairs: list[Pair]) -> list[str]:
    """Return the key of each photo's group; a quarantined photo connects no others."""
    usable = (photos["reason"] == "").to_numpy()
    links = [(pair.left, pair.right) for pair in pairs if usable[pair.left] and usable[pair.right]]
    digests = photos["sha256"].where(usable, photos["sha256"] + " quarantined")
    return group_keys(digests.tolist(), photos["group"].where(usable, "").tolist(), links)


def _leaks_across_given_splits(photos: pd.DataFrame) -> pd.Series:
    """Return the reason to quarantine each photo that looks like one in a more protected of the user's splits.

    Raises UserError if bytes or the user's groups connect the two: the author of the splits can know that.
    """
    known_keys = group_keys(photos["sha256"].tolist(), photos["given_group"].tolist())
    check_given_splits(photos["split"].tolist(), known_keys, photos["path"].tolist())
    protected = photos.assign(rank=photos["split"].map(SPLITS.index)).sort_values("rank", kind="stable")
    most_protected = protected.drop_duplicates("group", keep="last").set_index("group").loc[photos["group"]]
    return pd.Series(
        [
            "" if own == split else rule_text("alike across given splits", f"{path} in {split}")
            for own, split, path in zip(photos["split"], most_protected["split"], most_protected["path"], strict=True)
        ],
        index=photos.index,
    )


def _duplicate_table(photos: pd.DataFrame, pairs: list[Pair]) -> pd.DataFrame:
    left, right = ([pair[side] for pair in pairs] for side in (0, 1))
    same = photos["pixels"].to_numpy()[left] == photos["pixels"].to_numpy()[right]
    table = pd.DataFrame(
        {
            "group": photos["group"].to_numpy()[left],
            "kind": [
                DUPLICATE_KINDS[0] if equal else DUPLICATE_KINDS[1 + pair.mirrored]
                for equal, pair in zip(same, pairs, strict=True)
            ],
            "distance": [pair.distance for pair in pairs],
            "agreement": [round(pair.agreement, 3) for pair in pairs],
        }
    )
    for side, prefix in ((left, ""), (right, "other_")):
        for name in ("path", "label", "split"):
            table[prefix + name] = photos[name].to_numpy()[side]
    return table.sort_values(["kind", "path", "other_path"]).reset_index(drop=True)


FIND_PAIRS = {1: _find_pairs}  # by version of the grouping rules: see `rule_versions`
