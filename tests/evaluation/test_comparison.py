"""Who may become champion: planted differences are found, chance is not taken for one."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
from scipy.stats import binom

from pipeline.evaluation import Comparison, compare, confusion_difference, confusion_table, rejection_reason
from pipeline.evaluation.error_spending import ALPHA, error_left, error_of

NAMES = ["daisy", "roses", "tulips", "lilies"]
PHOTOS, SIMULATIONS = 368, 400
RULES_PAGE = Path(__file__).parents[2] / "docs" / "promotion.md"


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
    """What groups are for: counting photos, more than one in twenty would be promoted."""
    rng = np.random.default_rng(0)
    groups = np.arange(PHOTOS) // 4
    right = rng.random((300, 2, groups.max() + 1)) < 0.85
    found = [_compare(*models[:, groups]) for models in right]
    by_mcnemar = sum(comparison.p_value < ALPHA and comparison.difference > 0 for comparison in found)
    assert by_mcnemar > binom.ppf(0.999, 300, ALPHA)


def test_in_the_life_of_a_test_split_equal_challengers_are_promoted_once_in_twenty_at_most() -> None:
    """Fifty challengers that are right as often as the champion, in each of many lives."""
    rng, lives, promoted = np.random.default_rng(2), 60, 0
    labels = np.arange(PHOTOS) % len(NAMES)
    for _ in range(lives):
        right = rng.random((51, PHOTOS)) < 0.85
        answers = [_answers(labels, model) for model in right]
        promoted += any(
            rejection_reason(compare(labels, model, answers[0], np.arange(PHOTOS), NAMES, place), "significant", 1)
            == ""
            for place, model in enumerate(answers[1:], start=1)
        )
    assert promoted <= binom.ppf(0.999, lives, ALPHA)


def test_the_error_of_a_life_adds_up() -> None:
    assert sum(error_of(place) for place in range(1, 51)) == pytest.approx(ALPHA * (1 - error_left(50)))
    assert error_left(0) == 1
    assert error_of(1) == pytest.approx(ALPHA / 6)


def test_a_better_model_is_promoted_nearly_always() -> None:
    rng = np.random.default_rng(1)
    right = rng.random((200, 2, PHOTOS)) < np.array([0.93, 0.80])[:, None]
    assert np.mean([_promoted(*models) for models in right]) > 0.95


def test_p_value_and_difference_have_the_known_answers() -> None:
    correct, before = np.ones(100, bool), np.ones(100, bool)
    before[:6] = False
    comparison = _compare(correct, before)
    assert comparison.p_value == pytest.approx(1 / 64)
    assert (comparison.only_challenger_right, comparison.only_champion_right) == (6, 0)
    assert comparison.difference == pytest.approx(0.06)
    assert comparison.difference_low > 0
    reason = rejection_reason(comparison, "significant", 0.05)
    assert reason == (
        "the difference may be chance: if both models were equally good, one at least as large would still come up in "
        "1.6 % of cases; comparison 1 on this test split must stay below 0.83 % (its share of the 5 % risk of a "
        "false promotion that all comparisons have together; 83 % of that is left; add test photos)"
    )
    assert reason in " ".join(RULES_PAGE.read_text(encoding="utf-8").split())
    before[:7] = False
    assert rejection_reason(_compare(correct, before), "significant", 0.05) == ""  # 7 to 0
    assert "6 against 0" in comparison.description


def test_photos_of_one_group_count_once() -> None:
    correct, before = np.ones(100, bool), np.ones(100, bool)
    before[:12] = False
    assert _compare(correct, before, np.arange(100) // 4).p_value == pytest.approx(1 / 8)


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
    correct = (labels != 1) | (np.arange(100) < 60)
    comparison = _compare(correct, before)
    reason = rejection_reason(comparison, "better", 0.05)
    fall = "the recall of roses falls by 40.0 points, beyond chance and more than recall_tolerance="
    assert reason == fall + "0.05"
    assert rejection_reason(comparison, "better", 0.4) == ""
    table = comparison.class_table(0.05)
    assert table["class"].tolist()[0] == "roses"
    assert table["is_worse"].tolist() == [True, False, False, False]


def test_a_class_that_falls_by_chance_holds_nothing_up() -> None:
    """Two of ten photos of one of many classes are lost, where all others gain."""
    labels = np.repeat(np.arange(40), 10)
    before = np.arange(400) % 10 > 2
    correct = np.arange(400) % 10 > 0
    correct[:10] = np.arange(10) > 4
    names = [f"class {number}" for number in range(40)]

    def answers(right: np.ndarray) -> np.ndarray:
        return 0.01 + 0.6 * np.eye(40)[np.where(right, labels, (labels + 1) % 40)]

    comparison = compare(labels, answers(correct), answers(before), np.arange(400), names)
    assert comparison.recall_changes["class 0"] == pytest.approx(-0.2)
    assert rejection_reason(comparison, "significant", 0.05) == ""


def test_of_several_worse_classes_the_worst_is_named_and_the_others_counted() -> None:
    correct = np.arange(400) % 4 > 1
    reason = rejection_reason(_compare(correct, np.ones(400, bool)), "better", 0.05)
    assert "falls by 100.0 points, and of 1 more class, beyond chance" in reason


def test_the_difference_of_matrices_has_signs() -> None:
    labels = np.array([0, 0, 1, 2])
    tables = [confusion_table(labels, np.array(predicted), NAMES) for predicted in ([0, 0, 1, 1], [0, 1, 1, 2])]
    difference = confusion_difference(*tables)
    assert difference.loc["daisy"].tolist() == [1, -1, 0, 0]
    assert difference.loc["tulips"].tolist() == [0, 1, -1, 0]


@pytest.mark.parametrize(("photos", "expected"), [(6, True), (7, False)])
def test_some_photos_are_too_few_to_tell_whatever_the_models_answer(photos: int, expected: bool) -> None:
    right, wrong = np.tile([1.0, 0.0], (photos, 1)), np.tile([0.0, 1.0], (photos, 1))
    found = compare(np.zeros(photos, int), right, wrong, np.arange(photos), ("a", "b"))
    assert found.cannot_tell is expected
    assert (rejection_reason(found, "significant", 1) != "") is expected
