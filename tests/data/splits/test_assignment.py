"""What must hold for every split: complete, disjoint, stratified, without leaks, and independent of order."""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence

import numpy as np
import pandas as pd
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from pipeline.config import UserError
from pipeline.data.splits.assignment import (
    ASSIGN_SPLITS,
    LEAST_OF_TRAINING,
    MIN_PHOTOS_PER_CLASS,
    SPLITS,
    assign_splits,
    assign_splits_v2,
    check_given_splits,
    group_keys,
)


def _group_keys(digests: Sequence[str], groups: Sequence[str], pairs: Sequence[tuple[int, int]] = ()) -> list[str]:
    return group_keys(pd.Series(digests, dtype="str"), pd.Series(groups, dtype="str"), pairs).tolist()


def _check_given_splits(*columns: list[str]) -> None:
    check_given_splits(*map(pd.Series, columns))


def _photos(counts: list[int]) -> tuple[list[str], list[str]]:
    """Return labels and distinct keys of classes with so many photos."""
    photos = [(f"class {index}", f"{index}-{photo}") for index, count in enumerate(counts) for photo in range(count)]
    return [label for label, _ in photos], [key for _, key in photos]


class_sizes = st.lists(st.integers(MIN_PHOTOS_PER_CLASS, 40), min_size=1, max_size=4)
fractions = st.tuples(st.floats(0.01, 0.98), st.floats(0.01, 0.98)).filter(lambda pair: sum(pair) < 1)
seeds = st.integers(0, 2**63)


@given(counts=class_sizes, shares=fractions, seed=seeds)
@settings(deadline=None, max_examples=50)
def test_splits_are_complete_and_every_class_is_in_each(
    counts: list[int], shares: tuple[float, float], seed: int
) -> None:
    labels, keys = _photos(counts)
    splits = assign_splits(labels, keys, *shares, seed)
    assert splits.shape == (len(labels),)
    assert set(zip(labels, splits, strict=True)) == {(label, split) for label in labels for split in SPLITS}


@given(count=st.integers(300, 3000), shares=fractions, seed=seeds)
@settings(deadline=None, max_examples=20)
def test_shares_are_those_of_a_draw_of_lots(count: int, shares: tuple[float, float], seed: int) -> None:
    labels, keys = _photos([count, 2 * count])
    splits = assign_splits(labels, keys, *shares, seed)
    for label, total in Counter(labels).items():
        found = Counter(split for other, split in zip(labels, splits, strict=True) if other == label)
        for split, share in zip(("validation", "test"), shares, strict=True):
            # Six standard deviations, and the stand-ins of a split that has no group of its own.
            assert abs(found[split] - total * share) <= 6 * np.sqrt(total * share * (1 - share)) + 2


@given(counts=class_sizes, newcomers=class_sizes, shares=fractions, seed=seeds)
@settings(deadline=None, max_examples=40)
def test_photos_that_are_added_move_none_out_of_training(
    counts: list[int], newcomers: list[int], shares: tuple[float, float], seed: int
) -> None:
    labels, keys = _photos(counts)
    new_labels, new_keys = _photos(newcomers)
    crowd = [(label, f"crowd {label} {number}") for label in sorted(set(labels)) for number in range(1500)]
    before = assign_splits(labels, keys, *shares, seed)
    after = assign_splits(labels + new_labels, keys + [f"new {key}" for key in new_keys], *shares, seed)[: len(keys)]
    without_stand_ins = assign_splits(
        labels + [label for label, _ in crowd], keys + [key for _, key in crowd], *shares, seed
    )[: len(keys)]
    order = {split: place for place, split in enumerate(("test", "validation", "train"))}
    for label in set(labels):
        mine = [place for place, other in enumerate(labels) if other == label]
        if (before[mine] == without_stand_ins[mine]).all():
            assert (after[mine] == before[mine]).all()
        elif sum(shares) < 0.5 and len(mine) > 20:  # so that training has groups of its own
            assert all(order[new] >= order[old] for old, new in zip(before[mine], after[mine], strict=True))


@given(seed=seeds, sizes=st.lists(st.integers(1, 6), min_size=30, max_size=60), data=st.data())
@settings(deadline=None, max_examples=50)
def test_groups_are_whole_and_keep_their_split_until_a_lesser_name_joins(
    seed: int, sizes: list[int], data: st.DataObject
) -> None:
    digests = [
        f"{hash((seed, group, photo)) % 2**64:016x}" for group, size in enumerate(sizes) for photo in range(size)
    ]
    firsts = np.cumsum([0, *sizes[:-1]])
    chains = [(first + k, first + k + 1) for first, size in zip(firsts, sizes, strict=True) for k in range(size - 1)]
    keys = _group_keys(digests, [""] * len(digests), chains)
    assert keys == [min(digests[f : f + n]) for f, n in zip(firsts, sizes, strict=True) for _ in range(n)]
    friend = data.draw(st.integers(0, len(digests) - 1))
    newcomer = data.draw(st.sampled_from(["0" * 16, "f" * 16]))
    grown = _group_keys([*digests, newcomer], [""] * (len(digests) + 1), [*chains, (len(digests), friend)])
    changed = [place for place, key in enumerate(keys) if grown[place] != key]
    alike = [place for place, key in enumerate(keys) if key == keys[friend]]
    assert grown[-1] == grown[friend]
    assert changed == (alike if newcomer < keys[friend] else [])


@given(seed=seeds, shares=fractions, newcomer=st.text("0123456789abcdef", min_size=4, max_size=4))
@settings(deadline=None, max_examples=50)
def test_a_group_with_a_name_keeps_its_split_whoever_joins(
    seed: int, shares: tuple[float, float], newcomer: str
) -> None:
    digests, groups = ["5a", "5b", "5c"], ["rose bed", "rose bed", ""]
    pairs = [(1, 2)]
    keys = _group_keys(digests, groups, pairs)
    assert keys == ["group rose bed"] * 3
    by_name = _group_keys([*digests, newcomer], [*groups, "rose bed"], pairs)
    by_looks = _group_keys([*digests, newcomer], [*groups, ""], [(1, 2), (0, 3)])
    assert by_name == by_looks == ["group rose bed"] * 4
    others = [f"other {number}" for number in range(9)]
    labels = ["a"] * 12
    before = assign_splits(labels, keys + others, *shares, seed)
    assert assign_splits([*labels, "a"], keys + others + by_looks[-1:], *shares, seed)[:12].tolist() == before.tolist()


@given(counts=class_sizes, shares=fractions, seed=seeds, data=st.data())
@settings(deadline=None, max_examples=50)
def test_the_order_of_the_photos_does_not_matter(
    counts: list[int], shares: tuple[float, float], seed: int, data: st.DataObject
) -> None:
    labels, keys = _photos(counts)
    order = data.draw(st.permutations(range(len(keys))))
    before = dict(zip(keys, assign_splits(labels, keys, *shares, seed), strict=True))
    shuffled = [keys[index] for index in order]
    after = assign_splits([labels[index] for index in order], shuffled, *shares, seed)
    assert dict(zip(shuffled, after, strict=True)) == before


@given(counts=class_sizes, shares=fractions, seed=seeds, data=st.data())
@settings(deadline=None, max_examples=50)
def test_photos_of_equal_bytes_share_a_split(
    counts: list[int], shares: tuple[float, float], seed: int, data: st.DataObject
) -> None:
    labels, keys = _photos(counts)
    copies = data.draw(st.lists(st.integers(0, len(keys) - 1), max_size=10))
    # A copy may lie in a later class too; the class it is counted in keeps its three distinct photos all the same.
    labels_of_copies = [data.draw(st.sampled_from([labels[index], "class 9"])) for index in copies]
    own_labels, own_keys = ["class 9"] * 3, ["9-0", "9-1", "9-2"]
    all_labels = labels + labels_of_copies + own_labels
    all_keys = keys + [keys[index] for index in copies] + own_keys
    splits = assign_splits(all_labels, all_keys, *shares, seed)
    assert len({(key, split) for key, split in zip(all_keys, splits, strict=True)}) == len(set(all_keys))


@given(counts=class_sizes, seed=seeds)
@settings(deadline=None, max_examples=50)
def test_copies_move_no_other_photo(counts: list[int], seed: int) -> None:
    labels, keys = _photos(counts)
    alone = assign_splits(labels, keys, 0.2, 0.2, seed)
    with_copies = assign_splits(labels + labels, keys + keys, 0.2, 0.2, seed)
    assert with_copies.tolist() == alone.tolist() * 2


def test_the_same_seed_gives_the_same_split_and_another_seed_another() -> None:
    labels, keys = _photos([50, 50])
    drawn = [assign_splits(labels, keys, 0.2, 0.2, seed).tolist() for seed in (0, 0, 1, 2)]
    assert drawn[0] == drawn[1]
    assert len({tuple(splits) for splits in drawn}) == 3


def test_the_split_of_a_seed_is_pinned() -> None:
    # A change of these would put training photos of every earlier model into its test split.
    labels, keys = _photos([5, 5])
    splits = dict(zip(keys, assign_splits(labels, keys, 0.2, 0.2, 0), strict=True))
    assert [key for key in keys if splits[key] == "test"] == ["0-2", "1-1"]
    assert [key for key in keys if splits[key] == "validation"] == ["0-0", "1-0"]


def test_a_class_without_a_key_of_its_own_in_a_split_gets_a_stand_in() -> None:
    labels, keys = _photos([4])
    for seed in range(300):
        splits = assign_splits(labels, keys, 0.001, 0.001, seed)
        assert Counter(splits.tolist()) == {"train": 2, "validation": 1, "test": 1}
        splits = assign_splits(labels, keys, 1e-9, 1 - 1e-8, seed)
        assert Counter(splits.tolist()) == {"train": 1, "validation": 1, "test": 2}


def test_every_photo_has_the_same_chance_of_being_tested() -> None:
    labels, keys = _photos([30])
    tested = np.mean([assign_splits(labels, keys, 0.2, 0.2, seed) == "test" for seed in range(200)], axis=0)
    assert tested.mean() == pytest.approx(0.2, abs=0.02)
    assert (np.abs(tested - 0.2) < 0.12).all()  # four standard deviations of a mean of 200


@pytest.mark.parametrize("distinct", [1, 2])
def test_too_few_distinct_photos_are_the_users_mistake(distinct: int) -> None:
    labels, keys = _photos([5, distinct])
    labels, keys = labels + [labels[-1]] * 4, keys + [keys[-1]] * 4  # copies do not count
    with pytest.raises(UserError, match=f"at least 3 distinct photos.*got {distinct} in 'class 1'") as error:
        assign_splits(labels, keys, 0.1, 0.1, 0)
    assert len(str(error.value).splitlines()) == 1


def test_photos_share_a_key_by_bytes_by_group_and_by_way_of_others() -> None:
    digests = ["d1", "d2", "d1", "d3", "d4", "d5"]
    groups = ["", "a", "a", "b", "", "b"]
    keys = _group_keys(digests, groups)
    assert keys[0] == keys[1] == keys[2]
    assert keys[3] == keys[5]
    assert len(set(keys)) == 3


@given(st.lists(st.tuples(st.sampled_from("uvwxyz"), st.sampled_from(["", "a", "b", "c"])), min_size=1, max_size=12))
@settings(deadline=None)
def test_keys_are_the_connected_parts_whatever_the_order(photos: list[tuple[str, str]]) -> None:
    keys = _group_keys(*zip(*photos, strict=True))
    for left, key in zip(photos, keys, strict=True):
        for right, other in zip(photos, keys, strict=True):
            if left[0] == right[0] or (left[1] and left[1] == right[1]):
                assert key == other
    backwards = _group_keys(*zip(*reversed(photos), strict=True))
    assert backwards == keys[::-1]
    if not any(group for _, group in photos):
        assert keys == [digest for digest, _ in photos]


def test_given_splits_may_not_tear_a_group() -> None:
    _check_given_splits(["train", "train", "test"], ["a", "a", "b"], ["1.jpg", "2.jpg", "3.jpg"])
    with pytest.raises(UserError, match=r"in one split, got 1\.jpg in train; 2\.jpg in test \(1 such groups"):
        _check_given_splits(["train", "test", "test"], ["a", "a", "b"], ["1.jpg", "2.jpg", "3.jpg"])
    with pytest.raises(UserError, match=r"got 1.jpg in train; 2.jpg in test of group a \(1 such"):
        _check_given_splits(["train", "test", "test"], ["group a", "group a", "b"], ["1.jpg", "2.jpg", "3.jpg"])


sizes_of_classes = st.lists(st.integers(3, 60), min_size=1, max_size=4)
usual_shares = st.tuples(st.floats(0.05, 0.15), st.floats(0.05, 0.15))
TOWARDS_TRAINING = {split: place for place, split in enumerate(("test", "validation", "train"))}


@given(counts=sizes_of_classes, shares=fractions, seed=seeds)
@settings(deadline=None, max_examples=50)
def test_version_2_gives_every_class_each_split_and_training_half_of_its_share(
    counts: list[int], shares: tuple[float, float], seed: int
) -> None:
    labels, keys = _photos(counts)
    splits = assign_splits_v2(labels, keys, *shares, seed)
    found = Counter(zip(labels, splits, strict=True))
    assert set(found) == {(label, split) for label in labels for split in SPLITS}
    for label, count in Counter(labels).items():
        assert found[label, "train"] >= min(int((1 - sum(shares)) * count / 2), count - 2)


@given(counts=sizes_of_classes, newcomers=sizes_of_classes, shares=usual_shares, seed=seeds)
@settings(deadline=None, max_examples=50)
def test_in_version_2_added_photos_move_old_ones_towards_training_alone(
    counts: list[int], newcomers: list[int], shares: tuple[float, float], seed: int
) -> None:
    labels, keys = _photos(counts)
    new_labels, new_keys = _photos(newcomers)
    before = assign_splits_v2(labels, keys, *shares, seed)
    after = assign_splits_v2(labels + new_labels, keys + [f"new {key}" for key in new_keys], *shares, seed)
    own = _own_splits(labels, keys, shares, seed)
    for label in set(labels):
        mine = [place for place, other in enumerate(labels) if other == label]
        left_to_train = sum(before[place] == "train" for place in mine)
        if left_to_train <= max(1, int(LEAST_OF_TRAINING * (1 - sum(shares)) * len(mine))) or (
            sum(own[place] == "train" for place in mine) < 0.6 * (1 - sum(shares)) * len(mine)
        ):
            continue  # training had to be given photos of the others, which they take back
        for place in mine:
            assert TOWARDS_TRAINING[after[place]] >= TOWARDS_TRAINING[before[place]]
            if before[place] == own[place] == "train" or after[place] != own[place]:
                assert after[place] == before[place] or before[place] != own[place]


def _own_splits(labels: list[str], keys: list[str], shares: tuple[float, float], seed: int) -> np.ndarray:
    """Return the splits by the keys' positions alone, which a class has that is large enough."""
    crowd = [(label, f"crowd {label} {number}") for label in sorted(set(labels)) for number in range(1500)]
    splits = assign_splits_v2(labels + [label for label, _ in crowd], keys + [key for _, key in crowd], *shares, seed)
    return splits[: len(keys)]


def test_large_classes_are_split_the_same_by_both_versions() -> None:
    labels, keys = _photos([600, 900])
    assert assign_splits_v2(labels, keys, 0.1, 0.1, 3).tolist() == assign_splits(labels, keys, 0.1, 0.1, 3).tolist()


def test_small_classes_have_fewer_extremes_in_version_2() -> None:
    labels, keys = _photos([30] * 102)
    for seed in range(5):
        least = {}
        for version, assign in ASSIGN_SPLITS.items():
            found = Counter(zip(labels, assign(labels, keys, 0.1, 0.1, seed), strict=True))
            counts = np.array([[found[label, split] for split in SPLITS] for label in sorted(set(labels))])
            least[version] = (counts[:, 1:] < 2).sum()
        assert least[2] <= least[1] / 3


def test_no_class_of_many_small_ones_is_left_without_photos_to_train_on() -> None:
    labels, keys = _photos([10] * 1000)
    for seed in range(3):
        found = Counter(zip(labels, assign_splits_v2(labels, keys, 0.1, 0.1, seed), strict=True))
        assert min(found[label, "train"] for label in set(labels)) >= 4


def test_the_split_of_a_seed_is_pinned_in_version_2() -> None:
    labels, keys = _photos([20, 5])
    splits = dict(zip(keys, assign_splits_v2(labels, keys, 0.1, 0.1, 0), strict=True))
    assert {split: [key for key in keys if splits[key] == split] for split in ("test", "validation")} == {
        "test": ["0-2", "0-11", "0-14", "1-1"],
        "validation": ["0-12", "0-16", "0-19", "1-0"],
    }
