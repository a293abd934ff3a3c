"""Two models on the same photos: how they differ, whether that is more than chance, and who may be champion.

McNemar's exact test (McNemar 1947; `scipy.stats.binomtest` on the photos that one model alone has right) takes photos
as independent. The paired bootstrap draws whole groups of near-duplicates, and so does not. Both must agree.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass

import numpy as np
import pandas as pd
from scipy.stats import binomtest

from pipeline.evaluation.intervals import bootstrap_interval
from pipeline.evaluation.metrics import per_class_table

ALPHA = 0.05


@dataclass(frozen=True)
class Comparison:
    """The challenger against the champion on ``photos`` test photos.

    ``difference`` is that of the accuracies, challenger minus champion, with its 95 % interval; ``p_value`` is of the
    exact, two-sided McNemar test; ``recall_changes`` has challenger minus champion by class.
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
    correct, before = (model.argmax(axis=1) == labels for model in (challenger, champion))
    gained, lost = int((correct & ~before).sum()), int((before & ~correct).sum())
    gain = correct.astype(np.float64) - before
    low, high = bootstrap_interval(gain, groups)
    recalls = [per_class_table(labels, model, class_names)["recall"] for model in (challenger, champion)]
    changes = (recalls[0] - recalls[1]).dropna()
    return Comparison(
        photos=len(labels),
        challenger_accuracy=float(correct.mean()),
        champion_accuracy=float(before.mean()),
        only_challenger_right=gained,
        only_champion_right=lost,
        p_value=float(binomtest(gained, gained + lost).pvalue) if gained + lost else 1.0,
        difference=float(gain.mean()),
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


def reason_against(comparison: Comparison, promotion: str, recall_tolerance: float) -> str:
    """Return why the challenger may not become champion, or nothing if it may.

    Args:
        comparison: of the challenger with the champion.
        promotion: a name in `RULES`.
        recall_tolerance: by how much the recall of a class may fall, in 0..1.
    """
    reasons = [RULES[promotion](comparison)]
    for name, change in comparison.recall_changes.items():
        if change < -recall_tolerance - 1e-9:  # 0.95 - 0.9 is a little more than 0.05
            points = f"{-100 * change:.1f} points, more than recall_tolerance={recall_tolerance}"
            reasons.append(f"the recall of {name} falls by {points}")
    return "; ".join(filter(None, reasons))


def confusion_difference(challenger: pd.DataFrame, champion: pd.DataFrame) -> pd.DataFrame:
    """Return by how many photos each cell of two `confusion_table` of the same photos differs, with its sign."""
    return challenger - champion
