"""What an epoch is judged by: the same figures as the evaluation's, and those of one answer for all photos."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from pipeline.config import OBJECTIVES
from pipeline.evaluation import classification_metrics
from pipeline.training.scores import score_of_one_answer, step_of_one_photo, validation_scores


@given(seed=st.integers(0, 2**32 - 1), photos=st.integers(1, 40), classes=st.integers(2, 6))
def test_they_are_the_metrics_of_the_evaluation(seed: int, photos: int, classes: int) -> None:
    rng = np.random.default_rng(seed)
    labels = rng.integers(rng.integers(1, classes + 1), size=photos)  # some classes may be absent
    # None so small that its logarithm is bounded, which each bounds at another end of what floats can be.
    probabilities = np.maximum(rng.dirichlet(np.full(classes, 0.5), photos), 1e-9)
    scores = validation_scores(labels, probabilities)
    metrics = classification_metrics(labels, probabilities, [str(number) for number in range(classes)])
    assert scores.keys() == OBJECTIVES.keys()
    of_evaluation = {"val_accuracy": "accuracy", "val_balanced_accuracy": "balanced_accuracy"}
    of_evaluation |= {"val_macro_f1": "macro_f1", "val_loss": "log_loss"}
    for name, metric in of_evaluation.items():
        assert scores[name] == pytest.approx(metrics[metric], rel=1e-5)


def test_one_answer_has_the_share_of_the_largest_class_one_of_the_classes_and_the_entropy() -> None:
    labels = np.repeat([0, 1, 3], [6, 3, 1])  # no photo is of class 2
    found = {name: score_of_one_answer(objective, labels, 4) for name, objective in OBJECTIVES.items()}
    shares = np.array([0.6, 0.3, 0.1])
    assert found == pytest.approx(
        {
            "val_accuracy": 0.6,
            "val_balanced_accuracy": 1 / 3,
            "val_macro_f1": 2 * 6 / (10 + 6) / 3,
            "val_loss": -(shares * np.log(shares)).sum(),
        }
    )


@given(seed=st.integers(0, 2**32 - 1))
def test_no_other_answer_for_all_photos_is_better(seed: int) -> None:
    rng = np.random.default_rng(seed)
    labels, answer = rng.integers(3, size=20), rng.dirichlet(np.ones(3))
    scores = validation_scores(labels, np.tile(answer, (20, 1)))
    for name, objective in OBJECTIVES.items():
        best = objective.score(score_of_one_answer(objective, labels, 3))
        assert objective.score(scores[name]) <= best + 1e-12


def test_a_photo_of_the_smallest_class_is_the_largest_step() -> None:
    labels = np.repeat([0, 1], [18, 2])
    assert step_of_one_photo(OBJECTIVES["val_accuracy"], labels) == 1 / 20
    assert step_of_one_photo(OBJECTIVES["val_balanced_accuracy"], labels) == 1 / 4
    assert step_of_one_photo(OBJECTIVES["val_loss"], labels) == 0
