"""What beats an answer that is always the same, and which classes are never recognised."""

from __future__ import annotations

import numpy as np
import pytest

from pipeline.evaluation import compare_with_baseline

NAMES = ["common", "rare"]
LABELS = np.repeat([0, 1], [95, 5])


def _probabilities(predicted: np.ndarray) -> np.ndarray:
    return 0.1 + 0.8 * np.eye(2)[predicted]


def test_one_answer_for_all_is_the_baseline() -> None:
    baseline = compare_with_baseline(LABELS, _probabilities(np.zeros(100, int)), NAMES)
    assert (baseline.accuracy, baseline.baseline_accuracy) == (0.95, 0.95)
    assert baseline.p_value == 1
    assert not baseline.is_beaten
    assert baseline.never_recognised == ("rare",)
    assert "95.0 % right against 95.0 % for always answering common" in baseline.description


def test_every_rare_photo_must_count_to_beat_it() -> None:
    right = compare_with_baseline(LABELS, _probabilities(LABELS), NAMES)
    assert right.p_value == pytest.approx(1 / 32)
    assert right.is_beaten
    assert right.never_recognised == ()
    four = compare_with_baseline(LABELS, _probabilities(np.where(np.arange(100) == 99, 0, LABELS)), NAMES)
    assert not four.is_beaten  # 1 / 16
