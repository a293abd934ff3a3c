"""Images per second of training: ours end to end, against Keras and PyTorch on the same photos.

``ours`` reads the prepared store, augments (``augment=medium``) and trains. Its opponents:

- ``our step, resident batch``: the same compiled step with one batch that lies in memory; the difference to ours is
  what reading and augmentation cost.
- ``Keras, resident batch``: the same network of built-in layers in the same precision, without reading or augmentation.
- ``Keras, default fit``: what the tutorials do: `image_dataset_from_directory` on the JPEG files, ``compile`` and
  ``fit`` with their defaults (float32), without augmentation. Its clock runs from the end of the first step to that of
  the last, because tf.data may sleep for seconds at the end of an epoch, which would weigh more in one so short.
- ``PyTorch``: torchvision's network, channels last, in the same precision, fused AdamW, its `DataLoader` with two
  workers on the prepared pixels and our augmentation; where torch is installed.

The last case says how much of the processor's own speed that is: the multiplications and additions of the convolutions,
three times the forward pass's, per second, as a share of those of one large matrix product in the same precision.
"""

from __future__ import annotations

import contextlib
import importlib.util
import itertools
import math
import subprocess
import sys
import time
from collections.abc import Callable, Iterator

import numpy as np
import pandas as pd

from benchmarks.measure import compared, in_turns, per_second
from pipeline.config import TrainConfig
from pipeline.data.store import Store, prepared_store
from pipeline.models.backend import load_backend, policy_of
from pipeline.models.builder import build_classifier
from pipeline.training.batches import TrainingBatches
from pipeline.training.phases import phases_of
from pipeline.training.trainer import Trainer, make_trainer

CASES = [  # variant, image size, batch size, steps of a measurement: the last ones of an epoch
    ("resnet18", 64, 64, 24),
    ("resnet18", 128, 64, 10),
    ("resnet18", 224, 32, 8),
    ("resnet50", 128, 32, 8),
    ("resnet50", 224, 16, 6),
]
ROUNDS = 5
MATRIX_SIDE = 4096


def run(data: str, quick: bool) -> pd.DataFrame:
    """Measure every case; ``quick`` the second, with few steps and one matrix product."""
    load_backend()
    tables, shares = [], {}
    for variant, size, batch, steps in CASES[1:2] if quick else CASES:
        config = TrainConfig(weights="none", data=data, variant=variant, image_size=size, batch_size=batch)
        store = prepared_store(config)
        trainer = make_trainer(phases_of(config)[0], store)
        table = _case(
            config, store, trainer, min(steps // 4 if quick else steps, trainer.steps - 1), 3 if quick else ROUNDS
        )
        floating = 3 * _operations(config, store) * table["median"][0]
        rate = _matrix_product_rate(trainer.precision, 1 if quick else ROUNDS)
        shares[f"{variant}, {size} px"] = [floating / rate]
        tables.append(table)
    return pd.concat([*tables, compared("of the matrix-product rate", "share", shares)], ignore_index=True)


def _case(config: TrainConfig, store: Store, trainer: Trainer, steps: int, rounds: int) -> pd.DataFrame:
    batches = TrainingBatches(store, config)
    one = batches.batch(1, 0, batches.order(1))
    contenders = {
        "ours": _ours(trainer, steps),
        "our step, resident batch": _our_step(trainer, steps, *one),
        "Keras, resident batch": _keras_resident(config, *one, trainer, steps),
        "Keras, default fit": _keras_default(config, store, max(3, steps)),
    }
    case = f"{config.variant}, {config.image_size} px, batch {config.batch_size}, {trainer.precision}"
    with _pytorch(config, trainer.precision, steps) as pytorch:
        return in_turns(case, "images per second", contenders | pytorch, rounds)


@contextlib.contextmanager
def _pytorch(config: TrainConfig, precision: str, steps: int) -> Iterator[dict[str, Callable[[], float]]]:
    if not importlib.util.find_spec("torchvision"):
        yield {}
        return
    command = [sys.executable, "-m", "benchmarks.pytorch", config.model_dump_json(), precision, str(steps)]
    with subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True) as process:
        assert process.stdin is not None
        assert process.stdout is not None
        ask, answers = process.stdin, process.stdout

        def measure() -> float:
            ask.write("train\n")
            ask.flush()
            return float(answers.readline())

        yield {"PyTorch": measure}
        ask.close()


def _ours(trainer: Trainer, steps: int) -> Callable[[], float]:
    epochs = itertools.count(1)
    return lambda: per_second(trainer.images(steps), lambda: trainer.train(next(epochs), trainer.steps - steps))


def _our_step(trainer: Trainer, steps: int, images: np.ndarray, targets: np.ndarray) -> Callable[[], float]:
    import tensorflow as tf

    batch = tf.constant(images), tf.constant(targets)
    return lambda: per_second(trainer.images(steps), lambda: [trainer.step(*batch) for _ in range(steps)])


def _keras_resident(
    config: TrainConfig, images: np.ndarray, targets: np.ndarray, trainer: Trainer, steps: int
) -> Callable[[], float]:
    import keras
    import tensorflow as tf

    network = build_classifier(config, targets.shape[1], policy_of(trainer.precision))
    network.compile("adamw", keras.losses.CategoricalCrossentropy(from_logits=True), jit_compile=False)
    options = tf.data.Options()
    options.autotune.enabled = False  # else it may sleep for seconds at the end
    batches = tf.data.Dataset.from_tensors((images, targets)).repeat(steps).with_options(options)
    return lambda: per_second(trainer.images(steps), lambda: network.fit(batches, shuffle=False, verbose=0))


def _keras_default(config: TrainConfig, store: Store, steps: int) -> Callable[[], float]:
    import keras

    size, batch = config.image_size, config.batch_size
    photos = keras.utils.image_dataset_from_directory(
        store.source, image_size=(size, size), batch_size=batch, verbose=False
    )
    network = build_classifier(config, len(store.class_names))
    network.compile("adam", keras.losses.SparseCategoricalCrossentropy(from_logits=True), metrics=["accuracy"])
    steps = min(steps, len(photos) - 1)  # the last batch is a smaller one
    ends: list[float] = []
    clock = keras.callbacks.LambdaCallback(on_train_batch_end=lambda *_, **__: ends.append(time.perf_counter()))

    def measure() -> float:
        ends.clear()
        network.fit(photos.take(steps), verbose=0, callbacks=[clock])
        return (steps - 1) * batch / (ends[-1] - ends[0])

    return measure


def _operations(config: TrainConfig, store: Store) -> float:
    """Return the multiplications and additions of a photo's forward pass through the convolutions."""
    backbone = build_classifier(config, len(store.class_names)).get_layer("backbone")
    kernels = [layer for layer in backbone.layers if hasattr(layer, "kernel")]
    return float(sum(2 * layer.kernel.shape.num_elements() * math.prod(layer.output.shape[1:3]) for layer in kernels))


def _matrix_product_rate(precision: str, rounds: int) -> float:
    """Return the multiplications and additions per second of a large matrix product, the best of the rounds."""
    import tensorflow as tf

    matrix = tf.cast(tf.random.stateless_normal((MATRIX_SIDE, MATRIX_SIDE), (0, 0)), precision)
    product = tf.function(lambda: tf.reduce_sum(matrix @ matrix))
    product()
    return max(per_second(2 * MATRIX_SIDE**3, lambda: product().numpy()) for _ in range(rounds))
