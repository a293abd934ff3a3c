"""The table of refusals against counting by hand."""

from __future__ import annotations

import numpy as np
import pytest

from pipeline.evaluation import coverage_at, coverage_table


def test_coverage_and_accuracy_are_those_of_the_photos_that_are_answered() -> None:
    confidence = np.array([0.9, 0.6, 0.8, 0.8])
    probabilities = np.stack([confidence, 1 - confidence], axis=1)
    table = coverage_table(np.array([0, 1, 0, 1]), probabilities)
    assert table["threshold"].tolist() == [0.6, 0.8, 0.9]
    assert table["coverage"].tolist() == [1.0, 0.75, 0.25]
    assert table["accuracy"].tolist() == pytest.approx([0.5, 2 / 3, 1.0])
    assert table["photos"].tolist() == [4, 3, 1]
    assert [coverage_at(table, accuracy) for accuracy in (0.5, 0.6, 1.0)] == [1.0, 0.75, 0.25]
    assert coverage_at(table[:1], 0.9) == 0
