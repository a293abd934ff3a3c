"""The correlation over shifts: what OpenCV's template matching finds, whichever photo comes first."""

from __future__ import annotations

import cv2
import numpy as np
import pytest

from pipeline.data.splits.agreement import agreements


@pytest.fixture(scope="module")
def greys() -> np.ndarray:
    draw = np.random.default_rng(0)
    texture = cv2.GaussianBlur(draw.normal(0, 1, (48, 48)).astype(np.float32), (0, 0), 1.5)
    texture = np.clip(120 + 400 * texture, 0, 255).astype(np.uint8)
    shifted = [texture[y : y + 32, x : x + 32] for y, x in ((8, 8), (9, 7), (10, 10), (8, 12))]
    flat = np.full((32, 32), 90, np.uint8)
    return np.stack([*shifted, shifted[0][:, ::-1], flat, draw.integers(0, 255, (32, 32), np.uint8)])


def _agreement(greys: np.ndarray, left: int, right: int, is_mirrored: bool = False) -> float:
    ends = np.array([left]), np.array([right])
    return float(agreements(*ends, np.array([is_mirrored]), greys.__getitem__)[0])


def test_small_shifts_and_mirror_images_agree_and_others_do_not(greys: np.ndarray) -> None:
    assert _agreement(greys, 0, 0) == pytest.approx(1, abs=1e-4)
    assert _agreement(greys, 0, 1) > 0.95
    assert _agreement(greys, 0, 2) > 0.95
    assert _agreement(greys, 0, 3) < 0.6  # four pixels are too many
    assert _agreement(greys, 0, 4, is_mirrored=True) == pytest.approx(1, abs=1e-4)
    assert _agreement(greys, 0, 4) < 0.5
    assert _agreement(greys, 0, 6) < 0.4
    assert _agreement(greys, 5, 5) == 0  # nothing to compare


def test_all_pairs_at_once_are_as_one_by_one_in_either_order(greys: np.ndarray) -> None:
    left, right = np.triu_indices(len(greys))
    for is_mirrored in (False, True):
        ways = np.full(len(left), is_mirrored)
        together = agreements(left, right, ways, greys.__getitem__)
        alone = [_agreement(greys, i, j, is_mirrored) for i, j in zip(left, right, strict=True)]
        np.testing.assert_allclose(together, alone, atol=1e-4)
        np.testing.assert_allclose(together, agreements(right, left, ways, greys.__getitem__), atol=1e-3)
