"""Compares two models on the same photos: their difference, its significance, and who may become champion.

By accuracy the test is the exact sign test on groups of near-duplicate photos, which are right or wrong together: how
many groups only, or mostly, the challenger has right, and how many the champion. For single photos it is McNemar's
exact test (McNemar 1947). By another metric it is `paired_test`'s. A class counts as worse where its recall falls by
more than a tolerance, and beyond chance: by the sign test on its photos, with mid-p values (Fagerland, Lydersen and
Laake 2013), times the number of classes (Bonferroni).
`python -m benchmarks promotion` simulates what comes of these rules.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass

import numpy as np
import pandas as pd
from scipy.special import bdtrc

from pipeline.evaluation.error_spending import ALPHA, error_left, error_of
from pipeline.evaluation.intervals import bootstrap_interval, difference_interval
from pipeline.evaluation.metrics import metric_value, per_class_table
from pipeline.evaluation.paired_test import LOWER_IS_BETTER, TERMS, improvement, paired_p_value

ROUNDING = 1e-12  # less is no difference of two sums
CLASS_ALPHA = 0.2  # chance that any of equal classes counts as worse: an error here only keeps the champion that is


@dataclass(frozen=True)
class Comparison:
    """The challenger against the champion on ``photos`` test photos.

    ``difference`` is what the challenger is better by in the ``metric``, with its 95 % interval; ``p_value`` is
    that of the exact, one-sided test that the challenger is not better; ``recall_changes`` is challenger minus
    champion by class, and ``class_p_values`` of falls, times the number of classes. ``place`` counts the comparisons on
    these test photos, from 1; the photos are in ``groups`` of near duplicates.
    """

    photos: int
    challenger_accuracy: float
    champion_accuracy: float
    only_challenger_right: int
    only_champion_right: int
    p_value: float
    difference: float
    difference_low: float
    difference_high: float
    recall_changes: Mapping[str, float]
    class_p_values: Mapping[str, float]
    place: int = 1
    groups: int = 0
    metric: str = "accuracy"
    challenger_value: float = math.nan
    champion_value: float = math.nan

    @property
    def allowed_error(self) -> float:
        """The chance of a false promotion that this comparison may have."""
        return error_of(self.place)

    @property
    def cannot_tell(self) -> bool:
        """Whether so few photos could not show a difference beyond chance, whatever the models answer."""
        return 0.5**self.groups >= self.allowed_error

    @property
    def description(self) -> str:
        """The comparison as a sentence."""
        if self.metric != "accuracy":
            return (
                f"{self.metric.replace('_', ' ')} {self.challenger_value:.3f} against the champion's "
                f"{self.champion_value:.3f} on the same {self.photos} photos (better by {self.difference:+.3f}, 95 % "
                f"interval {self.difference_low:+.3f} to {self.difference_high:+.3f}; permutation test, one-sided "
                f"p = {self.p_value:.2g}, comparison {self.place} on this test split; "
                f"{100 * self.challenger_accuracy:.1f} % right against {100 * self.champion_accuracy:.1f} %)"
            )
        return (
            f"{100 * self.challenger_accuracy:.1f} % right against the champion's {100 * self.champion_accuracy:.1f} % "
            f"on the same {self.photos} photos (difference {100 * self.difference:+.1f} points, 95 % interval "
            f"{100 * self.difference_low:+.1f} to {100 * self.difference_high:+.1f}; "
            f"{self.only_challenger_right} against {self.only_champion_right} photos that only one model gets right, "
            f"one-sided p = {self.p_value:.2g}, comparison {self.place} on this test split)"
        )

    def worse_classes(self, tolerance: float) -> list[str]:
        """Return the classes whose recall falls by more than ``tolerance`` and beyond chance, the worst first."""
        return sorted(
            (
                name
                for name, change in self.recall_changes.items()
                if change < -tolerance - 1e-9 and self.class_p_values[name] < CLASS_ALPHA  # 0.95 - 0.9 is over 0.05
            ),
            key=lambda name: self.recall_changes[name],
        )

    def class_table(self, tolerance: float) -> pd.DataFrame:
        """Return a row per class, the largest fall first: class, recall_change, p_value, is_worse."""
        worse = set(self.worse_classes(tolerance))
        rows = [
            (name, change, self.class_p_values[name], name in worse)
            for name, change in sorted(self.recall_changes.items(), key=lambda item: item[1])
        ]
        return pd.DataFrame(rows, columns=["class", "recall_change", "p_value", "is_worse"])


def compare(
    labels: np.ndarray,
    challenger: np.ndarray,
    champion: np.ndarray,
    groups: np.ndarray,
    class_names: Sequence[str],
    place: int = 1,
    metric: str = "accuracy",
) -> Comparison:
    """Compare two models' probabilities (n, classes) of the same photos, the ``place``-th time on these.

    ``metric`` is a name in `paired_test.TERMS`.
    """
    challenger_correct, champion_correct = (model.argmax(axis=1) == labels for model in (challenger, champion))
    only_challenger = int((challenger_correct & ~champion_correct).sum())
    only_champion = int((champion_correct & ~challenger_correct).sum())
    differences = challenger_correct.astype(np.float64) - champion_correct
    accuracies = [float(model.mean()) for model in (challenger_correct, champion_correct)]
    values = [metric_value(metric, labels, model) for model in (challenger, champion)]
    if metric == "accuracy":
        p_value = float(_sign_test(*_groups_won(np.zeros_like(labels), differences, groups, 1))[0])
        low, high = bootstrap_interval(differences, groups)
    else:
        p_value = paired_p_value(TERMS[metric](labels, challenger, champion), groups)
        better, other = (champion, challenger) if metric in LOWER_IS_BETTER else (challenger, champion)
        low, high = difference_interval(metric, labels, better, other, groups)
    recalls = [per_class_table(labels, model, class_names)["recall"] for model in (challenger, champion)]
    changes = (recalls[0] - recalls[1]).dropna()
    return Comparison(
        photos=len(labels),
        challenger_accuracy=accuracies[0],
        champion_accuracy=accuracies[1],
        only_challenger_right=only_challenger,
        only_champion_right=only_champion,
        p_value=p_value,
        difference=improvement(metric, *values),
        difference_low=low,
        difference_high=high,
        recall_changes={str(name): float(change) for name, change in changes.items()},
        class_p_values=_class_p_values(labels, differences, groups, class_names),
        place=place,
        groups=len(np.unique(groups)),
        metric=metric,
        challenger_value=values[0],
        champion_value=values[1],
    )


def _class_p_values(
    labels: np.ndarray, differences: np.ndarray, groups: np.ndarray, class_names: Sequence[str]
) -> dict[str, float]:
    """Return by class the mid-p value of a fall, times the number of classes that the photos are of."""
    better, worse = _groups_won(labels, differences, groups, len(class_names))
    present = np.unique(labels)
    mid_p = (_sign_test(worse, better) + bdtrc(worse, better + worse, 0.5)) / 2
    corrected = np.minimum(1, len(present) * mid_p)
    return {str(class_names[label]): float(corrected[label]) for label in present}


def _groups_won(
    classes: np.ndarray, differences: np.ndarray, groups: np.ndarray, count: int
) -> tuple[np.ndarray, np.ndarray]:
    """Return for each of ``count`` classes in how many groups its photos are better with either model, (count,)."""
    pairs, places = np.unique(
        np.stack([classes, np.unique(groups, return_inverse=True)[1]]), axis=1, return_inverse=True
    )
    of_group = np.bincount(places.ravel(), weights=differences)
    better, worse = (np.bincount(pairs[0, sign * of_group > 0], minlength=count) for sign in (1, -1))
    return better, worse


def _sign_test(won: np.ndarray, lost: np.ndarray) -> np.ndarray:
    """Return the exact one-sided p-values of having won at least so many, were winning and losing equally likely."""
    return np.asarray(bdtrc(won - 1, won + lost, 0.5))


def _not_better(comparison: Comparison) -> str:
    return "" if comparison.difference > ROUNDING else "it is not better"


def _not_significant(comparison: Comparison) -> str:
    if reason := _not_better(comparison):
        return reason
    allowed = comparison.allowed_error
    if comparison.p_value >= allowed:
        return (
            "the difference may be chance: if both models were equally good, one at least as large would still come up "
            f"in {_rate(comparison.p_value)} of cases; comparison {comparison.place} on this test split must stay "
            f"below {_rate(allowed)} (its share of the {_rate(ALPHA)} risk of a false promotion that all comparisons "
            f"have together; {_rate(error_left(comparison.place))} of that is left; add test photos)"
        )
    return ""


def _rate(share: float) -> str:
    """Return a share in 0..1 in percent, a small one with two digits."""
    return f"{100 * share:.0f} %" if share >= 0.1 else f"{100 * share:.2g} %"


RULES: dict[str, Callable[[Comparison], str]] = {"significant": _not_significant, "better": _not_better}
"""Value of the flag ``promotion`` -> why the challenger may not become champion; empty if it may."""


def rejection_reason(comparison: Comparison, promotion: str, recall_tolerance: float) -> str:
    """Return why the challenger may not become champion, or an empty string if it may.

    Args:
        comparison: the comparison with the champion.
        promotion: a name in `RULES`.
        recall_tolerance: largest allowed drop of a class's recall, in 0..1.
    """
    reasons = [RULES[promotion](comparison)]
    if worse := comparison.worse_classes(recall_tolerance):
        fall = -100 * comparison.recall_changes[worse[0]]
        more = len(worse) - 1
        others = f", and of {more} more class{'es' if more > 1 else ''}" if more else ""
        reasons.append(
            f"the recall of {worse[0]} falls by {fall:.1f} points{others}, beyond chance and more than "
            f"recall_tolerance={recall_tolerance}"
        )
    return "; ".join(filter(None, reasons))


def confusion_difference(challenger: pd.DataFrame, champion: pd.DataFrame) -> pd.DataFrame:
    """Return the cell-wise difference of two `confusion_table` of the same photos: challenger minus champion."""
    return challenger - champion
