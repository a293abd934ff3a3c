"""Which of two models is better by a metric, on the same photos, and whether that may be chance.

The difference of two models is a sum of one term per photo, and each term changes its sign where the two swap their
answers. If neither is better, both signs are equally likely, so the p-value is the share of all ways to swap answers
that give a sum as large as the one at hand (Fisher's randomisation test of pairs). Photos of a group of near duplicates
swap together. All ways are counted, not a sample of them: terms become whole numbers, whose sum has a distribution
that a Fourier transform gives exactly (Pagano and Tritchler 1983, J. Am. Stat. Assoc. 78). Rounding makes another
statistic of them, of which the test is as exact.

That is exact where each answer might be either model's. A model of another kind, which gains a little on many photos
and loses much on a few, such as one that is too sure of itself, looks better wherever the few are missing from the
test. So the p-value is at least that of the mean corrected for such a skew (Hall 1992, J. R. Stat. Soc. B 54).
`python -m benchmarks promotion` counts false promotions of both sorts.

Accuracy keeps the sign test on groups, which for single photos is this test, and McNemar's. Macro F1 is no sum, but its
difference in a class has the numerator of one: with u right photos and v = predicted + present,
2 u1 / v1 - 2 u2 / v2 = 2 (du v - u dv) / (v^2 - dv^2 / 4), u and v their means over both models, which no swap changes.
The test takes 2 (du v - u dv) / v^2. Yeh (2000, COLING) tests F1 by the same swaps, of which he draws some.
"""

from __future__ import annotations

from collections.abc import Callable

import numpy as np
from scipy.fft import irfft, next_fast_len
from scipy.special import ndtr

from pipeline.evaluation.metrics import LEAST_PROBABILITY

SCORE, LEAST_TOTAL, MOST_TOTAL = 32, 1 << 14, 1 << 17
"""The whole number of an average term, and what all add up to: so 512 at most differ, however many photos there are."""

Terms = Callable[[np.ndarray, np.ndarray, np.ndarray], np.ndarray]


def _right(labels: np.ndarray, probabilities: np.ndarray) -> np.ndarray:
    return (probabilities.argmax(axis=1) == labels).astype(np.float64)


def _accuracy_terms(labels: np.ndarray, challenger: np.ndarray, champion: np.ndarray) -> np.ndarray:
    return (_right(labels, challenger) - _right(labels, champion)) / len(labels)


def _balanced_accuracy_terms(labels: np.ndarray, challenger: np.ndarray, champion: np.ndarray) -> np.ndarray:
    photos = np.bincount(labels)
    return (_right(labels, challenger) - _right(labels, champion)) / (photos[labels] * np.count_nonzero(photos))


def _macro_f1_terms(labels: np.ndarray, challenger: np.ndarray, champion: np.ndarray) -> np.ndarray:
    classes = challenger.shape[1]
    present = np.bincount(labels, minlength=classes)
    ours, theirs = challenger.argmax(axis=1), champion.argmax(axis=1)
    won = (ours == labels).astype(np.float64) - (theirs == labels)
    right = sum(np.bincount(labels[answers == labels], minlength=classes) for answers in (ours, theirs)) / 2
    total = sum(np.bincount(answers, minlength=classes) for answers in (ours, theirs)) / 2 + present
    total = np.where(present, total, np.inf)  # a class without photos has no part in the mean
    cost = 2 * right / total**2
    return (2 * won / total[labels] - cost[ours] + cost[theirs]) / np.count_nonzero(present)


def _log_loss_terms(labels: np.ndarray, challenger: np.ndarray, champion: np.ndarray) -> np.ndarray:
    rows = np.arange(len(labels))
    ours, theirs = (np.log(np.maximum(model[rows, labels], LEAST_PROBABILITY)) for model in (challenger, champion))
    return (ours - theirs) / len(labels)


TERMS: dict[str, Terms] = {
    "accuracy": _accuracy_terms,
    "balanced_accuracy": _balanced_accuracy_terms,
    "macro_f1": _macro_f1_terms,
    "log_loss": _log_loss_terms,
}
"""Value of the flag ``promotion_metric`` -> each photo's share (n,) of what the challenger is better by."""

LOWER_IS_BETTER = ("log_loss",)


def improvement(metric: str, ours: float, theirs: float) -> float:
    """Return what the first value of a metric is better by."""
    return theirs - ours if metric in LOWER_IS_BETTER else ours - theirs


def paired_p_value(terms: np.ndarray, groups: np.ndarray) -> float:
    """Return the one-sided p-value of ``terms`` (n,) whose sum is not above 0 but by chance; ``groups`` swap as one."""
    sums = np.bincount(np.unique(groups, return_inverse=True)[1], weights=terms)
    return max(exact_p_value(sums), _skewed_p_value(sums))


def _skewed_p_value(sums: np.ndarray) -> float:
    """Return the p-value of Hall's transformed t, which is normal for a skewed mean; 0 without a skew to losses."""
    rest = sums - sums.mean()
    variance = (rest**2).sum()
    skew = (rest**3).sum() / variance**1.5 if variance > 0 else 0.0
    if skew >= 0:
        return 0.0
    t = sums.sum() / np.sqrt(variance)
    return float(ndtr(-(((1 + skew * t / 3) ** 3 - 1) / skew + skew / 6)))


def exact_p_value(sums: np.ndarray) -> float:
    """Return the share of all ways to change signs of ``sums`` (groups,) that give a total at least as large."""
    total = np.abs(sums).sum()
    if total == 0:
        return 1.0
    wanted = np.clip(SCORE * np.count_nonzero(sums), LEAST_TOTAL, MOST_TOTAL)
    scores = np.rint(sums * (wanted / total)).astype(np.int64)
    sizes, counts = np.unique(np.abs(scores[scores != 0]), return_counts=True)
    whole = int(sizes @ counts)
    length = next_fast_len(whole + 1, real=True)
    angles = np.arange(length // 2 + 1) * (np.pi / length)
    cosines = np.ones(len(angles))
    for size, count in zip(sizes, counts, strict=True):
        cosines *= np.cos(angles * size) ** count
    transform = np.exp(-1j * angles * whole) * cosines  # of the sum of those that are swapped, each with chance 1/2
    shares = irfft(transform, length)
    return float(np.clip(shares[: (whole - scores.sum()) // 2 + 1].sum(), 0.5 ** counts.sum(), 1))
