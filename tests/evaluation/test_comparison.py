"""Who may become champion: planted differences are found, chance is not taken for one."""

from __future__ import annotations

import numpy as np
import pytest
from scipy.stats import binom

from pipeline.evaluation import Comparison, compare, confusion_difference, confusion_table, rejection_reason
from pipeline.evaluation.comparison import ALPHA

NAMES = ["daisy", "roses", "tulips", "lilies"]
PHOTOS, SIMULATIONS = 368, 400


def _answers(labels: np.ndarray, correct: np.ndarray) -> np.ndarray:
    """Return probabilities of a model that is right where ``correct`` says so, and else takes the next class."""
    predicted = np.where(correct, labels, (labels + 1) % len(NAMES))
    return 0.1 + 0.6 * np.eye(len(NAMES))[predicted]


def _compare(correct: np.ndarray, before: np.ndarray, groups: np.ndarray | None = None) -> Comparison:
    labels = np.arange(len(correct)) % len(NAMES)
    groups = np.arange(len(correct)) if groups is None else groups
    return compare(labels, _answers(labels, correct), _answers(labels, before), groups, NAMES)


def _promoted(correct: np.ndarray, before: np.ndarray, groups: np.ndarray | None = None) -> bool:
    return rejection_reason(_compare(correct, before, groups), "significant", recall_tolerance=1.0) == ""


@pytest.mark.parametrize("photos_of_a_group", [1, 4])
def test_under_a_null_difference_at_most_one_in_twenty_is_promoted(photos_of_a_group: int) -> None:
    """Two models that are right equally often; near-duplicates are right or wrong together."""
    rng = np.random.default_rng(0)
    groups = np.arange(PHOTOS) // photos_of_a_group
    right = rng.random((SIMULATIONS, 2, groups.max() + 1)) < 0.85
    promoted = sum(_promoted(*models[:, groups], groups) for models in right)
    assert promoted <= binom.ppf(0.999, SIMULATIONS, ALPHA)


def test_mcnemar_alone_would_be_fooled_by_near_duplicates() -> None:
    """What the bootstrap of groups is for: without it more than one in twenty would be promoted."""
    rng = np.random.default_rng(0)
    groups = np.arange(PHOTOS) // 4
    right = rng.random((300, 2, groups.max() + 1)) < 0.85
    found = [_compare(*models[:, groups], groups) for models in right]
    by_mcnemar = sum(comparison.p_value < ALPHA and comparison.difference > 0 for comparison in found)
    assert by_mcnemar > binom.ppf(0.999, 300, ALPHA)


def test_a_better_model_is_promoted_nearly_always() -> None:
    rng = np.random.default_rng(1)
    right = rng.random((200, 2, PHOTOS)) < np.array([0.93, 0.80])[:, None]
    assert np.mean([_promoted(*models) for models in right]) > 0.95


def test_p_value_and_difference_have_the_known_answers() -> None:
    correct, before = np.ones(100, bool), np.ones(100, bool)
    before[:6] = False
    comparison = _compare(correct, before)
    assert comparison.p_value == pytest.approx(2 / 64)  # exact McNemar needs at least 6:0
    assert (comparison.only_challenger_right, comparison.only_champion_right) == (6, 0)
    assert comparison.difference == pytest.approx(0.06)
    assert comparison.difference_low > 0
    assert rejection_reason(comparison, "significant", 0.05) == ""
    assert "p = 0.062" in rejection_reason(_compare(correct, before | (np.arange(100) == 0)), "significant", 0.05)
    assert "6 against 0" in comparison.description


def test_equal_models_and_worse_models_are_refused() -> None:
    right = np.arange(100) % 5 > 0
    assert rejection_reason(_compare(right, right), "better", 0.05) == "it is not better"
    assert "not better" in rejection_reason(_compare(right, np.ones(100, bool)), "significant", 1.0)
    one_more = right | (np.arange(100) == 0)
    assert rejection_reason(_compare(one_more, right), "better", 0.05) == ""
    assert "may be chance" in rejection_reason(_compare(one_more, right), "significant", 0.05)


def test_a_class_that_pays_for_the_others_is_named() -> None:
    labels = np.arange(100) % 4
    before = labels != 0
    before[:40] = True
    correct = labels != 1
    reason = rejection_reason(_compare(correct | (np.arange(100) < 72), before), "better", 0.05)
    assert reason == "the recall of roses falls by 28.0 points, more than recall_tolerance=0.05"
    assert rejection_reason(_compare(correct | (np.arange(100) < 72), before), "better", 0.28) == ""


def test_the_difference_of_matrices_has_signs() -> None:
    labels = np.array([0, 0, 1, 2])
    tables = [confusion_table(labels, np.array(predicted), NAMES) for predicted in ([0, 0, 1, 1], [0, 1, 1, 2])]
    difference = confusion_difference(*tables)
    assert difference.loc["daisy"].tolist() == [1, -1, 0, 0]
    assert difference.loc["tulips"].tolist() == [0, 1, -1, 0]
