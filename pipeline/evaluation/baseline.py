"""What a model must beat before it says anything: an answer that is always the same."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from scipy.special import bdtrc

from pipeline.evaluation.metrics import metric_value, per_class_table
from pipeline.evaluation.paired_test import TERMS, improvement, paired_p_value

ALPHA = 0.05


@dataclass(frozen=True)
class Baseline:
    """A model against one answer for all photos.

    The answer is the largest class or, by log loss, how frequent each class is: no other does better. ``value`` and
    ``baseline_value`` are of the ``metric``; ``p_value`` is that of the exact one-sided test that the model is not
    better; ``never_recognised`` are the classes with a recall of 0.
    """

    accuracy: float
    baseline_accuracy: float
    largest_class: str
    p_value: float
    never_recognised: tuple[str, ...]
    metric: str
    value: float
    baseline_value: float

    @property
    def is_beaten(self) -> bool:
        """Whether the model is better beyond chance."""
        return self.p_value < ALPHA

    @property
    def improvement(self) -> float:
        """What the model is better by, in the metric."""
        return improvement(self.metric, self.value, self.baseline_value)

    @property
    def description(self) -> str:
        """The comparison as a part of a sentence."""
        if self.metric != "accuracy":
            answer = "the classes' frequencies" if self.metric == "log_loss" else self.largest_class
            return (
                f"{self.metric.replace('_', ' ')} {self.value:.3f} against {self.baseline_value:.3f} for always "
                f"answering {answer} (permutation test, p = {self.p_value:.2g})"
            )
        return (
            f"{100 * self.accuracy:.1f} % right against {100 * self.baseline_accuracy:.1f} % for always answering "
            f"{self.largest_class} (exact McNemar p = {self.p_value:.2g})"
        )


def compare_with_baseline(
    labels: np.ndarray, probabilities: np.ndarray, class_names: Sequence[str], metric: str = "accuracy",
    groups: np.ndarray | None = None,
) -> Baseline:  # fmt: skip
    """Compare probabilities (n, classes) with one answer for all photos, by a metric of `paired_test.TERMS`.

    ``groups`` (n,) of near duplicates count as one, except by accuracy.
    """
    photos = np.bincount(labels, minlength=len(class_names))
    largest = int(photos.argmax())
    correct, baseline = probabilities.argmax(axis=1) == labels, labels == largest
    recalls = per_class_table(labels, probabilities, class_names)["recall"]
    if metric == "accuracy":
        only_model, only_baseline = int((correct & ~baseline).sum()), int((baseline & ~correct).sum())
        values = float(correct.mean()), float(baseline.mean())
        p_value = float(bdtrc(only_model - 1, only_model + only_baseline, 0.5))
    else:
        answer = photos / len(labels) if metric == "log_loss" else np.eye(len(class_names))[largest]
        constant = np.broadcast_to(answer, probabilities.shape)
        values = metric_value(metric, labels, probabilities), metric_value(metric, labels, constant)
        grouped = np.arange(len(labels)) if groups is None else groups
        p_value = paired_p_value(TERMS[metric](labels, probabilities, constant), grouped)
    return Baseline(
        accuracy=float(correct.mean()),
        baseline_accuracy=float(baseline.mean()),
        largest_class=class_names[largest],
        p_value=p_value,
        never_recognised=tuple(str(name) for name in recalls.index[recalls == 0]),
        metric=metric,
        value=values[0],
        baseline_value=values[1],
    )
