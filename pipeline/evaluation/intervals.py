"""Confidence intervals: a bootstrap that resamples whole groups of near-duplicate photos.

Rejected: `scipy.stats.bootstrap`, which resamples single observations. Photos of one group are right or wrong together,
so resampling single photos would make the intervals too narrow.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence

import numpy as np
import pandas as pd
from tqdm import trange

from pipeline.evaluation.metrics import SCORES, Metric, Predictions, metrics_of, once

SAMPLES, LEVEL = 1000, 0.95
MIN_SAMPLES, MAX_RESAMPLED_NUMBERS = 200, 2_000_000_000  # fewer samples for many photos of many classes

MOST_WEIGHTS = 1 << 22  # of samples that are computed at once: 16 MiB


def bootstrap_interval(
    values: np.ndarray, groups: np.ndarray, samples: int = 2000, seed: int = 0, level: float = LEVEL
) -> tuple[float, float]:
    """Return the percentile bootstrap interval of ``values.mean()``, resampling whole groups.

    ``values`` are numbers (n,), such as whether each photo is right, or the difference of two models on it;
    ``groups`` (n,) holds any ids, equal for near-duplicate photos.
    Groups of equal size and equal sum are interchangeable, so the number drawn of each such kind is multinomial: the
    same distribution as drawing the groups, but with (samples, kinds) numbers instead of (samples, groups).
    The interval has zero width if all values are equal, or all are in one group.
    """
    values, groups = np.asarray(values, dtype=np.float64), np.asarray(groups)
    if values.ndim != 1 or values.shape != groups.shape or not values.size:
        raise ValueError(f"values and groups must have one shape (n > 0,), got {values.shape} and {groups.shape}")
    _, group_of_photo = np.unique(groups, return_inverse=True)
    sizes_and_sums = np.stack([np.bincount(group_of_photo), np.bincount(group_of_photo, weights=values)], axis=1)
    kinds, counts = np.unique(sizes_and_sums, axis=0, return_counts=True)
    group_count = int(counts.sum())
    draws = np.random.default_rng(seed).multinomial(group_count, counts / group_count, size=samples)
    means = (draws @ kinds[:, 1]) / (draws @ kinds[:, 0])
    low, high = np.quantile(means, [(1 - level) / 2, (1 + level) / 2])
    return float(low), float(high)


def interval_table(
    labels: np.ndarray, probabilities: np.ndarray, groups: np.ndarray, class_names: Sequence[str], seed: int = 0
) -> pd.DataFrame:
    """Return value, low and high (95 %) of every metric and of every class's precision, recall and F1.

    The index is the metric's name, or for example ``recall daisy``. Low and high are NaN where the value is NaN.
    A calibration error is an absolute value, which resampling inflates: its interval is slightly too high.
    """
    _, group_of_photo = np.unique(groups, return_inverse=True)
    group_count, rng = int(group_of_photo.max()) + 1, np.random.default_rng(seed)
    samples = int(np.clip(MAX_RESAMPLED_NUMBERS // probabilities.size, MIN_SAMPLES, SAMPLES))
    predictions, metrics = Predictions(labels, probabilities), metrics_of(len(class_names))
    names = [*metrics, *(f"{score} {name}" for score in SCORES for name in class_names)]
    step = max(1, MOST_WEIGHTS // len(labels))
    drawn = []
    for start in trange(0, samples, step, desc="intervals", unit_scale=step, disable=None, leave=False):
        size = min(step, samples - start)
        draws = rng.multinomial(group_count, np.full(group_count, 1 / group_count), size)
        drawn.append(_scores(predictions, metrics, draws.T[group_of_photo].astype(np.float32)))
    value, scores = _scores(predictions, metrics, once(labels))[0], np.concatenate(drawn)
    low, high = np.full((2, len(names)), np.nan)
    defined = np.isfinite(value)
    low[defined], high[defined] = np.nanquantile(scores[:, defined], [(1 - LEVEL) / 2, (1 + LEVEL) / 2], axis=0)
    return pd.DataFrame({"value": value, "low": low, "high": high}, index=pd.Index(names, name="metric"))


def _scores(predictions: Predictions, metrics: Mapping[str, Metric], weights: np.ndarray) -> np.ndarray:
    """Return all scores of all samples, (samples, scores)."""
    class_scores = predictions.class_scores(weights)
    return np.column_stack(
        [*(of(predictions, weights) for of in metrics.values()), *class_scores.reshape(-1, weights.shape[1])]
    )
