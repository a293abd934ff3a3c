"""Training batches from the prepared store: an epoch's order, augmentation and mixing, all from its seed.

Batches are stateless: those of epoch 7 are the same whether or not epochs 1 to 6 were drawn.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from typing import TYPE_CHECKING

import cv2
import numpy as np

from pipeline.config import TrainConfig, TrainingConfig
from pipeline.data.store import Store
from pipeline.training.augmentation import augment, changes_photos
from pipeline.training.mixing import mix_batch, uses_mixing
from pipeline.training.phases import phases_of

if TYPE_CHECKING:
    import tensorflow as tf

ORDER, AUGMENT, MIX = 1, 2, 3  # purpose of a random stream: the first part of its key, so that no two are shared
PREFETCH_BATCHES = 4


class TrainingBatches:
    """The training split in shuffled, augmented batches of equal size; each epoch drops the remainder.

    Args:
        store: the prepared photos.
        config: the training.
        pixels: side to resize the photos to; 0 keeps their size.
        features: epoch -> a frozen backbone's features, float32 (n, features), to use instead of the photos.
    """

    def __init__(
        self,
        store: Store,
        config: TrainingConfig,
        pixels: int = 0,
        features: Callable[[int], np.ndarray] | None = None,
    ) -> None:
        self._images, self._features = store.images("train"), features
        self._side = pixels or self._images.shape[1]
        self._targets = np.eye(len(store.class_names), dtype=np.float32)[store.labels("train")]
        self._config = config
        self.batch_size = min(config.batch_size, len(self._images) // config.devices * config.devices)
        self.steps = len(self._images) // self.batch_size

    def batch(self, epoch: int, step: int, order: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
        """Return uint8 images (batch, side, side, 3), or features, and float32 targets (batch, classes) of sum 1."""
        rows = order[step * self.batch_size : (step + 1) * self.batch_size]
        targets = self._targets[rows]
        if self._features:
            return self._features(epoch)[rows], targets
        images = _resize(augment_rows(self._images, rows, self._config, epoch), self._side)
        return mix_batch(images, targets, self._config, (MIX, self._config.seed, epoch, step))

    def order(self, epoch: int) -> np.ndarray:
        """Return the shuffled row numbers of the training split for this epoch."""
        return np.random.default_rng((ORDER, self._config.seed, epoch)).permutation(len(self._images))

    def epoch(self, epoch: int, first_step: int = 0, device: str = "") -> tf.data.Dataset:
        """Return the batches of one epoch (counted from 1), from a step (counted from 0) on.

        A thread prefetches them while the network trains, onto ``device`` if one is named.
        """
        import tensorflow as tf

        def draw() -> Iterator[tuple[np.ndarray, np.ndarray]]:
            order = self.order(epoch)
            for step in range(first_step, self.steps):
                yield self.batch(epoch, step, order)

        images, targets = self.batch(epoch, 0, np.arange(self.batch_size))
        signature = (
            tf.TensorSpec(images.shape, tf.as_dtype(images.dtype)),
            tf.TensorSpec(targets.shape, tf.float32),
        )
        options = tf.data.Options()
        options.autotune.enabled = False  # nothing to tune, and its thread may sleep for seconds when an epoch ends
        batches = tf.data.Dataset.from_generator(draw, output_signature=signature).with_options(options)
        if device:
            return batches.apply(tf.data.experimental.prefetch_to_device(device, PREFETCH_BATCHES))
        return batches.prefetch(PREFETCH_BATCHES)


def augment_rows(images: np.ndarray, rows: np.ndarray, config: TrainingConfig, epoch: int) -> np.ndarray:
    """Return the rows' photos augmented for an epoch (counted from 1): uint8 (len(rows), size, size, 3)."""
    return np.stack([augment(images[row], config, (AUGMENT, config.seed, epoch, row)) for row in rows])


def seen_photos(store: Store, config: TrainConfig, rows: np.ndarray, most_epochs: int) -> dict[str, np.ndarray]:
    """Return training photos as they are, and as the network sees them in the first epochs of its last phase.

    Where photos are mixed, these are mixed among themselves.

    Args:
        store: the prepared photos.
        config: the training.
        rows: their row numbers in the training split.
        most_epochs: of so many epochs at most; of one where they are always the same.

    Returns:
        Title -> uint8 (len(rows), size, size, 3).
    """
    images, phase = store.images("train"), phases_of(config)[-1]
    targets = np.eye(len(rows), dtype=np.float32)
    mixes = uses_mixing(config) and not config.freeze_backbone
    views = config.feature_views if config.freeze_backbone else config.epochs
    count = min(most_epochs, views, phase.last - phase.first + 1) if changes_photos(config) or mixes else 1
    seen = {"photo": images[rows]}
    for epoch in range(phase.first, phase.first + count):
        pixels = augment_rows(images, rows, config, epoch)
        key = (MIX, config.seed, epoch, 0)
        seen[f"epoch {epoch}"] = mix_batch(pixels, targets, config, key)[0] if mixes else pixels
    return seen


def _resize(images: np.ndarray, side: int) -> np.ndarray:
    if images.shape[1] == side:
        return images
    return np.stack([cv2.resize(image, (side, side), interpolation=cv2.INTER_AREA) for image in images])
