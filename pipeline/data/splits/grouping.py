"""Decoded photos -> the same photos with groups and splits, so that nothing leaks from training into a test.

A group is all photos connected by bytes, pixels, similarity or the user's own groups; it is in one split. Photos with
equal pixels and two labels are quarantined, because one of the labels must be wrong. Photos that only look alike may
well have two labels: a part with and without its scratch.

Splits and groups that the user gives are trusted. Of copies across given splits, the one in the less protected split is
quarantined, and so are a few near duplicates; many of them are how the data set is, and are only reported.
"""

from __future__ import annotations

from typing import NamedTuple

import numpy as np
import pandas as pd

from pipeline.config import DataConfig
from pipeline.data.rule_versions import NEWEST, RuleVersions
from pipeline.data.rules import rule_text
from pipeline.data.splits.agreement import GreyOf
from pipeline.data.splits.assignment import ASSIGN_SPLITS, GROUP, SPLITS, TooFewGroups, check_given_splits, group_keys
from pipeline.data.splits.pairs import FIND_PAIRS
from pipeline.data.splits.split_notes import notes_on_shares, notes_on_sizes

FEW_ALIKE, FEW_ALIKE_SHARE = 10, 0.01  # photos that may be left out because they resemble one of another given split
DUPLICATE_KINDS = ("same pixels", "alike", "mirrored")


class GroupedPhotos(NamedTuple):
    """The result of `group_and_split`.

    Attributes:
        photos: the input rows with ``group`` and ``split``; ``reason`` says why a row is quarantined, else empty.
        duplicates: the pairs of duplicates: group, kind (of `DUPLICATE_KINDS`), distance (bits of the hash), agreement,
            and path, label and split of both photos; the split of a quarantined photo is empty.
        notes: sentences for the user on what the groups and splits are worth.
    """

    photos: pd.DataFrame
    duplicates: pd.DataFrame
    notes: tuple[str, ...] = ()


def group_and_split(
    photos: pd.DataFrame, grey_of: GreyOf, config: DataConfig, rules: RuleVersions = NEWEST
) -> GroupedPhotos:
    """Return the photos in groups and splits.

    Args:
        photos: a row per photo, numbered from 0: path, label, sha256, group, split (the user's), pixels, phash,
            mirrored_phash, and mirrored_pixels, which exact mirror images are found by.
        grey_of: row -> the photo's grey copy (see `fingerprints.py`).
        config: the data flags, which give the shares of the splits.
        rules: the versions of the grouping and split rules.

    Raises:
        TooFewGroups: a class has too few photos.
        UserError: a group is in several of the user's splits.
    """
    photos = photos.assign(reason=_conflicting_labels(photos), given_group=photos["group"])
    pairs, notes = FIND_PAIRS[rules.grouping](photos, grey_of, config.near_duplicates)
    photos["group"] = _assign_groups(photos, pairs[pairs["is_linked"]])
    is_given = bool(photos["split"].any())
    try:
        return _split(photos, pairs, notes, is_given, config, rules)
    except TooFewGroups as error:
        error.photos = photos
        raise


def _split(
    photos: pd.DataFrame,
    pairs: pd.DataFrame,
    notes: tuple[str, ...],
    is_given: bool,
    config: DataConfig,
    rules: RuleVersions,
) -> GroupedPhotos:
    """Set ``split`` and ``reason`` of the grouped photos, in place."""
    usable = photos["reason"] == ""
    if is_given:
        photos.loc[usable, "reason"] = FIND_LEAKS[rules.grouping](photos[usable], pairs)
        photos.loc[photos["reason"] != "", "split"] = ""
        _draw_missing_split(photos, config, rules)
        duplicates = _duplicate_table(photos, pairs)
        notes += _notes_on_given_splits(duplicates)
    else:
        fractions = config.val_fraction, config.test_fraction
        photos.loc[usable, "split"] = _drawn(photos[usable], *fractions, config.split_seed, rules)
        duplicates = _duplicate_table(photos, pairs)
        notes += notes_on_shares(photos[usable], config)
    notes += notes_on_sizes(photos[photos["reason"] == ""], is_given)
    return GroupedPhotos(photos.drop(columns="given_group"), duplicates, notes)


def _drawn(
    photos: pd.DataFrame, val_fraction: float, test_fraction: float, seed: int, rules: RuleVersions
) -> np.ndarray:
    return ASSIGN_SPLITS[rules.splits](photos["label"], photos["group"], val_fraction, test_fraction, seed)


def _draw_missing_split(photos: pd.DataFrame, config: DataConfig, rules: RuleVersions) -> None:
    """Take the test or the validation split from training, in place, if the user gave only the other two."""
    missing = sorted({"validation", "test"} - set(photos["split"]))
    if not missing or rules.splits == 1:
        return
    val_fraction = config.val_fraction * ("validation" in missing)
    test_fraction = config.test_fraction * ("test" in missing)
    train = photos["split"] == "train"
    photos.loc[train, "split"] = _drawn(photos[train], val_fraction, test_fraction, config.split_seed, rules)


def _conflicting_labels(photos: pd.DataFrame) -> pd.Series:
    """Return the reason to quarantine each photo whose pixels have several labels, else an empty string."""
    reasons = pd.Series("", photos.index, "str")
    copies = photos[photos["pixels"].duplicated(keep=False)]
    for _, labels in copies.groupby("pixels")["label"]:
        if labels.nunique() > 1:
            text = " and ".join(sorted(set(labels)))
            reasons[labels.index] = rule_text("same picture under two labels", text)
    return reasons


def _assign_groups(photos: pd.DataFrame, pairs: pd.DataFrame) -> pd.Series:
    """Return the key of each photo's group; a quarantined photo connects no others."""
    usable = (photos["reason"] == "").to_numpy()
    links = pairs[["left", "right"]].to_numpy(int)
    links = links[usable[links].all(axis=1)].tolist()
    digests, groups = photos["sha256"].copy(), photos["group"].copy()
    digests[~usable] += " quarantined"
    groups[~usable] = ""
    return group_keys(digests, groups, links)


def _find_leaks_v1(photos: pd.DataFrame, pairs: pd.DataFrame) -> pd.Series:
    """Return the reason to quarantine each photo that looks like one in a more protected of the user's splits.

    Raises UserError if bytes or the user's groups connect the two: the author of the splits can know that.
    """
    known_keys = group_keys(photos["sha256"], photos["given_group"])
    check_given_splits(photos["split"], known_keys, photos["path"])
    return _less_protected(photos, photos["group"])


def _find_leaks_v2(photos: pd.DataFrame, pairs: pd.DataFrame) -> pd.Series:
    """Return the reason to quarantine each photo that is a copy of one in a more protected split, or looks like one.

    Photos that only look alike stay if there are many, or if a class had no others: the author's data set is such.
    Raises UserError if a group of the user's is in several: one of the two columns must be wrong.
    """
    named = photos[photos["given_group"] != ""]
    check_given_splits(named["split"], GROUP + named["given_group"], named["path"])
    place = pd.Series(np.arange(len(photos)), photos.index)
    exact = pairs[pairs["is_exact"] & pairs["left"].isin(photos.index) & pairs["right"].isin(photos.index)]
    links = list(zip(place[exact["left"]], place[exact["right"]], strict=True))
    keys = group_keys(photos["sha256"], pd.Series("", photos.index, "str"), links)
    copies = _less_protected(photos, keys)
    alike = _less_protected(photos, photos["group"])
    only_alike = int(((alike != "") & (copies == "")).sum())
    places = photos[["label", "split"]]
    leaves_none_empty = len(places.drop_duplicates()) == len(places[alike == ""].drop_duplicates())
    is_few = only_alike <= max(FEW_ALIKE, FEW_ALIKE_SHARE * len(photos))
    return alike if is_few and leaves_none_empty else copies


def _less_protected(photos: pd.DataFrame, keys: pd.Series) -> pd.Series:
    """Return the reason to quarantine each photo that shares a key with one in a more protected split, or nothing."""
    protected = photos.assign(key=keys, rank=photos["split"].map(SPLITS.index)).sort_values("rank", kind="stable")
    most_protected = protected.drop_duplicates("key", keep="last").set_index("key").loc[keys]
    return pd.Series(
        [
            "" if own == split else rule_text("alike across given splits", f"{path} in {split}")
            for own, split, path in zip(photos["split"], most_protected["split"], most_protected["path"], strict=True)
        ],
        index=photos.index,
    )


def _duplicate_table(photos: pd.DataFrame, pairs: pd.DataFrame) -> pd.DataFrame:
    left, right = pairs["left"].to_numpy(int), pairs["right"].to_numpy(int)
    same = photos["pixels"].iloc[left].to_numpy() == photos["pixels"].iloc[right].to_numpy()
    kinds = np.where(pairs["is_mirrored"].to_numpy(bool), DUPLICATE_KINDS[2], DUPLICATE_KINDS[1])
    table = pd.DataFrame(
        {
            "group": photos["group"].iloc[left].to_numpy(),
            "kind": np.where(same, DUPLICATE_KINDS[0], kinds).astype(object),
            "distance": pairs["distance"].to_numpy(int),
            "agreement": pairs["agreement"].to_numpy(float).round(3),
        }
    )
    for side, prefix in ((left, ""), (right, "other_")):
        for name in ("path", "label", "split"):
            table[prefix + name] = photos[name].iloc[side].to_numpy()
    return table.sort_values(["kind", "path", "other_path"]).reset_index(drop=True)


def _notes_on_given_splits(duplicates: pd.DataFrame) -> tuple[str, ...]:
    across = duplicates[(duplicates["split"] != duplicates["other_split"]) & (duplicates["other_split"] != "")]
    across = across[across["split"] != ""]
    if across.empty:
        return ()
    example = f"{across['path'].iloc[0]} in {across['split'].iloc[0]}, {across['other_path'].iloc[0]} in "
    return (
        f"{len(across)} pairs look alike across the splits that you gave, such as {example}"
        f"{across['other_split'].iloc[0]}: they are kept (all are in duplicates.csv)",
    )


FIND_LEAKS = {1: _find_leaks_v1, 2: _find_leaks_v2}  # by version of the grouping rules: see `rule_versions`
