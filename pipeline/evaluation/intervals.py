"""How sure the numbers are: bootstrap intervals that draw whole groups of near-duplicate photos.

`scipy.stats.bootstrap` draws observations one by one. Photos of one group are right or wrong together, and drawn one
by one they would make the intervals too narrow.
"""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import pandas as pd
from tqdm import tqdm

from pipeline.evaluation.metrics import METRICS, per_class_scores

SAMPLES, LEVEL = 1000, 0.95
FEWEST_SAMPLES, MOST_NUMBERS = 200, 2_000_000_000  # many photos of many classes are drawn less often


def bootstrap_interval(
    values: np.ndarray, groups: np.ndarray, samples: int = 2000, seed: int = 0, level: float = LEVEL
) -> tuple[float, float]:
    """Return the percentile bootstrap interval of ``values.mean()``, resampling whole groups.

    ``values`` are numbers (n,), such as whether each photo is right, or by how much one model beats another on it;
    ``groups`` (n,) holds any ids, equal for near-duplicate photos.
    Groups of equal size and equal sum are interchangeable, so the number drawn of each such kind is
    multinomial: the same distribution as drawing the groups, but (samples, kinds) numbers, not (samples, groups).
    The interval has no width when all values are equal, or all in one group.
    """
    values, groups = np.asarray(values, dtype=np.float64), np.asarray(groups)
    if values.ndim != 1 or values.shape != groups.shape or not values.size:
        raise ValueError(f"values and groups must have one shape (n > 0,), got {values.shape} and {groups.shape}")
    _, group_of_photo = np.unique(groups, return_inverse=True)
    sizes_and_sums = np.stack([np.bincount(group_of_photo), np.bincount(group_of_photo, weights=values)], axis=1)
    kinds, counts = np.unique(sizes_and_sums, axis=0, return_counts=True)
    group_count = int(counts.sum())
    drawn = np.random.default_rng(seed).multinomial(group_count, counts / group_count, size=samples)
    means = (drawn @ kinds[:, 1]) / (drawn @ kinds[:, 0])
    low, high = np.quantile(means, [(1 - level) / 2, (1 + level) / 2])
    return float(low), float(high)


def interval_table(
    labels: np.ndarray, probabilities: np.ndarray, groups: np.ndarray, class_names: Sequence[str], seed: int = 0
) -> pd.DataFrame:
    """Return value, low and high (95 %) of every metric and of every class's precision, recall and F1.

    The index names the metric, and ``recall daisy`` and the like. Low and high are missing where the value is.
    A calibration error is an absolute value, which resampling makes larger: its interval lies a little too high.
    """
    _, group_of_photo = np.unique(groups, return_inverse=True)
    group_count, rng = int(group_of_photo.max()) + 1, np.random.default_rng(seed)
    samples = int(np.clip(MOST_NUMBERS // probabilities.size, FEWEST_SAMPLES, SAMPLES))
    names = [*METRICS, *(f"{score} {name}" for score in ("precision", "recall", "f1") for name in class_names)]
    drawn = np.empty((samples, len(names)))
    for sample in tqdm(range(samples), desc="intervals", unit="sample", disable=None, leave=False):
        times = rng.multinomial(group_count, np.full(group_count, 1 / group_count))
        photos = np.repeat(np.arange(len(labels)), times[group_of_photo])
        drawn[sample] = _scores(labels[photos], probabilities[photos])
    value = _scores(labels, probabilities)
    low, high = np.full((2, len(names)), np.nan)
    known = np.isfinite(value)
    low[known], high[known] = np.nanquantile(drawn[:, known], [(1 - LEVEL) / 2, (1 + LEVEL) / 2], axis=0)
    return pd.DataFrame({"value": value, "low": low, "high": high}, index=pd.Index(names, name="metric"))


def _scores(labels: np.ndarray, probabilities: np.ndarray) -> np.ndarray:
    classes = probabilities.shape[1]
    counts = np.bincount(labels * classes + probabilities.argmax(axis=1), minlength=classes**2)
    of_classes = per_class_scores(counts.reshape(classes, classes))
    return np.array([*(metric(labels, probabilities) for metric in METRICS.values()), *of_classes.ravel()])
