"""Which training photos look most alike to the network: by the cosine of their features before the logits.

The features of the training split are computed once per model and kept beside the prepared photos.
"""

from __future__ import annotations

import hashlib
from functools import cached_property
from typing import TYPE_CHECKING, NamedTuple

import numpy as np
from filelock import FileLock

from pipeline.data.store import Store
from pipeline.files import atomic_file
from pipeline.models.predict import BATCH_SIZE, compiled_forward, forward
from pipeline.serving import Classifier

if TYPE_CHECKING:
    import keras


class Neighbour(NamedTuple):
    """A training photo: its pixels as the network saw them, path, class, and cosine similarity in -1..1."""

    pixels: np.ndarray
    path: str
    label: str
    similarity: float


class SimilarPhotos:
    """The training photos of a model, to be searched by what they look like to it."""

    def __init__(self, classifier: Classifier, store: Store) -> None:
        self._classifier, self._store = classifier, store
        model = classifier.model
        self._network = compiled_forward(_until_the_head(model))
        self._width = int(_until_the_head(model).output_shape[-1])

    def nearest(self, image: np.ndarray, count: int) -> list[Neighbour]:
        """Return the training photos most similar to a prepared photo, uint8 RGB (size, size, 3), nearest first."""
        similarities = self.features @ self._unit_features(image[None])[0]
        rows, images = self._store.rows("train"), self._store.images("train")
        return [
            Neighbour(np.asarray(images[row]), rows["path"][row], rows["label"][row], float(similarities[row]))
            for row in np.argsort(-similarities, kind="stable")[:count]
        ]

    @cached_property
    def features(self) -> np.ndarray:
        """float32 (n, features) of unit length for the training photos, memory-mapped; computed when first needed."""
        file = self._store.folder / "features" / f"similar-{self._digest()}.npy"
        file.parent.mkdir(parents=True, exist_ok=True)
        with FileLock(file.with_suffix(".lock")):
            if not file.exists():
                with atomic_file(file) as draft, draft.open("wb") as opened:
                    np.save(opened, self._unit_features(self._store.images("train")))
        return np.load(file, mmap_mode="r")

    def _unit_features(self, images: np.ndarray) -> np.ndarray:
        features = forward(self._network, images, self._width)
        return features / np.maximum(np.linalg.norm(features, axis=1, keepdims=True), 1e-12)

    def _digest(self) -> str:
        digest = hashlib.sha256(f"{BATCH_SIZE}".encode())
        for weight in self._classifier.model.get_weights():
            digest.update(np.ascontiguousarray(weight).tobytes())
        return digest.hexdigest()[:32]


def _until_the_head(model: keras.Model) -> keras.Model:
    """Return the network up to the input of its logits, which are a linear function of that."""
    import keras

    return keras.Model(model.inputs[0], model.get_layer("logits").input)
