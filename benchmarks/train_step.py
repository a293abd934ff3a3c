"""Images per second of training: ours end to end, against Keras and PyTorch on the same photos.

``ours`` reads the prepared store, augments (``augment=medium``) and trains. Its opponents:

- ``our step, resident batch``: the same compiled step with one batch that lies in memory; the difference to ours is
  what reading and augmentation cost.
- ``Keras, resident batch``: the same network of built-in layers in the same precision, without reading or augmentation.
- ``Keras, default fit``: what the tutorials do: `image_dataset_from_directory` on the JPEG files, ``compile`` and
  ``fit`` with their defaults (float32), without augmentation.
- ``PyTorch``: torchvision's network, channels last, bfloat16 autocast, fused AdamW, its `DataLoader` with two
  workers on the prepared pixels and our augmentation; where torch is installed.
"""

from __future__ import annotations

import importlib.util
import itertools
import time
from collections.abc import Callable

import numpy as np
import pandas as pd

from benchmarks.measure import in_turns
from pipeline.config import TrainConfig
from pipeline.data.batches import TrainingBatches
from pipeline.data.store import Store, prepared_store
from pipeline.models.backend import load_backend
from pipeline.models.builder import build_classifier
from pipeline.trainer import Trainer, policy_of

CASES = [
    ("resnet18", 64, 64),
    ("resnet18", 128, 64),
    ("resnet18", 224, 32),
    ("resnet50", 128, 32),
    ("resnet50", 224, 16),
]
ROUNDS = 5


def run(data: str, quick: bool) -> pd.DataFrame:
    """Measure every case; ``quick`` the first two."""
    load_backend()
    return pd.concat([_case(data, *case) for case in (CASES[:2] if quick else CASES)], ignore_index=True)


def _case(data: str, variant: str, size: int, batch: int) -> pd.DataFrame:
    config = TrainConfig(data=data, variant=variant, image_size=size, batch_size=batch)
    store = prepared_store(config)
    trainer = Trainer(config, store)
    batches = TrainingBatches(store, config)
    one = batches.batch(1, 0, batches.order(1))
    contenders = {
        "ours": _ours(trainer),
        "our step, resident batch": _our_step(trainer, *one),
        "Keras, resident batch": _keras_resident(config, *one, trainer),
        "Keras, default fit": _keras_default(config, store, trainer.steps),
    }
    if importlib.util.find_spec("torchvision"):
        from benchmarks.pytorch import trained_steps

        contenders["PyTorch"] = trained_steps(config, store, trainer.steps)
    return in_turns(
        f"{variant}, {size} px, batch {batch}, {trainer.precision}", "images per second", contenders, ROUNDS
    )


def _timed(images: int, work: Callable[[], object]) -> float:
    start = time.perf_counter()
    work()
    return images / (time.perf_counter() - start)


def _ours(trainer: Trainer) -> Callable[[], float]:
    epochs = itertools.count(1)
    return lambda: _timed(trainer.images(trainer.steps), lambda: trainer.train(next(epochs)))


def _our_step(trainer: Trainer, images: np.ndarray, targets: np.ndarray) -> Callable[[], float]:
    import tensorflow as tf

    batch = tf.constant(images), tf.constant(targets)
    return lambda: _timed(trainer.images(trainer.steps), lambda: [trainer.step(*batch) for _ in range(trainer.steps)])


def _keras_resident(
    config: TrainConfig, images: np.ndarray, targets: np.ndarray, trainer: Trainer
) -> Callable[[], float]:
    import keras
    import tensorflow as tf

    network = build_classifier(config, targets.shape[1], policy_of(trainer.precision))
    network.compile("adamw", keras.losses.CategoricalCrossentropy(from_logits=True), jit_compile=False)
    options = tf.data.Options()
    options.autotune.enabled = False  # else it may sleep for seconds at the end
    batches = tf.data.Dataset.from_tensors((images, targets)).repeat(trainer.steps).with_options(options)
    return lambda: _timed(trainer.images(trainer.steps), lambda: network.fit(batches, shuffle=False, verbose=0))


def _keras_default(config: TrainConfig, store: Store, steps: int) -> Callable[[], float]:
    import keras

    size, batch = config.image_size, config.batch_size
    photos = keras.utils.image_dataset_from_directory(
        store.source, image_size=(size, size), batch_size=batch, verbose=False
    )
    network = build_classifier(config, len(store.class_names))
    network.compile("adam", keras.losses.SparseCategoricalCrossentropy(from_logits=True), metrics=["accuracy"])
    steps = min(steps, len(photos) - 1)  # the last batch is a smaller one
    return lambda: _timed(steps * batch, lambda: network.fit(photos.take(steps), verbose=0))
