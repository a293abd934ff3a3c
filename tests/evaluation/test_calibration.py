"""The temperature is found again, mends what it should, and changes no label."""

from __future__ import annotations

import numpy as np
import pytest
from scipy.special import softmax
from scipy.stats import binom

from pipeline.evaluation import calibration_error_by_chance, fit_temperature, metric_value
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
    cooled = softmax(np.log(fresh) / fitted, axis=1)
    before, after = (metric_value("ece", truth, p) for p in (fresh, cooled))
    assert after < before / 3


def test_certainty_that_is_right_or_wrong_leaves_a_finite_temperature() -> None:
    certain = np.eye(3)
    for labels in (np.array([0, 1, 2]), np.array([1, 2, 0])):
        assert TEMPERATURES[0] <= fit_temperature(labels, certain) <= TEMPERATURES[1]


def test_calibrated_answers_stay_below_what_chance_explains_in_19_of_20_cases() -> None:
    beyond, tries = 0, 200
    for seed in range(tries):
        labels, logits = _honest(300, seed)
        probabilities = softmax(logits, axis=1)
        beyond += metric_value("ece", labels, probabilities) > calibration_error_by_chance(probabilities, 200)
    assert 1 <= beyond <= binom.ppf(0.999, tries, 0.05)
    labels, logits = _honest(300)
    overconfident = softmax(3 * logits, axis=1)
    assert metric_value("ece", labels, overconfident) > 2 * calibration_error_by_chance(overconfident)
    assert calibration_error_by_chance(np.eye(4)) == 0  # who is certain leaves nothing to chance
