"""Photos that can be decoded -> each with its group and its split, so that nothing leaks from training into a test.

A group is what bytes, pixels, looks or the user's own groups connect; it is in one split. Equal pixels under two labels
are quarantined, because one of the labels must be wrong. Photos that only look alike may well have two: a part with and
without its scratch.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import NamedTuple

import numpy as np
import pandas as pd

from pipeline.config import DataConfig
from pipeline.data.rule_versions import NEWEST, RuleVersions
from pipeline.data.rules import by_rule
from pipeline.data.splits.assignment import ASSIGN_SPLITS, SPLITS, check_given, leak_keys
from pipeline.data.splits.duplicates import Pair, similar_pairs

KINDS = ("same pixels", "alike", "mirrored")


class Separated(NamedTuple):
    """What comes of it.

    Attributes:
        photos: the rows that were given, with ``group`` and ``split``; ``reason`` says why a row is to be quarantined.
        duplicates: the pairs that connect photos: group, kind (of `KINDS`), distance (bits of the hash), agreement,
            and path, label and split of either; the split is empty for a photo that is quarantined.
    """

    photos: pd.DataFrame
    duplicates: pd.DataFrame


def separated(
    photos: pd.DataFrame, grey_of: Callable[[int], np.ndarray], config: DataConfig, rules: RuleVersions = NEWEST
) -> Separated:
    """Return the photos in groups and splits.

    Args:
        photos: a row per photo, numbered from 0: path, label, sha256, group, split (the user's), pixels, phash,
            mirrored_phash.
        grey_of: row -> the photo's grey copy (see `fingerprints.py`).
        config: what splits are wanted.
        rules: the versions of the rules of grouping and splits.

    Raises:
        UserError: a class has too few photos, or the user's splits tear a group.
    """
    photos = photos.assign(reason=_two_labels(photos), given_group=photos["group"])
    pairs = PAIRS[rules.grouping](photos, grey_of)
    photos["group"] = _groups(photos, pairs)
    usable = photos["reason"] == ""
    if photos["split"].any():
        photos.loc[usable, "reason"] = _across_given_splits(photos[usable])
        photos.loc[photos["reason"] != "", "split"] = ""
    else:
        labels, keys = photos.loc[usable, "label"].tolist(), photos.loc[usable, "group"].tolist()
        splits = ASSIGN_SPLITS[rules.splits](labels, keys, config.val_fraction, config.test_fraction, config.split_seed)
        photos.loc[usable, "split"] = splits
    return Separated(photos.drop(columns="given_group"), _table(photos, pairs))


def _two_labels(photos: pd.DataFrame) -> list[str]:
    """Return why each photo is to be quarantined, if its pixels have several labels; else empty text."""
    several = photos[photos.groupby("pixels")["label"].transform("nunique") > 1]
    labels = several.groupby("pixels")["label"].agg(lambda names: " and ".join(sorted(set(names)))).to_dict()
    rule = "same picture under two labels"
    return [by_rule(rule, labels[pixels]) if pixels in labels else "" for pixels in photos["pixels"]]


def _pairs(photos: pd.DataFrame, grey_of: Callable[[int], np.ndarray]) -> list[Pair]:
    """Return the pairs of equal pixels, each photo with the first of its picture, and those pictures that are alike."""
    first = photos.index.to_series().groupby(photos["pixels"]).transform("min").to_numpy()
    copies = np.flatnonzero(first != photos.index.to_numpy())
    same = [Pair(int(first[copy]), int(copy), 0, 1.0, False) for copy in copies]
    pictures = np.unique(first)
    phashes, mirrored = (photos.loc[pictures, name].to_numpy(np.uint64) for name in ("phash", "mirrored_phash"))
    alike = similar_pairs(phashes, mirrored, lambda place: grey_of(int(pictures[place])))
    return same + [pair._replace(left=int(pictures[pair.left]), right=int(pictures[pair.right])) for pair in alike]


def _groups(photos: pd.DataFrame, pairs: list[Pair]) -> list[str]:
    """Return the key of each photo's group; a photo that is quarantined connects no others."""
    usable = (photos["reason"] == "").to_numpy()
    links = [(pair.left, pair.right) for pair in pairs if usable[pair.left] and usable[pair.right]]
    digests = photos["sha256"].where(usable, photos["sha256"] + " quarantined")
    return leak_keys(digests.tolist(), photos["group"].where(usable, "").tolist(), links)


def _across_given_splits(photos: pd.DataFrame) -> pd.Series:
    """Return why photos are to be quarantined that look like one in a split of the user's that is more to be protected.

    Raises UserError where not only looks connect them, which whoever gave the splits can know.
    """
    known = leak_keys(photos["sha256"].tolist(), photos["given_group"].tolist())
    check_given(photos["split"].tolist(), known, photos["path"].tolist())
    protected = photos.assign(rank=photos["split"].map(SPLITS.index)).sort_values("rank", kind="stable")
    best = protected.drop_duplicates("group", keep="last").set_index("group").loc[photos["group"]]
    return pd.Series(
        [
            "" if own == split else by_rule("alike across given splits", f"{path} in {split}")
            for own, split, path in zip(photos["split"], best["split"], best["path"], strict=True)
        ],
        index=photos.index,
    )


def _table(photos: pd.DataFrame, pairs: list[Pair]) -> pd.DataFrame:
    left, right = ([pair[side] for pair in pairs] for side in (0, 1))
    same = photos["pixels"].to_numpy()[left] == photos["pixels"].to_numpy()[right]
    table = pd.DataFrame(
        {
            "group": photos["group"].to_numpy()[left],
            "kind": [KINDS[0] if equal else KINDS[1 + pair.mirrored] for equal, pair in zip(same, pairs, strict=True)],
            "distance": [pair.distance for pair in pairs],
            "agreement": [round(pair.agreement, 3) for pair in pairs],
        }
    )
    for side, prefix in ((left, ""), (right, "other_")):
        for name in ("path", "label", "split"):
            table[prefix + name] = photos[name].to_numpy()[side]
    return table.sort_values(["kind", "path", "other_path"]).reset_index(drop=True)


PAIRS = {1: _pairs}  # by version of the rules of grouping: see `rule_versions`
