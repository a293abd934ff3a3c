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
import time
from collections.abc import Callable

import pandas as pd

from benchmarks.measure import in_turns
from pipeline.config import TrainConfig
from pipeline.data.batches import TrainingBatches
from pipeline.data.store import prepared_store
from pipeline.models.backend import load_backend

CASES = [("resnet18", 128, 64), ("resnet18", 224, 32), ("resnet50", 128, 32), ("resnet50", 224, 16)]
STEPS, ROUNDS = 12, 7


def run(data: str, quick: bool) -> pd.DataFrame:
    """Measure every case; ``quick`` the default of `train` alone."""
    load_backend()
    cases = [("resnet18", 64, 64)] if quick else CASES
    return pd.concat([_case(data, *case, rounds=3 if quick else ROUNDS) for case in cases], ignore_index=True)


def _case(data: str, variant: str, size: int, batch: int, rounds: int) -> pd.DataFrame:
    import keras

    keras.backend.clear_session()
    config = TrainConfig(data=data, variant=variant, image_size=size, batch_size=batch)
    store = prepared_store(config)
    batches = TrainingBatches(store, config)
    ours, resident, precision = _ours(config, batches, len(store.class_names))
    contenders = {
        "ours": ours,
        "our step, resident batch": resident,
        "Keras, resident batch": _keras_resident(config, batches, len(store.class_names), precision),
        "Keras, default fit": _keras_default(config, str(store.source), len(store.class_names)),
    }
    if importlib.util.find_spec("torchvision"):
        from benchmarks.pytorch import trained_steps

        contenders["PyTorch"] = trained_steps(config, store, STEPS)
    return in_turns(f"{variant}, {size} px, batch {batch}, {precision}", "images per second", contenders, rounds)


def _timed(images: int, work: Callable[[], object]) -> float:
    start = time.perf_counter()
    work()
    return images / (time.perf_counter() - start)


def _ours(
    config: TrainConfig, batches: TrainingBatches, classes: int
) -> tuple[Callable[[], float], Callable[[], float], str]:
    import tensorflow as tf

    from pipeline.training import choose_precision, trainable_network

    precision = choose_precision(config)
    network = trainable_network(config, classes, batches.steps, precision)
    epochs = iter(range(1, 10**9))
    steps = min(STEPS, batches.steps)

    def stream() -> object:
        return network.fit(batches.epoch(next(epochs)).take(steps), shuffle=False, verbose=0)

    one = tf.data.Dataset.from_tensors(batches.batch(1, 0, batches.order(1))).cache().repeat(steps)
    images = steps * config.batch_size
    return (
        lambda: _timed(images, stream),
        lambda: _timed(images, lambda: network.fit(one, shuffle=False, verbose=0)),
        precision,
    )


def _keras_resident(config: TrainConfig, batches: TrainingBatches, classes: int, precision: str) -> Callable[[], float]:
    import keras
    import tensorflow as tf

    from pipeline.models.builder import build_classifier

    policy = precision if precision == "float32" else f"mixed_{precision}"
    network = build_classifier(config, classes, policy)
    network.compile("adamw", keras.losses.CategoricalCrossentropy(from_logits=True), jit_compile=False)
    one = tf.data.Dataset.from_tensors(batches.batch(1, 0, batches.order(1))).cache().repeat(STEPS)
    return lambda: _timed(STEPS * config.batch_size, lambda: network.fit(one, shuffle=False, verbose=0))


def _keras_default(config: TrainConfig, folder: str, classes: int) -> Callable[[], float]:
    import keras

    from pipeline.models.builder import build_classifier

    size, batch = config.image_size, config.batch_size
    photos = keras.utils.image_dataset_from_directory(folder, image_size=(size, size), batch_size=batch, verbose=False)
    network = build_classifier(config, classes)
    network.compile("adam", keras.losses.SparseCategoricalCrossentropy(from_logits=True), metrics=["accuracy"])
    steps = min(STEPS, len(photos) - 1)
    return lambda: _timed(steps * batch, lambda: network.fit(photos.take(steps), verbose=0))
