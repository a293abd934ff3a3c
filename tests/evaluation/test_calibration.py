"""The temperature is found again, mends what it should, and changes no label."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy.special import softmax

from pipeline.evaluation import expected_calibration_error, fit_temperature, with_temperature
from pipeline.evaluation.calibration import TEMPERATURES


def _honest(photos: int, seed: int = 0) -> tuple[np.ndarray, np.ndarray]:
    """Return labels drawn from the very probabilities that these logits stand for, and the logits."""
    rng = np.random.default_rng(seed)
    logits = rng.normal(scale=2, size=(photos, 4))
    shares = softmax(logits, axis=1).cumsum(axis=1)
    return (rng.random((photos, 1)) > shares).sum(axis=1), logits


@pytest.mark.parametrize("temperature", [0.4, 1.0, 3.0])
def test_a_planted_temperature_is_found(temperature: float) -> None:
    labels, logits = _honest(20_000)
    assert fit_temperature(labels, softmax(logits * temperature, axis=1)) == pytest.approx(temperature, rel=0.05)


def test_the_temperature_mends_an_overconfident_model() -> None:
    labels, logits = _honest(2000)
    overconfident = softmax(3 * logits, axis=1)
    fitted = fit_temperature(*(part[:1000] for part in (labels, overconfident)))
    fresh, truth = overconfident[1000:], labels[1000:]
    before, after = (expected_calibration_error(truth, p) for p in (fresh, with_temperature(fresh, fitted)))
    assert after < before / 3


@given(st.integers(0, 1000), st.floats(0.1, 10))
@settings(deadline=None, max_examples=40)
def test_the_temperature_changes_no_label_and_can_be_taken_back(seed: int, temperature: float) -> None:
    probabilities = softmax(np.random.default_rng(seed).normal(scale=3, size=(20, 5)), axis=1)
    other = with_temperature(probabilities, temperature)
    assert (other.argmax(axis=1) == probabilities.argmax(axis=1)).all()
    np.testing.assert_allclose(other.sum(axis=1), 1)
    np.testing.assert_allclose(with_temperature(other, 1 / temperature), probabilities, atol=1e-9)


def test_certainty_that_is_right_or_wrong_leaves_a_finite_temperature() -> None:
    certain = np.eye(3)
    for labels in (np.array([0, 1, 2]), np.array([1, 2, 0])):
        assert TEMPERATURES[0] <= fit_temperature(labels, certain) <= TEMPERATURES[1]
