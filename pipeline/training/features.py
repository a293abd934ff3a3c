"""What a frozen backbone makes of the photos: computed once, kept in the prepared store, read by every later training.

A file of features lies in ``<store>/features``, under a digest of the backbone's weights and of what was done to the
photos, so that nothing stale is ever found; the store itself stands for the photos and their size. Building a ResNet-50
to know that digest takes as long as training a head, so a note beside the features keeps the digest for what the
weights follow from: a seed, or files. Whatever is built later is compared with it.
"""

from __future__ import annotations

import hashlib
import json
from collections.abc import Callable
from functools import cached_property
from importlib.metadata import version
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np
from filelock import FileLock
from tqdm import tqdm

from pipeline.config import TrainConfig, UserError
from pipeline.data.store import Store
from pipeline.files import atomic_file, sha256_of_file
from pipeline.models.backend import policy_of
from pipeline.models.builder import build_classifier
from pipeline.models.predict import BATCH, compiled_forward
from pipeline.models.structure import architecture_name
from pipeline.training.batches import augmented

if TYPE_CHECKING:
    import keras

FORMAT = 3  # raise when the same backbone and photos would give other features


class FeatureCache:
    """The features of one classifier's backbone on one store's photos: float32 arrays of shape (n, features).

    Args:
        build: returns the classifier whose backbone computes them; called only if something must be computed.
        store: the prepared photos.
        config: the training.
        precision: number format that those of the training photos are computed in; the others are in the
            classifier's own, because figures that get logged are to be those of the model that one gets.
        start_from: the saved classifier that the backbone is taken from, if it is.
    """

    def __init__(
        self,
        build: Callable[[], keras.Model],
        store: Store,
        config: TrainConfig,
        precision: str = "float32",
        start_from: Path | None = None,
    ) -> None:
        self._build, self._store, self._config = build, store, config
        self._folder = store.folder / "features"
        self._precision = {"train": precision, "validation": "float32"}
        self._opened: dict[str, np.ndarray] = {}
        self._note = self._folder / f"{_short_digest(_origin(config, start_from))}.json"
        self._backbone, self.size = self._noted() or self._look()

    @cached_property
    def classifier(self) -> keras.Model:
        """The whole network, from pixels to logits, untrained; built when first asked for.

        Raises:
            UserError: its backbone is another than the one that the features are of.
        """
        classifier = self._build()
        if self._noted() and self._noted() != _about(classifier):
            self._note.unlink(missing_ok=True)
            raise UserError(
                f"a frozen backbone must stay the same, got other weights={self._config.weights} than those that the "
                f"features in {self._folder} are of (run the same command again: they are computed anew)"
            )
        return classifier

    def _look(self) -> tuple[str, int]:
        about = _about(self.classifier)
        self._folder.mkdir(parents=True, exist_ok=True)
        with FileLock(self._note.with_suffix(".lock")), atomic_file(self._note) as draft:
            draft.write_text(json.dumps(about))
        return about

    def _noted(self) -> tuple[str, int] | None:
        try:
            backbone, size = json.loads(self._note.read_text())
        except (FileNotFoundError, ValueError):
            return None
        return backbone, size

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
            file = self._folder / f"{_short_digest(key)}.npy"
            with FileLock(file.with_suffix(".lock")):
                if not file.exists():
                    self._compute(file, split, view)
            self._opened[key] = np.load(file, mmap_mode="r")
        return self._opened[key]

    def _compute(self, file: Path, split: str, view: int) -> None:
        images, extractor = self._store.images(split), self._extractor(self._precision[split])
        with atomic_file(file) as draft:
            shape = (len(images), self.size)
            array = np.lib.format.open_memmap(draft, mode="w+", dtype=np.float32, shape=shape)
            for start in tqdm(range(0, len(images), BATCH), desc=f"features of {split}", leave=False, disable=None):
                rows = np.arange(start, min(start + BATCH, len(images)))
                pixels = augmented(images, rows, self._config, view) if view else images[rows]
                array[rows] = extractor(pixels)
            array.flush()

    def _extractor(self, precision: str) -> Callable[[np.ndarray], np.ndarray]:
        import keras

        classifier = self.classifier
        if precision != "float32":
            classes = len(self._store.class_names)
            classifier = build_classifier(
                self._config, classes, policy_of(precision), load_weights=False, start_from=self.classifier
            )
            classifier.set_weights(self.classifier.get_weights())
        return compiled_forward(keras.Model(classifier.inputs[0], classifier.get_layer("pool").output))


def _about(classifier: keras.Model) -> tuple[str, int]:
    """Return the digest of what computes the features, and their number."""
    scaling = classifier.get_layer("scaling")
    digest = hashlib.sha256(
        f"{classifier.name} {scaling.scale} {scaling.offset}".encode()
    )  # named after its architecture
    for weight in classifier.get_layer("backbone").get_weights():
        digest.update(weight.tobytes())
    return digest.hexdigest(), int(classifier.get_layer("pool").output.shape[-1])


def _origin(config: TrainConfig, start_from: Path | None) -> str:
    """Return what the backbone's weights follow from, as text."""
    versions = [version(name) for name in ("keras", "keras-hub", "tensorflow")]
    preset = Path(config.weights)
    files = [start_from] if start_from else sorted(path for path in preset.rglob("*") if path.is_file())
    return json.dumps(
        [FORMAT, architecture_name(config), config.weights, [*map(sha256_of_file, files)], config.seed, versions]
    )


def _short_digest(text: str) -> str:
    return hashlib.sha256(text.encode()).hexdigest()[:32]
