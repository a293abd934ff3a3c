"""Similar training photos: by the network's own features, computed once."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest

from pipeline.config import TrainConfig
from pipeline.data.store.store import Store, prepared_store
from pipeline.demo.similar import SimilarPhotos
from pipeline.models.backend import load_backend
from pipeline.models.builder import build_classifier
from pipeline.serving.classifier import About, Classifier, save_classifier


@pytest.fixture(scope="module")
def store(photo_folder: Path, tmp_path_factory: pytest.TempPathFactory) -> Store:
    return prepared_store(
        TrainConfig(weights="none", data=str(photo_folder), image_size=32), tmp_path_factory.mktemp("data")
    )


def _classifier(folder: Path, store: Store, seed: int) -> Classifier:
    load_backend()
    network = build_classifier(TrainConfig(weights="none", image_size=32, seed=seed), 3)
    save_classifier(folder, network, About(store.class_names, 32, "crop", (), store.digest, "photos", {}))
    return Classifier(folder)


def test_a_photo_is_most_similar_to_itself_and_features_are_kept(store: Store, tmp_path: Path) -> None:
    similar = SimilarPhotos(_classifier(tmp_path / "one", store, 0), store)
    for row in (0, 7):
        image = np.asarray(store.images("train")[row])
        first, *others = similar.nearest(image, 4)
        assert first.path == store.rows("train")["path"][row]
        assert first.label == store.rows("train")["label"][row]
        assert first.similarity == pytest.approx(1, abs=1e-5)
        np.testing.assert_array_equal(first.pixels, image)
        assert [other.similarity for other in others] == sorted((o.similarity for o in others), reverse=True)
    assert similar.features.shape == (len(store.rows("train")), 512)
    (file,) = (store.folder / "features").glob("similar-*.npy")
    written = file.stat().st_mtime_ns
    SimilarPhotos(Classifier(tmp_path / "one"), store).nearest(store.images("train")[0], 1)
    assert file.stat().st_mtime_ns == written
    SimilarPhotos(_classifier(tmp_path / "other", store, 1), store).nearest(store.images("train")[0], 1)
    assert len(list((store.folder / "features").glob("similar-*.npy"))) == 2
