"""What a frozen backbone makes of the photos: computed once, kept in the prepared store, read by every later training.

A file of features lies in ``<store>/features``, under a digest of the backbone's weights and of what was done to the
photos, so that nothing stale is ever found; the store itself stands for the photos and their size.
"""

from __future__ import annotations

import hashlib
import json
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np
from filelock import FileLock
from tqdm import tqdm

from pipeline.config import TrainConfig
from pipeline.data.batches import augmented
from pipeline.data.store import Store
from pipeline.models.backend import policy_of
from pipeline.models.builder import build_classifier
from pipeline.models.predict import BATCH

if TYPE_CHECKING:
    import keras

FORMAT = 2  # raise when the same backbone and photos would give other features


class FeatureCache:
    """The features of one classifier's backbone on one store's photos: float32 arrays of shape (n, features).

    Args:
        classifier: whose backbone computes them.
        store: the prepared photos.
        config: the training.
        precision: number format that those of the training photos are computed in; the others are in the
            classifier's own, because figures that get logged are to be those of the model that one gets.
    """

    def __init__(self, classifier: keras.Model, store: Store, config: TrainConfig, precision: str = "float32") -> None:
        self._classifier, self._store, self._config = classifier, store, config
        self._precision = {"train": precision, "validation": "float32"}
        self._backbone = _digest(classifier)
        self._opened: dict[str, np.ndarray] = {}
        self.size = int(classifier.get_layer("pool").output.shape[-1])

    def validation(self) -> np.ndarray:
        """Return the features of the validation split, memory-mapped."""
        return self._features("validation", view=0)

    def training(self, epoch: int) -> np.ndarray:
        """Return the features of the training split as an epoch (counted from 1) sees it, memory-mapped.

        With augmentation the epochs take ``feature_views`` views of each photo in turn, those of the first epochs.
        """
        views = 1 if self._config.augment == "none" else self._config.feature_views
        return self._features("train", view=(epoch - 1) % views + 1)

    def _features(self, split: str, view: int) -> np.ndarray:
        changed = (self._config.augment, self._config.seed, view) if view and self._config.augment != "none" else ()
        key = json.dumps([FORMAT, self._backbone, split, self._precision[split], changed])
        if key not in self._opened:
            file = self._store.folder / "features" / f"{hashlib.sha256(key.encode()).hexdigest()[:32]}.npy"
            file.parent.mkdir(parents=True, exist_ok=True)
            with FileLock(file.with_suffix(".lock")):
                if not file.exists():
                    self._compute(file, split, view)
            self._opened[key] = np.load(file, mmap_mode="r")
        return self._opened[key]

    def _compute(self, file: Path, split: str, view: int) -> None:
        images, extractor = self._store.images(split), self._extractor(self._precision[split])
        with _array_when_whole(file, (len(images), self.size)) as array:
            for start in tqdm(range(0, len(images), BATCH), desc=f"features of {split}", leave=False, disable=None):
                rows = np.arange(start, min(start + BATCH, len(images)))
                pixels = augmented(images, rows, self._config, view) if view else images[rows]
                array[rows] = extractor.predict_on_batch(pixels)

    def _extractor(self, precision: str) -> keras.Model:
        import keras

        classifier = self._classifier
        if precision != "float32":
            classes = len(self._store.class_names)
            classifier = build_classifier(
                self._config, classes, policy_of(precision), load_weights=False, start_from=self._classifier
            )
            classifier.set_weights(self._classifier.get_weights())
        return keras.Model(classifier.inputs[0], classifier.get_layer("pool").output)


def _digest(classifier: keras.Model) -> str:
    scaling = classifier.get_layer("scaling")
    digest = hashlib.sha256(f"{classifier.name} {scaling.scale} {scaling.offset}".encode())  # named after its variant
    for weight in classifier.get_layer("backbone").get_weights():
        digest.update(weight.tobytes())
    return digest.hexdigest()


@contextmanager
def _array_when_whole(file: Path, shape: tuple[int, ...]) -> Iterator[np.ndarray]:
    """Lend a new memory-mapped float32 array that becomes ``file`` if the block succeeds."""
    draft = file.with_suffix(".part")
    try:
        array = np.lib.format.open_memmap(draft, mode="w+", dtype=np.float32, shape=shape)
        yield array
        array.flush()
        draft.replace(file)
    finally:
        draft.unlink(missing_ok=True)
