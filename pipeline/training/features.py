"""Cached features of a frozen backbone: computed once, kept in the prepared store, reused by every later training.

A feature file is in ``<store>/features``, named after a digest of the backbone's weights and the augmentation, so that
a stale file is never reused; the store already identifies the photos and their size. Building a ResNet-50 just to
compute that digest takes as long as training a head, so a note beside the features maps the origin of the weights (a
seed, or files) to the digest. A backbone that is built later is checked against the note.
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

from pipeline.config import TrainConfig, UserError, identifying_flags
from pipeline.data.store import Store
from pipeline.files import atomic_file, sha256_of_file
from pipeline.models.backend import policy_of
from pipeline.models.builder import build_classifier
from pipeline.models.predict import BATCH_SIZE, compiled_forward
from pipeline.models.structure import architecture_name
from pipeline.models.weights.places import parse_address
from pipeline.processes import hides_bars
from pipeline.training.augmentation import changes_photos
from pipeline.training.batches import augment_rows

if TYPE_CHECKING:
    import keras

CHANGES = {"horizontal_flip", "vertical_flip", "degrade"}  # to photos, beside augment
FORMAT = 3  # increment when the same backbone and photos would give other features


class FeatureCache:
    """The features of one classifier's backbone on one store's photos: float32 arrays of shape (n, features).

    Args:
        build: returns the classifier whose backbone computes them; called only if something must be computed.
        store: the prepared photos.
        config: the training.
        precision: number format for the features of training photos; validation features are computed in float32,
            because logged metrics must be those of the final model.
        start_from: the saved classifier that the backbone comes from, if any.
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
        self._open_arrays: dict[str, np.ndarray] = {}
        self._note_file = self._folder / f"{_short_digest(_weights_origin(config, start_from))}.json"
        self._backbone, self.size = self._read_note() or self._inspect_backbone()

    @cached_property
    def classifier(self) -> keras.Model:
        """The whole untrained network, from pixels to logits; built on first access.

        Raises:
            UserError: its backbone is not the one that the cached features come from.
        """
        classifier = self._build()
        if self._read_note() and self._read_note() != _identify_backbone(classifier):
            self._note_file.unlink(missing_ok=True)
            raise UserError(
                f"a frozen backbone must stay the same, got other weights={self._config.weights} than those that the "
                f"features in {self._folder} are of (run the same command again: they will be computed again)"
            )
        return classifier

    def _inspect_backbone(self) -> tuple[str, int]:
        backbone_and_size = _identify_backbone(self.classifier)
        self._folder.mkdir(parents=True, exist_ok=True)
        with FileLock(self._note_file.with_suffix(".lock")), atomic_file(self._note_file) as draft:
            draft.write_text(json.dumps(backbone_and_size))
        return backbone_and_size

    def _read_note(self) -> tuple[str, int] | None:
        try:
            backbone, size = json.loads(self._note_file.read_text())
        except (FileNotFoundError, ValueError):
            return None
        return backbone, size

    def validation(self) -> np.ndarray:
        """Return the features of the validation split, memory-mapped."""
        return self._features("validation", view=0)

    def training(self, epoch: int) -> np.ndarray:
        """Return the features of the training split for an epoch (counted from 1), memory-mapped.

        With augmentation, the epochs cycle through ``feature_views`` views of each photo: those of the first epochs.
        """
        views = self._config.feature_views if changes_photos(self._config) else 1
        return self._features("train", view=(epoch - 1) % views + 1)

    def _features(self, split: str, view: int) -> np.ndarray:
        augments = view and changes_photos(self._config)
        changes = identifying_flags(self._config, exclude=type(self._config).model_fields.keys() - CHANGES)
        own_changes = (changes,) if changes else ()
        augmentation = (self._config.augment, self._config.seed, view, *own_changes) if augments else ()
        key = json.dumps([FORMAT, self._backbone, split, self._precision[split], augmentation])
        if key not in self._open_arrays:
            file = self._folder / f"{_short_digest(key)}.npy"
            with FileLock(file.with_suffix(".lock")):
                if not file.exists():
                    self._compute(file, split, view)
            self._open_arrays[key] = np.load(file, mmap_mode="r")
        return self._open_arrays[key]

    def _compute(self, file: Path, split: str, view: int) -> None:
        images, extractor = self._store.images(split), self._extractor(self._precision[split])
        with atomic_file(file) as draft:
            shape = (len(images), self.size)
            array = np.lib.format.open_memmap(draft, mode="w+", dtype=np.float32, shape=shape)
            for start in tqdm(
                range(0, len(images), BATCH_SIZE), desc=f"features of {split}", leave=False, disable=hides_bars()
            ):
                rows = np.arange(start, min(start + BATCH_SIZE, len(images)))
                pixels = augment_rows(images, rows, self._config, view) if view else images[rows]
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


def _identify_backbone(classifier: keras.Model) -> tuple[str, int]:
    """Return the digest of the scaling and the backbone, and the number of features."""
    scaling = classifier.get_layer("scaling")
    architecture = classifier.name
    digest = hashlib.sha256(f"{architecture} {scaling.scale} {scaling.offset}".encode())
    for weight in classifier.get_layer("backbone").get_weights():
        digest.update(weight.tobytes())
    return digest.hexdigest(), int(classifier.get_layer("pool").output.shape[-1])


def _weights_origin(config: TrainConfig, start_from: Path | None) -> str:
    """Return what determines the backbone's weights, as text."""
    versions = [version(name) for name in ("keras", "keras-hub", "tensorflow")]
    place = Path(parse_address(config.weights).place)
    inside = [place] if place.is_file() else sorted(path for path in place.rglob("*") if path.is_file())
    files = [start_from] if start_from else inside
    return json.dumps(
        [FORMAT, architecture_name(config), config.weights, [*map(sha256_of_file, files)], config.seed, versions]
    )


def _short_digest(text: str) -> str:
    return hashlib.sha256(text.encode()).hexdigest()[:32]
