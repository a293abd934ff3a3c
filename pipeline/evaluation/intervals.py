"""95 % intervals of metrics, in which near-duplicate photos, which are right or wrong together, count as fewer.

Shares of photos get Wilson's interval (Wilson 1927; Brown, Cai and DasGupta 2001), which says something of three photos
that are all right, where a bootstrap says 1.00 to 1.00. F1 is a function of such a share: of J = right / (in the class
or taken for it), F1 = 2 J / (1 + J). Means over classes are treated as shares of C^2 / (sum of 1 / n) photos, with C
classes of n photos: what the mean of C shares would vary like if all were equal, which is an upper bound. A bootstrap
that resamples whole groups is left for what is no share: losses, ROC AUC, calibration. Rejected:
`scipy.stats.bootstrap`, which resamples single observations, and its `binomtest(...).proportion_ci`, which takes whole
numbers of photos, one share at a time. `python -m benchmarks promotion` counts how often these hold the truth.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence

import numpy as np
import pandas as pd
from scipy.special import ndtri
from tqdm import trange

from pipeline.evaluation.metrics import METRICS, SCORES, Metric, Predictions, metrics_of, once

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


def share_interval(share: float, photos: float) -> tuple[float, float]:
    """Return Wilson's 95 % interval of a share, in 0..1, of so many independent ``photos``; NaN without any."""
    low, high = _wilson(np.array([share]), np.array([photos], np.float64))
    return float(low[0]), float(high[0])


def independent_photos(groups: np.ndarray) -> float:
    """Return as how many independent photos those of groups (n,) count, if photos of a group say the same (Kish 1965).

    That is n where every photo is its own group, and the number of groups where these are of one size.
    """
    sizes = np.unique(groups, return_counts=True)[1].astype(np.float64)
    return float(sizes.sum() ** 2 / (sizes**2).sum()) if sizes.size else 0.0


def interval_of_shares(correct: np.ndarray, groups: np.ndarray) -> tuple[float, float]:
    """Return Wilson's 95 % interval of the share of photos that are ``correct``, bool (n,), in ``groups`` (n,)."""
    return share_interval(float(np.mean(correct)), independent_photos(groups))


def interval_table(
    labels: np.ndarray, probabilities: np.ndarray, groups: np.ndarray, class_names: Sequence[str], seed: int = 0
) -> pd.DataFrame:
    """Return value, low and high (95 %) of every metric and of every class's precision, recall and F1.

    The index is the metric's name, or for example ``recall daisy``. Low and high are NaN where the value is NaN.
    A calibration error is an absolute value, which resampling inflates: its interval is slightly too high.
    """
    predictions, metrics = Predictions(labels, probabilities), metrics_of(len(class_names))
    values = {name: float(of(predictions, once(labels))[0]) for name, of in metrics.items()}
    classes = _class_intervals(predictions, groups, class_names)
    shares = _metrics_that_are_shares(predictions, groups, values)
    others = {name: of for name, of in metrics.items() if name not in shares and np.isfinite(values[name])}
    limits = shares | _resampled_intervals(predictions, others, groups, seed)
    rows = {name: (value, *limits.get(name, (np.nan, np.nan))) for name, value in values.items()}
    table = pd.DataFrame.from_dict(rows, orient="index", columns=["value", "low", "high"])
    return pd.concat([table, classes]).rename_axis("metric")


def _wilson(shares: np.ndarray, photos: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Return low and high of shares of so many photos, arrays of one shape; NaN where there are none."""
    z2 = ndtri((1 + LEVEL) / 2) ** 2
    photos = np.where(photos > 0, photos, np.nan)
    middle, scale = shares + z2 / (2 * photos), 1 + z2 / photos
    half = np.sqrt(z2 * (shares * (1 - shares) / photos + z2 / (4 * photos**2)))
    return np.clip((middle - half) / scale, 0, shares), np.clip((middle + half) / scale, shares, 1)


def _class_intervals(predictions: Predictions, groups: np.ndarray, class_names: Sequence[str]) -> pd.DataFrame:
    """Return value, low and high of the scores of every class."""
    values = predictions.class_scores(once(predictions.labels))[..., 0]
    photos = _independent_by_class(predictions, groups)
    precision, recall = (_wilson(np.nan_to_num(values[place]), photos[place]) for place in (0, 1))
    overlap = values[2] / (2 - values[2])
    low, high = _wilson(np.nan_to_num(overlap), photos[2])
    f1 = (2 * low / (1 + low), 2 * high / (1 + high))
    names = [f"{score} {name}" for score in SCORES for name in class_names]
    limits = [np.where(np.isfinite(values), np.stack(ends), np.nan) for ends in zip(precision, recall, f1, strict=True)]
    columns = dict(zip(("value", "low", "high"), map(np.ravel, (values, *limits)), strict=True))
    return pd.DataFrame(columns, index=names)


def _independent_by_class(predictions: Predictions, groups: np.ndarray) -> np.ndarray:
    """Return as how many independent photos those count that are taken for a class, in it, or either: (3, classes)."""
    count = predictions.probabilities.shape[1]
    wrong = ~predictions.correct
    either = (
        np.concatenate([predictions.labels, predictions.predicted[wrong]]), np.concatenate([groups, groups[wrong]]),
    )  # fmt: skip
    return np.stack(
        [
            _independent_photos_at(*places, count)
            for places in ((predictions.predicted, groups), (predictions.labels, groups), either)
        ]
    )


def _independent_photos_at(places: np.ndarray, groups: np.ndarray, count: int) -> np.ndarray:
    """Return `independent_photos` at each of ``count`` places (n,)."""
    pairs, sizes = np.unique(np.stack([places, np.unique(groups, return_inverse=True)[1]]), axis=1, return_counts=True)
    sums, squares = (np.bincount(pairs[0], weights=sizes**power, minlength=count) for power in (1.0, 2.0))
    return np.divide(sums**2, squares, out=np.zeros(count), where=squares > 0)


def _metrics_that_are_shares(
    predictions: Predictions, groups: np.ndarray, values: Mapping[str, float]
) -> dict[str, tuple[float, float]]:
    """Return low and high of the metrics that are shares of photos, or means of such shares over the classes."""
    of_classes = _independent_photos_at(predictions.labels, groups, predictions.probabilities.shape[1])
    present = of_classes[of_classes > 0]
    photos = dict.fromkeys(("accuracy", "top_5_accuracy"), independent_photos(groups))
    photos |= dict.fromkeys(("balanced_accuracy", "macro_f1"), len(present) ** 2 / (1 / present).sum())
    return {name: share_interval(values[name], count) for name, count in photos.items() if name in values}


def _resampled_intervals(
    predictions: Predictions, metrics: Mapping[str, Metric], groups: np.ndarray, seed: int
) -> dict[str, tuple[float, float]]:
    """Return low and high of metrics by resampling groups, within classes, so that no sample lacks one."""
    samples = int(np.clip(MAX_RESAMPLED_NUMBERS // predictions.probabilities.size, MIN_SAMPLES, SAMPLES))
    drawn: dict[str, list[np.ndarray]] = {name: [] for name in metrics}
    for weights in _samples(predictions.labels, groups, samples, seed):
        for name, of in metrics.items():
            drawn[name].append(of(predictions, weights))
    return {name: _limits(np.concatenate(values)) for name, values in drawn.items()}


def difference_interval(
    metric: str, labels: np.ndarray, first: np.ndarray, second: np.ndarray, groups: np.ndarray, seed: int = 0
) -> tuple[float, float]:
    """Return the 95 % interval of a metric of one model minus that of another on the same photos.

    ``first`` and ``second`` are their probabilities (n, classes). Groups are resampled within classes.
    """
    of, models = METRICS[metric], [Predictions(labels, model) for model in (first, second)]
    samples = int(np.clip(MAX_RESAMPLED_NUMBERS // (2 * first.size), MIN_SAMPLES, SAMPLES))
    drawn = [of(models[0], weights) - of(models[1], weights) for weights in _samples(labels, groups, samples, seed)]
    return _limits(np.concatenate(drawn))


def _limits(values: np.ndarray) -> tuple[float, float]:
    low, high = np.nanquantile(values, ((1 - LEVEL) / 2, (1 + LEVEL) / 2))
    return float(low), float(high)


def _samples(labels: np.ndarray, groups: np.ndarray, samples: int, seed: int) -> Iterator[np.ndarray]:
    """Yield how often each photo is in so many samples of groups, float32 (n, some of them), drawn within classes."""
    _, first, group_of_photo = np.unique(groups, return_index=True, return_inverse=True)
    class_of_group = labels[first]
    rng, step = np.random.default_rng(seed), max(1, MOST_WEIGHTS // len(labels))
    for start in trange(0, samples, step, desc="intervals", unit_scale=step, disable=None, leave=False):
        draws = _resample(class_of_group, min(step, samples - start), rng)
        yield draws[group_of_photo].astype(np.float32)


def _resample(class_of_group: np.ndarray, samples: int, rng: np.random.Generator) -> np.ndarray:
    """Return how often each group is in each sample, (groups, samples): as many of every class as there are."""
    draws = np.zeros((len(class_of_group), samples), np.int64)
    for label in np.unique(class_of_group):
        groups = np.flatnonzero(class_of_group == label)
        draws[groups] = rng.multinomial(len(groups), np.full(len(groups), 1 / len(groups)), samples).T
    return draws
