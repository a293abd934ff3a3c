"""Seconds for a search of 20 heads on a frozen ResNet-50: ours, plain Keras, and KerasTuner.

The recipe is the TensorFlow tutorials': a frozen ResNet-50, a hidden layer of 512 units, Adam, 5 epochs, batch 32, no
augmentation; random weights, which cost the same. Ours is the real command, ``python -m pipeline tune``, with every
trial in MLflow, and begins with neither prepared photos nor features. The opponents train by `fit` on
`image_dataset_from_directory`: plain Keras two trials of two epochs, KerasTuner one. From the second epoch on all are
alike, so their time for 20 trials of 5 epochs is that of the measured epochs and as many more like the last as lack.
"""

from __future__ import annotations

import importlib.util
import os
import statistics
import subprocess
import sys
import tempfile
import time
from pathlib import Path
from typing import Any, ClassVar

import pandas as pd

from benchmarks.measure import COLUMNS
from pipeline.config import DataConfig
from pipeline.data.store import prepared_store
from pipeline.models.backend import load_backend

ROOT = Path(__file__).parents[1]
TRIALS, EPOCHS, SIZE, BATCH = 20, 5, 192, 32
MEASURED_EPOCHS, PLAIN_TRIALS, TUNER_TRIALS = 2, 2, 1


def run(data: str, quick: bool) -> pd.DataFrame:
    """Measure ours in full and the others in part; ``quick`` does so at 64 px."""
    size = 64 if quick else SIZE
    folder = prepared_store(DataConfig(data=data, image_size=size)).source.resolve()
    contenders = {"ours": _ours, "plain fit": _plain}
    if importlib.util.find_spec("keras_tuner"):
        contenders["KerasTuner"] = _keras_tuner
    seconds: dict[str, float] = {}
    for name, contender in contenders.items():
        seconds[name] = contender(folder, size)
        print(f"{name}: {seconds[name]:.0f} s", flush=True)
    case = f"{TRIALS} heads on a frozen ResNet-50, {size} px"
    rows = [
        (case, name, "seconds", value, value, value, *[seconds["ours"] / value] * 3) for name, value in seconds.items()
    ]
    table = pd.DataFrame(rows, columns=COLUMNS)
    print(table.to_string(index=False, float_format="{:.4g}".format), flush=True)
    return table


def _ours(folder: Path, size: int) -> float:
    flags = {
        "data": folder, "image_size": size, "variants": "resnet50", "variant": "resnet50", "freeze_backbone": "true",
        "weights": "none",
        "head_units": 512, "augment": "none", "epochs": EPOCHS, "batch_size": BATCH, "n_trials": TRIALS,
        "confirm_top_k": 0, "pruner": "none",
    }  # fmt: skip
    command = [sys.executable, "-m", "pipeline", "tune", *(f"--{name}={value}" for name, value in flags.items())]
    with tempfile.TemporaryDirectory() as scratch:
        start = time.perf_counter()
        subprocess.run(command, cwd=scratch, env=os.environ | {"PYTHONPATH": str(ROOT)}, check=True)
        return time.perf_counter() - start


def _photos(folder: Path, size: int) -> tuple[Any, Any, int]:
    import keras

    train, validation = keras.utils.image_dataset_from_directory(
        folder, validation_split=0.1, subset="both", seed=123, image_size=(size, size), batch_size=BATCH, verbose=False
    )
    return train, validation, len(train.class_names)


def _network(size: int, classes: int, learning_rate: float) -> Any:
    import keras

    inputs = keras.Input((size, size, 3))
    backbone = keras.applications.ResNet50(include_top=False, weights=None, input_shape=(size, size, 3), pooling="avg")
    backbone.trainable = False
    x = keras.layers.Dense(512, activation="relu")(backbone(inputs))
    model = keras.Model(inputs, keras.layers.Dense(classes)(x))
    loss = keras.losses.SparseCategoricalCrossentropy(from_logits=True)
    model.compile(keras.optimizers.Adam(learning_rate), loss, metrics=["accuracy"])
    return model


def _plain(folder: Path, size: int) -> float:
    load_backend()
    train, validation, classes = _photos(folder, size)
    clock, start = _clock(), time.perf_counter()
    for trial in range(PLAIN_TRIALS):
        network = _network(size, classes, 1e-3 / (trial + 1))
        network.fit(train, validation_data=validation, epochs=MEASURED_EPOCHS, verbose=0, callbacks=[clock])
    return _extrapolated(time.perf_counter() - start, clock, PLAIN_TRIALS)


def _extrapolated(seconds: float, clock: Any, trials: int) -> float:
    """Return the seconds of all trials with all epochs, from those of ``trials`` with a few."""
    return TRIALS * (seconds / trials + (EPOCHS - MEASURED_EPOCHS) * statistics.fmean(clock.last_epochs))


def _clock() -> Any:
    """Return a callback that notes the seconds of each training's last epoch, its validation included."""
    import keras

    class Clock(keras.callbacks.Callback):
        last_epochs: ClassVar[list[float]] = []  # KerasTuner works with a copy of the callback
        begun = 0.0

        def on_epoch_begin(self, epoch: int, logs: object = None) -> None:
            self.begun = time.perf_counter()

        def on_epoch_end(self, epoch: int, logs: object = None) -> None:
            if epoch == MEASURED_EPOCHS - 1:
                self.last_epochs.append(time.perf_counter() - self.begun)

    return Clock()


def _keras_tuner(folder: Path, size: int) -> float:
    import keras_tuner

    train, validation, classes = _photos(folder, size)

    def build(choice: Any) -> Any:
        return _network(size, classes, choice.Float("learning_rate", 1e-4, 1e-2, sampling="log"))

    with tempfile.TemporaryDirectory() as scratch:
        tuner = keras_tuner.RandomSearch(build, "val_accuracy", max_trials=TUNER_TRIALS, directory=scratch, seed=0)
        clock, start = _clock(), time.perf_counter()
        tuner.search(train, validation_data=validation, epochs=MEASURED_EPOCHS, verbose=0, callbacks=[clock])
        return _extrapolated(time.perf_counter() - start, clock, TUNER_TRIALS)
