"""Which photos a person is asked to look at: the rules name what is nearly black, white, of one colour or blurred."""

from __future__ import annotations

from pathlib import Path

import cv2
import numpy as np
import pytest

from pipeline.data.pixels.quality import quality_notes

SCENE = cv2.resize(np.random.default_rng(0).integers(0, 256, (24, 32, 3), dtype=np.uint8), (640, 480))
SCENE = cv2.add(SCENE, np.random.default_rng(1).integers(0, 40, SCENE.shape, dtype=np.uint8))


@pytest.mark.parametrize(
    ("image", "expected"),
    [
        (SCENE, []),
        (SCENE // 8, ["nearly black"]),
        (240 + SCENE // 20, ["nearly white"]),
        (np.full((90, 120, 3), 128, np.uint8), ["of one colour"]),
        (cv2.GaussianBlur(SCENE, (0, 0), 40), ["blurred"]),
        (SCENE[:8, :8], []),
        (SCENE[:9, :180], []),
        (np.repeat(SCENE, 4, axis=0), []),
    ],
)
def test_a_photo_is_named_for_what_it_is(image: np.ndarray, expected: list[str]) -> None:
    assert quality_notes(np.ascontiguousarray(image)) == expected


@pytest.mark.photos
def test_few_real_photos_are_named_and_blurred_ones_are(real_photos: Path) -> None:
    files = sorted(real_photos.glob("*/*.jpg"))[::25]
    images = [cv2.imread(str(file))[..., ::-1].copy() for file in files]
    named = sum(bool(quality_notes(image)) for image in images)
    blurred = sum("blurred" in quality_notes(cv2.GaussianBlur(image, (0, 0), 6)) for image in images)
    assert named <= 0.01 * len(images)
    assert blurred >= 0.95 * len(images)
