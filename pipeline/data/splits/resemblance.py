"""Candidate pairs -> which photos are near duplicates, judged by how alike the photos of this very data set are.

On holiday photos any agreement of 0.7 is a copy or a burst; X-rays, digits, and parts under a fixed camera agree that
well without being copies. So a pair must agree better than is usual here, by four measures that follow from the photos
alone (docs/intake.md has the reasons, docs/log.md the figures):

1. What two photos of different labels look like is no evidence of a copy. If more than 2 % of such pairs, drawn
   at random, agree by 0.5, the photos have one layout, and resemblance says nothing: there are no near duplicates.
2. Nor is what a label's photos usually look like: the least agreement rises until few random pairs of the label reach
   it, up to `SURE`, from which on a majority of one label may be a burst.
3. A group is not a chain: half of its pairs agree. Otherwise its least agreement rises, and it falls apart.
4. Where most labels are mostly one group each, that is how the data set is, and there are no near duplicates.

A pair of two labels may share a split, but it never connects further photos.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import NamedTuple

import numpy as np
import pandas as pd
from scipy.sparse import coo_array
from scipy.sparse.csgraph import connected_components

from pipeline.data.splits.agreement import GreyOf, agreements
from pipeline.data.splits.candidates import candidate_pairs

LEVELS = np.array([0.7, 0.75, 0.8, 0.85, 0.9, 0.95, 0.97, 0.99])  # least agreements: few, so that growth moves few
SURE = 0.9
SAMPLED_ACROSS = 2000  # random pairs of the set
ONE_LAYOUT = 0.5  # agreement that random pairs of two labels do not reach, but for true copies, which are few:
RARE_ACROSS, FEW_ACROSS = 0.02, 5  # their share, and their number in small data sets
RARE_PAIRS, FEW_COPIES = 0.1, 4  # share of a label's random pairs: ten bursts, one of a third, or a few copies each
SAMPLED_PAIRS = 300  # of a label of which `LINKED` of the photos have one that looks alike
LINKED = 0.25  # below it, the pairs that look alike are rare in any case
COLUMNS = ["left", "right", "distance", "agreement", "is_mirrored", "is_linked"]
FEW_TO_CLUMP = 10  # photos of a label, below which one group says nothing about it
COHESION = 0.5
COHESION_PAIRS = 100  # compared in a group
NAMED = 5  # classes in a note


class NearDuplicates(NamedTuple):
    """The result of `near_duplicates`.

    Attributes:
        pairs: left, right, distance, agreement, is_mirrored, and whether the pair shares a split (is_linked).
        notes: sentences on what was not taken for a copy.
    """

    pairs: pd.DataFrame
    notes: tuple[str, ...]


def near_duplicates(
    labels: np.ndarray | pd.Series, phashes: np.ndarray, mirrored: np.ndarray, grey_of: GreyOf
) -> NearDuplicates:
    """Return the pairs of photos that show one picture.

    Args:
        labels: str (n,).
        phashes: uint64 (n,).
        mirrored: uint64 (n,), the hashes of the mirror images.
        grey_of: index -> grey copy (see `fingerprints.py`).
    """
    codes, names = pd.factorize(labels, sort=True)
    if _have_one_layout(codes, grey_of):
        note = "photos of different classes look much alike: only exact copies and mirror images count as one picture"
        return NearDuplicates(pd.DataFrame(columns=COLUMNS), (note,))
    pairs = candidate_pairs(codes, phashes, mirrored)
    ends = pairs["left"].to_numpy(), pairs["right"].to_numpy()
    pairs["agreement"] = agreements(*ends, pairs["is_mirrored"].to_numpy(), grey_of)
    pairs = pairs[pairs["agreement"] >= LEVELS[0]].sort_values("agreement", ascending=False, kind="stable")
    pairs = pairs.drop_duplicates(["left", "right"]).sort_values(["left", "right"], ignore_index=True)
    pairs["label"], other_label = codes[pairs["left"]], codes[pairs["right"]]
    pairs["is_across"] = pairs["label"] != other_label
    least = _least_of_labels(pairs, codes, grey_of)  # an index of LEVELS by label
    pairs["level"] = np.searchsorted(LEVELS, pairs["agreement"], side="right") - 1
    pairs = pairs[pairs["level"] >= np.maximum(least[pairs["label"]], least[other_label])].reset_index(drop=True)
    links, in_chains = _cohesive_links(pairs[~pairs["is_across"]], least, grey_of, len(codes))
    if _are_mostly_one_picture(pairs.loc[links], codes):
        note = (
            "WARNING: most photos of most classes look like one picture, and are split all the same: "
            "if they are frames of one scene, and not parts under a fixed camera, give a column group"
        )
        return NearDuplicates(pd.DataFrame(columns=COLUMNS), (note,))
    links = np.concatenate([links, _joined_across(pairs[pairs["is_across"]], pairs.loc[links], len(codes))])
    pairs["is_linked"] = pairs.index.isin(links)
    shown = pairs.loc[pairs["is_linked"] | pairs["is_across"], COLUMNS]
    return NearDuplicates(shown.reset_index(drop=True), _notes(names[least > 0], in_chains))


def _have_one_layout(codes: np.ndarray, grey_of: GreyOf) -> bool:
    """Return whether photos of different classes agree, and many of them: a burst agrees with one photo many times."""
    pairs = _random_pairs(np.arange(len(codes)), SAMPLED_ACROSS)
    across = pairs[codes[pairs[:, 0]] != codes[pairs[:, 1]]]
    across = np.where((codes[across[:, 0]] < codes[across[:, 1]])[:, None], across, across[:, ::-1])
    agreed = agreements(across[:, 0], across[:, 1], np.zeros(len(across), bool), grey_of) >= ONE_LAYOUT
    photos = min(len(np.unique(across[agreed, side])) for side in (0, 1))
    return bool(agreed.sum() > max(RARE_ACROSS * len(across), FEW_ACROSS) and photos > FEW_ACROSS)


def _least_of_labels(pairs: pd.DataFrame, codes: np.ndarray, grey_of: GreyOf) -> np.ndarray:
    """Return, by label, the level that few random pairs of its photos reach, at most that of `SURE`."""
    sizes = np.bincount(codes)
    least = np.zeros(len(sizes), int)
    within = pairs[~pairs["is_across"]]
    linked = np.bincount(codes[np.union1d(within["left"], within["right"])], minlength=len(sizes))
    suspected = np.flatnonzero(linked >= LINKED * sizes)
    random = [_random_pairs(np.flatnonzero(codes == code), SAMPLED_PAIRS) for code in suspected]
    for code, found in zip(suspected, _agreements_of(random, grey_of), strict=True):
        rare = max(RARE_PAIRS, FEW_COPIES / sizes[code])
        least[code] = sum((found >= level).mean() > rare for level in LEVELS[LEVELS < SURE])
    return least


def _cohesive_links(pairs: pd.DataFrame, least: np.ndarray, grey_of: GreyOf, count: int) -> tuple[np.ndarray, int]:
    """Return which pairs of one label connect groups that are no chains, and how many photos were in chains."""
    kept, waiting = [], pairs
    chained: set[int] = set()
    for level in range(len(LEVELS)):
        waiting = waiting[waiting["level"] >= level]
        ready = waiting[level >= least[waiting["label"]]]
        if ready.empty:
            continue
        photos = np.union1d(ready["left"], ready["right"])
        groups = pd.Series(photos).groupby(_components(ready, count)[photos])
        members = [group.to_numpy() for _, group in groups if len(group) > 2]  # a pair is no chain
        agreed = _agreements_of([_random_pairs(photos, COHESION_PAIRS) for photos in members], grey_of)
        chains = [
            group for group, found in zip(members, agreed, strict=True) if (found >= LEVELS[level]).mean() < COHESION
        ]
        in_chain = ready["left"].isin(np.concatenate([*chains, np.empty(0, int)]))
        chained.update(*(chain.tolist() for chain in chains))
        kept.append(ready.index[~in_chain])
        waiting = waiting.drop(index=kept[-1])
    links = np.concatenate([*kept, np.empty(0, int)]).astype(int)
    return links, len(chained)


def _are_mostly_one_picture(links: pd.DataFrame, codes: np.ndarray) -> bool:
    """Return whether most labels, and more than one, are mostly one group: a burst is the accident of one label."""
    sizes = np.bincount(codes)
    members = pd.DataFrame({"label": codes, "component": _components(links, len(codes))}).value_counts()
    largest = members.groupby("label").max().sort_index().to_numpy()
    one_picture = int(((largest >= sizes / 2) & (sizes >= FEW_TO_CLUMP)).sum())
    return one_picture > 1 and one_picture >= len(sizes) / 2


def _joined_across(across: pd.DataFrame, links: pd.DataFrame, count: int) -> np.ndarray:
    """Return which pairs of two labels share a split: the most alike first, and no group more than once."""
    component = _components(links, count)
    joined: list[int] = []
    taken: set[int] = set()
    for pair in across.sort_values(["agreement", "left", "right"], ascending=[False, True, True]).itertuples():
        groups = {component[pair.left], component[pair.right]}
        if not groups & taken:
            joined.append(pair.Index)
            taken |= groups
    return np.array(joined, int)


def _components(links: pd.DataFrame, count: int) -> np.ndarray:
    ends = links["left"].to_numpy(), links["right"].to_numpy()
    return np.asarray(connected_components(coo_array((np.ones(len(links)), ends), shape=(count, count)), False)[1])


def _random_pairs(photos: np.ndarray, most: int) -> np.ndarray:
    """Return pairs (m, 2) of photos: all of them, or ``most`` that are always the same."""
    if len(photos) * (len(photos) - 1) // 2 <= most:
        return photos[np.stack(np.triu_indices(len(photos), 1), axis=1)]
    draw = np.random.default_rng(0)
    first = draw.integers(len(photos), size=most)
    return photos[np.stack([first, (first + draw.integers(1, len(photos), size=most)) % len(photos)], axis=1)]


def _agreements_of(sets: Sequence[np.ndarray], grey_of: GreyOf) -> list[np.ndarray]:
    """Return the agreements of each set of pairs (m, 2), in either orientation."""
    pairs = np.concatenate([*sets, np.empty((0, 2), int)]).astype(int)
    ways = [agreements(pairs[:, 0], pairs[:, 1], np.full(len(pairs), way), grey_of) for way in (False, True)]
    return np.split(np.maximum(*ways), np.cumsum([len(some) for some in sets])[:-1]) if sets else []


def _notes(much_alike: Sequence[str], in_chains: int) -> tuple[str, ...]:
    notes = []
    if len(much_alike):
        names = ", ".join(map(str, much_alike[:NAMED])) + (" and others" if len(much_alike) > NAMED else "")
        notes.append(f"photos of one class look much alike in {names}: only the most alike count as one picture there")
    if in_chains:
        notes.append(f"{in_chains} photos look alike in chains: only the most alike count as one picture there")
    return tuple(notes)
