"""Compares two models on the same photos: their difference, its significance, and who may become champion.

McNemar's exact test (McNemar 1947; `scipy.stats.binomtest` on the photos that only one model has right) assumes that
photos are independent. The paired bootstrap resamples whole groups of near-duplicates, and so does not. Both must
agree.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass

import numpy as np
import pandas as pd

from pipeline.evaluation.intervals import bootstrap_interval
from pipeline.evaluation.metrics import per_class_table

ALPHA = 0.05


@dataclass(frozen=True)
class Comparison:
    """The challenger against the champion on ``photos`` test photos.

    ``difference`` is the difference of accuracies, challenger minus champion, with its 95 % interval; ``p_value`` is
    that of the exact, two-sided McNemar test; ``recall_changes`` is challenger minus champion by class.
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

    @property
    def description(self) -> str:
        """The comparison as a sentence."""
        return (
            f"{100 * self.challenger_accuracy:.1f} % right against the champion's {100 * self.champion_accuracy:.1f} % "
            f"on the same {self.photos} photos (difference {100 * self.difference:+.1f} points, 95 % interval "
            f"{100 * self.difference_low:+.1f} to {100 * self.difference_high:+.1f}; "
            f"{self.only_challenger_right} against {self.only_champion_right} photos that one alone has right, "
            f"exact McNemar p = {self.p_value:.2g})"
        )


def compare(
    labels: np.ndarray,
    challenger: np.ndarray,
    champion: np.ndarray,
    groups: np.ndarray,
    class_names: Sequence[str],
) -> Comparison:
    """Compare two models' probabilities (n, classes) of the same photos."""
    from scipy.stats import binomtest  # imported here: takes 0.2 s, which a command that compares nothing need not wait

    challenger_correct, champion_correct = (model.argmax(axis=1) == labels for model in (challenger, champion))
    only_challenger = int((challenger_correct & ~champion_correct).sum())
    only_champion = int((champion_correct & ~challenger_correct).sum())
    discordant = only_challenger + only_champion
    differences = challenger_correct.astype(np.float64) - champion_correct
    low, high = bootstrap_interval(differences, groups)
    recalls = [per_class_table(labels, model, class_names)["recall"] for model in (challenger, champion)]
    changes = (recalls[0] - recalls[1]).dropna()
    return Comparison(
        photos=len(labels),
        challenger_accuracy=float(challenger_correct.mean()),
        champion_accuracy=float(champion_correct.mean()),
        only_challenger_right=only_challenger,
        only_champion_right=only_champion,
        p_value=float(binomtest(only_challenger, discordant).pvalue) if discordant else 1.0,
        difference=float(differences.mean()),
        difference_low=low,
        difference_high=high,
        recall_changes={str(name): float(change) for name, change in changes.items()},
    )


def _not_better(comparison: Comparison) -> str:
    return "" if comparison.difference > 0 else "it is not better"


def _not_significant(comparison: Comparison) -> str:
    if reason := _not_better(comparison):
        return reason
    if comparison.p_value >= ALPHA:
        return f"the difference may be chance: exact McNemar p = {comparison.p_value:.2g}, at least {ALPHA}"
    if comparison.difference_low <= 0:
        return "the difference may be chance: the 95 % interval of the paired bootstrap reaches 0"
    return ""


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
    for name, change in comparison.recall_changes.items():
        if change < -recall_tolerance - 1e-9:  # 0.95 - 0.9 is a little more than 0.05
            points = f"{-100 * change:.1f} points, more than recall_tolerance={recall_tolerance}"
            reasons.append(f"the recall of {name} falls by {points}")
    return "; ".join(filter(None, reasons))


def confusion_difference(challenger: pd.DataFrame, champion: pd.DataFrame) -> pd.DataFrame:
    """Return the cell-wise difference of two `confusion_table` of the same photos: challenger minus champion."""
    return challenger - champion
