"""What a model must beat before it says anything: an answer that is always the same."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from scipy.special import bdtrc

from pipeline.evaluation.metrics import per_class_table

ALPHA = 0.05


@dataclass(frozen=True)
class Baseline:
    """A model against always answering the largest class.

    ``p_value`` is that of the exact one-sided McNemar test; ``never_recognised`` are the classes with a recall of 0.
    """

    accuracy: float
    baseline_accuracy: float
    largest_class: str
    p_value: float
    never_recognised: tuple[str, ...]

    @property
    def is_beaten(self) -> bool:
        """Whether the model is better beyond chance."""
        return self.p_value < ALPHA

    @property
    def description(self) -> str:
        """The comparison as a part of a sentence."""
        return (
            f"{100 * self.accuracy:.1f} % right against {100 * self.baseline_accuracy:.1f} % of always answering "
            f"{self.largest_class} (exact McNemar p = {self.p_value:.2g})"
        )


def compare_with_baseline(labels: np.ndarray, probabilities: np.ndarray, class_names: Sequence[str]) -> Baseline:
    """Compare probabilities (n, classes) with always answering the class that most of the labels (n,) have."""
    largest = int(np.bincount(labels).argmax())
    correct, baseline = probabilities.argmax(axis=1) == labels, labels == largest
    only_model, only_baseline = int((correct & ~baseline).sum()), int((baseline & ~correct).sum())
    discordant = only_model + only_baseline
    recalls = per_class_table(labels, probabilities, class_names)["recall"]
    return Baseline(
        accuracy=float(correct.mean()),
        baseline_accuracy=float(baseline.mean()),
        largest_class=class_names[largest],
        p_value=float(bdtrc(only_model - 1, discordant, 0.5)),
        never_recognised=tuple(str(name) for name in recalls.index[recalls == 0]),
    )
