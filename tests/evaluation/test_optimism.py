"""What a picked model will have on other photos: the luck of picking, found and taken off."""

from __future__ import annotations

import numpy as np
import pytest

from pipeline.evaluation import expected_accuracy, interval_of_shares


def _trainings(rng: np.random.Generator, count: int, epochs: int, photos: int, accuracy: float) -> list[np.ndarray]:
    return [rng.random((epochs, photos)) < accuracy for _ in range(count)]


def test_nothing_was_picked_of_one_epoch() -> None:
    right = np.arange(100)[None] < 80
    expected = expected_accuracy([[right]], np.arange(100))
    assert expected is not None
    assert expected.value == pytest.approx(0.8, abs=0.005)
    assert expected[1:3] == pytest.approx(interval_of_shares(right[0], np.arange(100)), abs=0.005)


def test_the_best_of_many_equal_epochs_is_known_to_be_lucky() -> None:
    rng, values, held = np.random.default_rng(0), [], 0
    for _ in range(40):
        expected = expected_accuracy([_trainings(rng, 1, 40, 200, 0.8)] * 2, np.arange(200))
        assert expected is not None
        assert expected.picked > 0.82
        values.append(expected.value)
        held += expected.low <= 0.8 <= expected.high
    assert abs(np.mean(values) - 0.8) < abs(np.mean(values) - 0.86)
    assert held >= 36


def test_the_config_with_the_best_mean_is_picked_and_of_it_the_best_training() -> None:
    one, two, many = np.zeros((3, 60), bool), np.zeros((3, 60), bool), np.arange(60)
    one[1, :30], two[2, :40] = True, True
    lucky = np.zeros((3, 60), bool)
    lucky[0, :45] = True
    expected = expected_accuracy([[lucky, np.zeros((3, 60), bool)], [one, two]], many)
    assert expected is not None
    assert expected.picked == 40 / 60


def test_photos_of_one_group_are_drawn_together() -> None:
    right = np.repeat(np.random.default_rng(0).random((30, 20)) < 0.7, 10, axis=1)
    groups = np.repeat(np.arange(20), 10)
    together, apart = expected_accuracy([[right]], groups), expected_accuracy([[right]], np.arange(200))
    assert together is not None
    assert apart is not None
    assert together.high - together.low > 2 * (apart.high - apart.low)
    assert together.picked - together.value > 2 * (apart.picked - apart.value)
    assert expected_accuracy([[right]], np.zeros(200)) is None


def test_it_is_said_in_a_sentence() -> None:
    expected = expected_accuracy([[np.arange(100)[None] < 80]], np.arange(100))
    assert expected is not None
    assert "expect about" in expected.sentence
    assert "of the 80.0 % on the validation photos" in expected.sentence
