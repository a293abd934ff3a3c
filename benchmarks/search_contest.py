"""Seconds from the command until a search has seen an accuracy: ours, and KerasTuner's Hyperband and random search.

All search the same space on the same photos, prepared beforehand, with the same split, augmentation, batches, epochs
and model function, one trial at a time, for `LIMIT_S` at most. Ours is the command ``tune`` with its defaults, which
begins with known good flags, trains with this project's step, and logs to MLflow; KerasTuner trains by Keras' ``fit``
in float32 (faster at this size than bfloat16) and begins at random, as it does. What has not come by then counts as
never.
"""

from __future__ import annotations

import contextlib
import importlib.util
import math
import os
import shutil
import signal
import sqlite3
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd

from benchmarks.measure import compared
from pipeline.config import TuneConfig
from pipeline.data.sources import write_synthetic

ROOT = Path(__file__).parents[1]
PER_CLASS, EPOCHS = 200, 8
TARGETS, LIMIT_S = (0.5, 0.58, 0.62), 150
SEEDS = (0, 1, 2)
BEST = "SELECT max(value) FROM metrics WHERE key = 'val_accuracy'"
FLAGS = {
    "data": "photos", "weights": "none", "image_size": 64, "val_fraction": 0.3, "epochs": EPOCHS, "n_trials": 1000
}  # fmt: skip


def run(data: str, quick: bool) -> pd.DataFrame:
    """Let every contender search with every seed on a part of the photos; ``quick`` one seed, for a low accuracy."""
    contenders = ["ours"] + ["hyperband", "random"] * bool(importlib.util.find_spec("keras_tuner"))
    targets, seeds, limit = ((0.25,), SEEDS[:1], 60) if quick else (TARGETS, SEEDS, LIMIT_S)
    found: dict[float, dict[str, list[float]]] = {target: {name: [] for name in contenders} for target in targets}
    with tempfile.TemporaryDirectory() as folder:
        _subset(data, Path(folder, "photos"))
        _command(folder, "preprocess", {name: FLAGS[name] for name in ("data", "image_size", "val_fraction")}).wait()
        for seed in seeds:
            for name in contenders:
                best = _best_so_far(folder, name, seed, limit, targets[-1])
                for target in targets:
                    found[target][name].append(min((s for s, value in best if value >= target), default=math.inf))
                print(
                    f"seed {seed}  {name:<10} {'  '.join(f'{s:.0f} s: {value:.3f}' for s, value in best)}", flush=True
                )
    case = f"{5 * PER_CLASS} photos, 64 px, {EPOCHS} epochs"
    return pd.concat(
        [compared(f"until val_accuracy is {target} ({case})", "seconds", found[target]) for target in targets],
        ignore_index=True,
    )


def _subset(data: str, folder: Path) -> None:
    if data == "synthetic":
        write_synthetic(folder, PER_CLASS)
        return
    for label in sorted(path for path in Path(data).iterdir() if path.is_dir()):
        (folder / label.name).mkdir(parents=True)
        for photo in sorted(label.iterdir())[:PER_CLASS]:
            shutil.copy(photo, folder / label.name)


def _command(folder: str, name: str, flags: dict[str, Any], **options: Any) -> subprocess.Popen[str]:
    command = [sys.executable, "-m", "pipeline", name, *(f"--{flag}={value}" for flag, value in flags.items())]
    return _started(command, folder, stdout=subprocess.DEVNULL, **options)


def _started(command: list[str], folder: str, **options: Any) -> subprocess.Popen[str]:
    environment = os.environ | {"PYTHONPATH": str(ROOT), "TF_CPP_MIN_LOG_LEVEL": "3"}
    return subprocess.Popen(
        command, cwd=folder, env=environment, stderr=subprocess.DEVNULL, text=True, start_new_session=True, **options
    )


def _best_so_far(folder: str, name: str, seed: int, limit: float, enough: float) -> list[tuple[float, float]]:
    """Let a contender search until time is up, or it has found enough; return when it found how good a trial."""
    Path(folder, "mlflow.db").unlink(missing_ok=True)
    shutil.rmtree(Path(folder, "mlruns"), ignore_errors=True)
    start, best = time.perf_counter(), [(0.0, 0.0)]
    if name == "ours":
        flags = FLAGS | {"seed": seed, "confirm_top_k": 0, "storage": f"sqlite:///study{seed}.db"}
        process = _command(folder, "tune", flags)
        scores = _logged_accuracies(Path(folder, "mlflow.db"))
    else:
        process = _started(
            [sys.executable, "-m", "benchmarks.search_contest", name, str(seed)], folder, stdout=subprocess.PIPE
        )
        scores = _printed_accuracies(process)
    try:
        for score in scores:
            seconds = time.perf_counter() - start
            if seconds > limit:
                return best[1:]
            if score > best[-1][1]:
                best.append((seconds, score))
            if score >= enough:
                return best[1:]
            if process.poll() is not None:
                raise RuntimeError(f"{name} ended with exit code {process.returncode} after {seconds:.0f} s")
    finally:
        os.killpg(process.pid, signal.SIGKILL)
        process.wait()
    raise RuntimeError(f"{name} ended")


def _logged_accuracies(database: Path) -> Iterator[float]:
    """Yield the best accuracy in the MLflow database now and then."""
    while True:
        time.sleep(0.5)
        try:
            with contextlib.closing(sqlite3.connect(f"file:{database}?mode=ro", uri=True)) as reader:
                yield reader.execute(BEST).fetchone()[0] or 0.0
        except sqlite3.OperationalError:  # it is not there yet
            yield 0.0


def _printed_accuracies(process: subprocess.Popen[str]) -> Iterator[float]:
    assert process.stdout is not None
    for line in process.stdout:
        if line.startswith("val_accuracy "):
            yield float(line.split()[1])


def keras_tuner_search(name: str, seed: int) -> None:
    """Search with KerasTuner until killed, printing every epoch's accuracy."""
    import keras_tuner

    from pipeline.data.store import prepared_store
    from pipeline.models.backend import load_backend

    load_backend()
    config = TuneConfig(**FLAGS | {"seed": seed})
    store = prepared_store(config.data_config())
    model, options = _hyper_model(config, store), {"objective": "val_accuracy", "seed": seed, "directory": "tuner"}
    options |= {"project_name": f"{name} {seed} {time.time_ns()}"}
    if name == "hyperband":
        tuner = keras_tuner.Hyperband(model, max_epochs=EPOCHS, hyperband_iterations=100, **options)
        tuner.search(verbose=0)
    else:
        tuner = keras_tuner.RandomSearch(model, max_trials=1000, **options)
        tuner.search(epochs=EPOCHS, verbose=0)


class _Choices:
    """KerasTuner's parameters in the form in which `search.suggest` asks for them."""

    def __init__(self, parameters: Any) -> None:
        self._parameters = parameters

    def suggest_categorical(self, name: str, choices: list[Any]) -> Any:
        return self._parameters.Choice(name, choices)

    def suggest_float(self, name: str, low: float, high: float, log: bool = False) -> float:
        return float(self._parameters.Float(name, low, high, sampling="log" if log else "linear"))

    def suggest_int(self, name: str, low: int, high: int, log: bool = False) -> int:
        return int(self._parameters.Int(name, low, high, sampling="log" if log else "linear"))


def _hyper_model(config: TuneConfig, store: Any) -> Any:
    import keras
    import keras_tuner
    import tensorflow as tf

    from pipeline.models.builder import build_classifier
    from pipeline.search import study as search
    from pipeline.training.batches import TrainingBatches
    from pipeline.training.optimizers import make_optimizer

    def wanted(parameters: Any) -> Any:
        choices: Any = _Choices(parameters)
        return search.suggest(choices, config)

    class HyperModel(keras_tuner.HyperModel):
        def build(self, hp: Any) -> Any:
            trained = wanted(hp)
            network = build_classifier(trained, len(store.class_names))
            optimizer = make_optimizer(trained, TrainingBatches(store, trained).steps)
            loss = keras.losses.CategoricalCrossentropy(from_logits=True, label_smoothing=trained.label_smoothing)
            network.compile(optimizer, loss, metrics=["accuracy"], jit_compile=False)
            return network

        def fit(self, hp: Any, model: Any, *_: Any, epochs: int, initial_epoch: int = 0, **options: Any) -> Any:
            batches = TrainingBatches(store, wanted(hp))
            dataset = batches.epoch(initial_epoch + 1)
            for epoch in range(initial_epoch + 1, epochs):
                dataset = dataset.concatenate(batches.epoch(epoch + 1))
            labels = np.eye(len(store.class_names), dtype=np.float32)[store.labels("validation")]
            validation = tf.data.Dataset.from_tensor_slices((store.images("validation"), labels)).batch(64)
            tell = keras.callbacks.LambdaCallback(
                on_epoch_end=lambda _, logs: print(f"val_accuracy {logs['val_accuracy']}", flush=True)
            )
            options["callbacks"] = [*options.pop("callbacks", []), tell]
            return model.fit(
                dataset, steps_per_epoch=batches.steps, validation_data=validation, epochs=epochs,
                initial_epoch=initial_epoch, **options,
            )  # fmt: skip

    return HyperModel()


if __name__ == "__main__":
    keras_tuner_search(sys.argv[1], int(sys.argv[2]))
