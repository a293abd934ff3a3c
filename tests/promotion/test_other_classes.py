"""What a model says of classes that it does not know: which photos these are, and how many it rejects."""

from __future__ import annotations

from pathlib import Path

import cv2
import numpy as np
import pytest

from pipeline.config import DataConfig
from pipeline.data.store import Store, prepared_store
from pipeline.models.backend import load_backend
from pipeline.promotion.other_classes import ask_about_other_classes
from pipeline.serving import About, Classifier, save_classifier, sureness_of

COLOURS = {"blue": (220, 40, 40), "green": (40, 220, 40), "grey": (110, 110, 110), "red": (40, 40, 220)}
KNOWN = ("blue", "green", "red")


@pytest.fixture
def photos(tmp_path: Path) -> Path:
    rng = np.random.default_rng(0)
    for name, colour in COLOURS.items():
        (tmp_path / "photos" / name).mkdir(parents=True)
        for number in range(20):
            photo = np.clip(np.array(colour) + rng.normal(0, 25, (40, 40, 3)), 0, 255).astype(np.uint8)
            assert cv2.imwrite(str(tmp_path / "photos" / name / f"{number}.png"), photo)
    return tmp_path / "photos"


def _open(photos: Path, *classes: str) -> Store:
    flags = {"data": str(photos), "image_size": 32, "test_fraction": 0.3, "near_duplicates": False}
    return prepared_store(DataConfig(**flags, classes=classes), photos.parent / "data")


def _classifier(folder: Path, store: Store, remembers: bool = True) -> Classifier:
    """A network that looks at the mean colour, sure where one channel is the brightest."""
    load_backend()
    import keras

    inputs = keras.Input((32, 32, 3), dtype="uint8")
    colour = keras.layers.GlobalAveragePooling2D()(keras.layers.Rescaling(1 / 255)(inputs))
    head = keras.layers.Dense(3, dtype="float32")
    model = keras.Model(inputs, head(colour))
    head.set_weights([8 * np.eye(3)[:, ::-1], np.zeros(3)])
    about = About(KNOWN, 32, "crop", (), store.digest, str(store.source), {})
    save_classifier(folder / "first", model, about)
    sureness = sureness_of(Classifier(folder / "first").probabilities(store.images("train"))) if remembers else ()
    save_classifier(folder / "second", model, About(**vars(about) | {"sureness": sureness}))
    return Classifier(folder / "second")


def test_photos_that_the_flag_classes_leaves_out_are_asked_about(photos: Path, tmp_path: Path) -> None:
    store = _open(photos, *KNOWN)
    (photos / "grey" / "0.png").write_bytes(b"")
    classifier, held_out = _classifier(tmp_path, store), store.held_out_photos()
    found = ask_about_other_classes(classifier, held_out, classifier.probabilities(held_out.images))
    assert found
    assert (found.photos, found.names) == (19, ("grey",))  # one cannot be read
    assert found.metrics["unknown_auroc"] == 1
    assert found.metrics["unknown_rejected_at_95"] == 1
    assert found.metrics["known_kept_at_95"] > 0.7
    assert (
        "it answers 'none of these' for 100 % of 19 photos of classes that it does not know (grey)" in found.description
    )


def test_test_photos_of_a_class_that_came_later_are_asked_about(photos: Path, tmp_path: Path) -> None:
    classifier, held_out = _classifier(tmp_path, _open(photos, *KNOWN)), _open(photos).held_out_photos()
    known = held_out.only(held_out.rows["label"].isin(KNOWN).to_numpy(), KNOWN)
    found = ask_about_other_classes(classifier, held_out, classifier.probabilities(known.images))
    assert found
    assert (found.photos, found.names) == (len(held_out.rows) - len(known.rows), ("grey",))


def test_nothing_is_said_without_such_photos_or_of_a_model_of_before(photos: Path, tmp_path: Path) -> None:
    store = _open(photos, *KNOWN)
    held_out = store.held_out_photos()
    before = _classifier(tmp_path / "before", store, remembers=False)
    assert ask_about_other_classes(before, held_out, before.probabilities(held_out.images)) is None
    for photo in (photos / "grey").iterdir():
        photo.unlink()
    (photos / "grey").rmdir()
    now, classifier = _open(photos, *KNOWN), _classifier(tmp_path, store)
    assert ask_about_other_classes(classifier, now.held_out_photos(), before.probabilities(held_out.images)) is None
