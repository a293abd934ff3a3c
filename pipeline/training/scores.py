"""What an epoch is judged by: the objectives of one set of predictions, and of one answer for all photos."""

from __future__ import annotations

import numpy as np

from pipeline.config import Objective

LEAST_PROBABILITY = 1e-12  # whose logarithm is still finite


def validation_scores(labels: np.ndarray, probabilities: np.ndarray) -> dict[str, float]:
    """Return every objective by name, of labels (n,) and probabilities (n, classes).

    Averages over classes are over those that have photos, as in `evaluation`.
    """
    classes, predicted = probabilities.shape[1], probabilities.argmax(axis=1)
    own_probabilities = probabilities[np.arange(len(labels)), labels]
    is_correct = predicted == labels
    correct = np.bincount(labels[is_correct], minlength=classes)
    present, answered = (np.bincount(of, minlength=classes) for of in (labels, predicted))
    known = present > 0
    return {
        "val_accuracy": float(is_correct.mean()),
        "val_balanced_accuracy": float((correct[known] / present[known]).mean()),
        "val_macro_f1": float((2 * correct[known] / (present + answered)[known]).mean()),
        "val_loss": float(-np.log(np.maximum(own_probabilities, LEAST_PROBABILITY)).mean()),
    }


def score_of_one_answer(objective: Objective, labels: np.ndarray, classes: int) -> float:
    """Return the best value of an objective that one and the same answer for all photos has.

    That is the largest class or, where probabilities count, every class with its share of the photos.
    """
    shares = np.bincount(labels, minlength=classes) / len(labels)
    answer = shares if objective.is_loss else np.eye(classes)[shares.argmax()]
    return validation_scores(labels, np.tile(answer, (len(labels), 1)))[objective.name]


def step_of_one_photo(objective: Objective, labels: np.ndarray) -> float:
    """Return by how much a photo of the smallest class changes an objective; 0 for a loss, which has no steps."""
    if objective.is_loss:
        return 0.0
    present = np.bincount(labels)
    present = present[present > 0]
    return 1 / len(labels) if objective.name == "val_accuracy" else 1 / (len(present) * int(present.min()))
