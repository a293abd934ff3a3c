"""Calibration of probabilities: how well confidence matches accuracy, and temperature scaling.

Guo et al. 2017, "On Calibration of Modern Neural Networks" (arXiv 1706.04599): logits are divided by one positive
number, fitted on validation photos, before the softmax. The order of the classes, and so every label, does not change.
"""

from __future__ import annotations

import numpy as np
import pandas as pd
from scipy.optimize import minimize_scalar
from scipy.special import log_softmax, softmax

CALIBRATION_BINS = 15
"""Guo et al. 2017, section 5."""

TEMPERATURES = (0.05, 20.0)
"""Search range of the temperature; for a network that is right on every photo it would go to 0."""


def reliability_table(labels: np.ndarray, probabilities: np.ndarray, bins: int = CALIBRATION_BINS) -> pd.DataFrame:
    """Return one row per equal-width bin ``(bin_low, bin_high]`` of the predicted class's probability.

    Columns bin_low, bin_high, count, mean_confidence, accuracy; the last two are NaN for an empty bin.
    """
    edges = np.linspace(0, 1, bins + 1)
    highest = probabilities.max(axis=1)
    place = bin_of(highest, bins)
    correct_photos = probabilities.argmax(axis=1) == labels
    count, confidence, correct = (np.bincount(place, weights, bins) for weights in (None, highest, correct_photos))
    columns = {"bin_low": edges[:-1], "bin_high": edges[1:], "count": count}
    means = [np.divide(sums, count, out=np.full(bins, np.nan), where=count > 0) for sums in (confidence, correct)]
    return pd.DataFrame(columns | {"mean_confidence": means[0], "accuracy": means[1]})


def bin_of(confidence: np.ndarray, bins: int = CALIBRATION_BINS) -> np.ndarray:
    """Return the bin of `reliability_table`, from 0, in which each confidence falls."""
    return np.digitize(confidence, np.linspace(0, 1, bins + 1)[1:-1], right=True)


def calibration_error_by_chance(probabilities: np.ndarray, samples: int = 400, seed: int = 0) -> float:
    """Return the ECE that calibrated answers with these probabilities (n, classes) stay below in 95 % of cases.

    Few photos leave a gap in every bin: labels are drawn by the confidences (Bröcker and Smith 2007, Weather and
    Forecasting 22, consistency resampling).
    """
    confidence = np.sort(probabilities.max(axis=1))
    rng, bins = np.random.default_rng(seed), bin_of(confidence)
    starts = np.flatnonzero(np.diff(bins, prepend=-1))
    gaps = (confidence - (rng.random(confidence.size) < confidence) for _ in range(samples))
    errors = [np.abs(np.add.reduceat(gap, starts)).sum() / confidence.size for gap in gaps]
    return float(np.quantile(errors, 0.95))


def fit_temperature(labels: np.ndarray, probabilities: np.ndarray) -> float:
    """Return the temperature in `TEMPERATURES` with the lowest log loss of uncalibrated ``probabilities``."""
    logits = _logits(probabilities)
    rows = np.arange(len(labels))

    def loss(log_temperature: float) -> float:
        return float(-log_softmax(logits / np.exp(log_temperature), axis=1)[rows, labels].mean())

    result = minimize_scalar(loss, bounds=tuple(np.log(TEMPERATURES)), method="bounded", options={"xatol": 1e-4})
    return float(np.exp(result.x))


def with_temperature(probabilities: np.ndarray, temperature: float) -> np.ndarray:
    """Return uncalibrated probabilities (n, classes) as they are with the logits divided by a temperature."""
    return np.asarray(softmax(_logits(probabilities) / temperature, axis=1))


def _logits(probabilities: np.ndarray) -> np.ndarray:
    """Return logits of these probabilities, up to a constant per photo, to which softmax is invariant."""
    return np.log(np.maximum(np.asarray(probabilities, np.float64), np.finfo(np.float64).tiny))
