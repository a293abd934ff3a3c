"""Doubtful labels: those that were made wrong are found, others hardly, and without cleanlab nothing breaks."""

from __future__ import annotations

import numpy as np
import pytest

from pipeline.experiment import label_suspects
from pipeline.experiment.label_suspects import COLUMNS, cross_validated, suspect_table

NAMES = ("daisy", "roses", "tulips")


@pytest.fixture
def photos() -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Features in three clouds, their labels, of which the first five are wrong, and the right ones."""
    rng = np.random.default_rng(0)
    right = np.arange(150) % 3
    labels = right.copy()
    labels[:5] = (labels[:5] + 1) % 3
    return rng.normal(size=(150, 8)) + 3 * np.eye(3, 8)[right], labels, right


def test_wrong_labels_are_found_by_cross_validation(photos: tuple[np.ndarray, np.ndarray, np.ndarray]) -> None:
    pytest.importorskip("cleanlab", reason="the extra suspects")
    features, labels, right = photos
    groups = [f"group {number // 2}" for number in range(150)]
    probabilities = cross_validated(features, labels, groups, folds=5, seed=0)
    assert probabilities.shape == (150, 3)
    table = suspect_table([f"{number}.jpg" for number in range(150)], labels, probabilities, NAMES)
    assert tuple(table.columns) == COLUMNS
    found = [int(path.removesuffix(".jpg")) for path in table["path"]]
    assert set(range(5)) <= set(found)
    assert len(found) <= 12
    assert table["label_probability"].is_monotonic_increasing
    for number, row in zip(found, table.itertuples(), strict=True):
        assert row.label == NAMES[labels[number]]
        if number < 5:
            assert row.suggested == NAMES[right[number]]


def test_a_photo_is_judged_by_what_has_not_seen_its_group() -> None:
    # Noise, in which only one's own copy tells one's label.
    features = np.random.default_rng(1).normal(size=(60, 400)).repeat(2, axis=0)
    labels = np.random.default_rng(2).integers(0, 2, 60).repeat(2)
    apart = cross_validated(features, labels, [str(n) for n in range(120)], folds=5, seed=0).argmax(axis=1)
    together = cross_validated(features, labels, [str(n // 2) for n in range(120)], folds=5, seed=0).argmax(axis=1)
    assert (apart == labels).mean() > (together == labels).mean() + 0.15


def test_certain_and_right_labels_are_no_suspects() -> None:
    pytest.importorskip("cleanlab", reason="the extra suspects")
    labels = np.array([0, 1, 2, 0])
    table = suspect_table(["a", "b", "c", "d"], labels, np.eye(3, dtype=np.float32)[labels], NAMES)
    assert table.empty
    assert tuple(table.columns) == COLUMNS


def test_whether_the_extra_is_installed(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(label_suspects, "find_spec", lambda name: None)
    assert not label_suspects.can_find_suspects()
    assert len(label_suspects.missing_extra().splitlines()) == 1
