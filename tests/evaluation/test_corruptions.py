"""Every corruption keeps the photo's form, grows with its strength, and is drawn alike each time."""

from __future__ import annotations

import numpy as np
import pytest

from pipeline.evaluation import CORRUPTIONS, corrupted, corruption_table, mean_corrupted_accuracy
from pipeline.evaluation.corruptions import STRENGTHS

every_corruption = pytest.mark.parametrize("name", CORRUPTIONS)


@pytest.fixture(scope="module")
def photos() -> np.ndarray:
    """Six smooth colourful photos: what noise, blur and JPEG do to white noise would say little."""
    y, x = np.mgrid[:48, :48] / 48
    waves = [np.stack([np.sin(7 * x + k), np.cos(5 * y - k), np.sin(9 * x * y + k)], axis=-1) for k in range(6)]
    return (np.stack(waves) * 60 + 110).astype(np.uint8)


@every_corruption
def test_photos_stay_photos_and_get_worse_with_strength(photos: np.ndarray, name: str) -> None:
    before, distances = photos.copy(), []
    for strength in STRENGTHS:
        worse = corrupted(photos, name, strength)
        assert worse.shape == photos.shape
        assert worse.dtype == np.uint8
        distances.append(np.abs(worse.astype(float) - photos).mean())
    assert (photos == before).all()
    assert distances[0] > 0.05
    assert sorted(distances) == pytest.approx(distances)


@every_corruption
def test_a_photo_is_corrupted_alike_whatever_follows_it(photos: np.ndarray, name: str) -> None:
    assert (corrupted(photos, name, 3)[:2] == corrupted(photos[:2], name, 3)).all()


def test_the_table_counts_what_a_model_gets_right(photos: np.ndarray) -> None:
    """A model that answers 0 for the photos as they are, and 1 for any other pixels."""
    known = {photo.tobytes() for photo in photos}

    def predict(images: np.ndarray) -> np.ndarray:
        return np.array([[1.0, 0.0] if image.tobytes() in known else [0.0, 1.0] for image in images])

    labels = np.array([0, 0, 0, 0, 1, 1])
    table = corruption_table(predict, photos, labels, np.arange(6))
    assert len(table) == 1 + len(CORRUPTIONS) * len(STRENGTHS)
    assert table.iloc[0][["corruption", "strength", "accuracy"]].tolist() == ["none", 0, pytest.approx(4 / 6)]
    assert (table.iloc[1:]["accuracy"] == pytest.approx(2 / 6)).all()
    assert mean_corrupted_accuracy(table) == pytest.approx(2 / 6)
    assert ((table["low"] <= table["accuracy"]) & (table["accuracy"] <= table["high"])).all()
