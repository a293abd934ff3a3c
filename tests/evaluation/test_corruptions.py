"""Every corruption keeps the photo's form, grows with its strength, and is drawn alike each time."""

from __future__ import annotations

import numpy as np
import pytest

from pipeline.evaluation import CORRUPTIONS, corrupt_images, corruption_table, mean_corrupted_accuracy
from pipeline.evaluation.corruptions import STRENGTHS

every_corruption = pytest.mark.parametrize("name", CORRUPTIONS)


@pytest.fixture(scope="module")
def photos() -> np.ndarray:
    """Six colourful photos of wide waves, with fine ones that blur and JPEG take away."""
    y, x = np.mgrid[:48, :48] / 48
    wide = [np.stack([np.sin(3 * x + k), np.cos(3 * y - k), np.sin(4 * x * y + k)], axis=-1) for k in range(6)]
    fine = np.sin(60 * x + 50 * y)[..., None]
    return (np.stack(wide) * 60 + fine * 10 + 110).astype(np.uint8)


@every_corruption
def test_photos_stay_photos_and_get_worse_with_strength(photos: np.ndarray, name: str) -> None:
    before, distances = photos.copy(), []
    for strength in STRENGTHS:
        worse = corrupt_images(photos, name, strength)
        assert worse.shape == photos.shape
        assert worse.dtype == np.uint8
        distances.append(np.abs(worse.astype(float) - photos).mean())
    assert (photos == before).all()
    assert distances[0] > 0.05
    assert sorted(distances) == pytest.approx(distances)


@every_corruption
def test_a_photo_is_corrupted_alike_whatever_follows_it(photos: np.ndarray, name: str) -> None:
    assert (corrupt_images(photos, name, 3)[:2] == corrupt_images(photos[:2], name, 3)).all()


def test_the_table_counts_what_a_model_gets_right(photos: np.ndarray) -> None:
    """A model that answers 0 for the photos as they are, and 1 for any other pixels."""
    known = {photo.tobytes() for photo in photos}

    def predict(images: np.ndarray) -> np.ndarray:
        return np.array([[1.0, 0.0] if image.tobytes() in known else [0.0, 1.0] for image in images])

    labels = np.array([0, 0, 0, 0, 1, 1])
    table = corruption_table(predict, photos, labels, np.arange(6))
    assert len(table) == 1 + len(CORRUPTIONS) * len(STRENGTHS)
    assert table.iloc[0][["corruption", "strength", "accuracy"]].tolist() == ["none", 0, pytest.approx(4 / 6)]
    assert table.iloc[1:]["accuracy"].tolist() == pytest.approx([2 / 6] * (len(table) - 1))
    assert mean_corrupted_accuracy(table) == pytest.approx(2 / 6)
    assert ((table["low"] <= table["accuracy"]) & (table["accuracy"] <= table["high"])).all()
