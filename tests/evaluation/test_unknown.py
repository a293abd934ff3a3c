"""Scores of known photos and of others: the known answers."""

from __future__ import annotations

import numpy as np
import pytest

from pipeline.evaluation import metric_value, rejection_at


def test_the_figures_have_the_known_answers() -> None:
    found = rejection_at(0.5, np.array([0.9, 0.8, 0.4, 0.6]), np.array([0.1, 0.4, 0.7]))
    assert found.auroc == pytest.approx((3 + 3 + 1.5 + 2) / 12)
    assert (found.kept, found.rejected) == (0.75, pytest.approx(2 / 3))


def test_the_area_is_that_of_two_classes() -> None:
    rng = np.random.default_rng(0)
    known, others = rng.beta(4, 2, 50).round(1), rng.beta(2, 2, 30).round(1)
    scores = np.concatenate([known, others])
    expected = metric_value("roc_auc", np.repeat([1, 0], [50, 30]), np.stack([1 - scores, scores], axis=1))
    assert rejection_at(0.5, known, others).auroc == pytest.approx(expected)
