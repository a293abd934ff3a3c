"""One config and one prepared store -> one trained network: optimizer, schedule, precision, fit, best epoch.

Knows nothing of MLflow or Optuna: every epoch goes to a function that the caller hands in, which may end the
training. The network that is trained may compute in bfloat16; its float32 twin, with averaged
weights where ``ema`` is on, is what gets validated and returned, so every logged figure is of the model one gets.
"""

from __future__ import annotations

import math
import time
from collections.abc import Callable
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
import pandas as pd
from tqdm import tqdm

from pipeline.config import TrainConfig, UserError
from pipeline.data.batches import TrainingBatches
from pipeline.data.store import Store
from pipeline.features import FeatureCache
from pipeline.models.backend import load_backend, on_gpu
from pipeline.models.builder import build_classifier, build_head, copy_head
from pipeline.models.files import load_classifier
from pipeline.models.predict import predict_logits, softmax
from pipeline.schedules import learning_rate_schedule

if TYPE_CHECKING:
    import keras
    import tensorflow as tf


@dataclass(frozen=True)
class Epoch:
    """What one epoch (counted from 1) measured; field names are MLflow metric names."""

    epoch: int
    train_loss: float
    train_accuracy: float
    val_loss: float
    val_accuracy: float
    learning_rate: float
    images_per_second: float


@dataclass(frozen=True)
class FitResult:
    """The best epoch's network (float32) with its validation probabilities (n, classes), and all epochs."""

    model: keras.Model
    history: pd.DataFrame
    best: Epoch
    val_probabilities: np.ndarray
    precision: str


class Diverged(UserError):
    """The training loss is no longer a finite number."""


def fit(
    config: TrainConfig,
    store: Store,
    on_epoch: Callable[[Epoch], bool | None] = lambda _: None,
    start_from: Path | None = None,
) -> FitResult:
    """Train as the config says and return the epoch with the best val_accuracy (then the lowest val_loss).

    Args:
        config: what to train.
        store: prepared photos; the test split is not touched.
        on_epoch: called after every epoch; True ends the training there.
        start_from: a saved classifier whose weights to start from.

    Raises:
        Diverged: the loss became NaN or infinite.
        UserError: the initial weights do not fit.
    """
    training = _Training(config, store, start_from)
    epochs: list[Epoch] = []
    best: tuple[Epoch, list[np.ndarray], np.ndarray] | None = None
    last_gain = 0
    for number in range(1, config.epochs + 1):
        measured, probabilities = training.run_epoch(number)
        epochs.append(measured)
        if best is None or measured.val_accuracy > best[0].val_accuracy:
            last_gain = number
        if best is None or _rank(measured) > _rank(best[0]):
            best = measured, training.twin.get_weights(), probabilities
        stopped = on_epoch(measured)
        if stopped or (config.patience and number - last_gain >= config.patience):
            break
    assert best is not None
    history = pd.DataFrame([asdict(epoch) for epoch in epochs])
    return FitResult(training.classifier(best[1]), history, best[0], best[2], training.precision)


class _Training:
    """The network in training, its float32 twin, and the photos of one `fit`.

    Behind a frozen backbone both are the head alone, which is fed with features that were computed once.
    """

    def __init__(self, config: TrainConfig, store: Store, start_from: Path | None) -> None:
        load_backend()
        import keras

        keras.backend.clear_session(free_memory=True)
        self._config, self._labels = config, store.labels("validation")
        classes = len(store.class_names)
        saved = load_classifier(start_from) if start_from else None
        if takes_features(config):
            self.precision = "float32"
            self._classifier = build_classifier(config, classes, start_from=saved)
            cache = FeatureCache(self._classifier, store, config)
            self._batches = TrainingBatches(store, config, cache.training)
            self._inputs = cache.validation()
            self._network, self.twin = (build_head(config, classes, cache.size) for _ in range(2))
            copy_head(self._classifier, self._network)
            _compile(self._network, config, self._batches.steps, self.precision)
        else:
            self.precision = choose_precision(config)
            self._batches = TrainingBatches(store, config)
            self._inputs = store.images("validation")
            self._network = trainable_network(config, classes, self._batches.steps, self.precision, saved)
            self._classifier = self.twin = build_classifier(config, classes, load_weights=False, start_from=saved)

    def classifier(self, weights: list[np.ndarray]) -> keras.Model:
        """Return the whole network, from pixels to logits, with these weights of the twin."""
        self.twin.set_weights(weights)
        if self._classifier is not self.twin:
            copy_head(self.twin, self._classifier)
        return self._classifier

    def run_epoch(self, number: int) -> tuple[Epoch, np.ndarray]:
        """Train one epoch, hand the weights to the twin, and return what was measured and its probabilities."""
        config, batches = self._config, self._batches
        started = time.perf_counter()
        with tqdm(total=batches.steps, desc=f"epoch {number}/{config.epochs}", leave=False, disable=None) as bar:
            logs, weights = self._fit_epoch(batches.epoch(number, bar.update))
        speed = batches.steps * batches.batch_size / (time.perf_counter() - started)
        rate = float(self._network.optimizer.learning_rate.numpy())
        self.twin.set_weights(weights)
        probabilities = softmax(predict_logits(self.twin, self._inputs))
        of_truth = probabilities[np.arange(len(self._labels)), self._labels]
        train_loss, val_loss = float(logs["loss"][0]), float(-np.log(np.maximum(of_truth, 1e-12)).mean())
        if not math.isfinite(train_loss + val_loss):
            raise Diverged(
                f"the loss must stay finite, got {train_loss} in epoch {number} with optimizer={config.optimizer} "
                f"learning_rate={config.learning_rate:g} (try {config.learning_rate / 10:g}, or more warmup_epochs)"
            )
        val_accuracy = float((probabilities.argmax(axis=1) == self._labels).mean())
        train_accuracy = float(logs["accuracy"][0])
        return Epoch(number, train_loss, train_accuracy, val_loss, val_accuracy, rate, speed), probabilities

    def _fit_epoch(self, batches: tf.data.Dataset) -> tuple[dict[str, list[float]], list[np.ndarray]]:
        """Train on the batches; return Keras' logs and the weights to judge, which are the averaged ones with ``ema``.

        At the end of every `fit` Keras writes the averages over the weights, from which the next epoch must not start.
        """
        import keras

        raw: list[np.ndarray] = []
        keep = keras.callbacks.LambdaCallback(on_epoch_end=lambda *_: raw.extend(self._network.get_weights()))
        callbacks = [keep] if self._config.ema else []
        logs = self._network.fit(batches, shuffle=False, verbose=0, callbacks=callbacks).history
        weights = self._network.get_weights()
        if raw:
            self._network.set_weights(raw)
        return logs, weights


def takes_features(config: TrainConfig) -> bool:
    """Return whether the head can be trained by itself: nothing before it changes, and mixup blends pixels."""
    return config.freeze_backbone and not config.mixup


def choose_precision(config: TrainConfig) -> str:
    """Resolve ``precision=auto``: bfloat16 where the processor computes in it and the images are large enough.

    Measured with ResNet-18 on 2 cores, in images per second of processor time, bfloat16 against float32: with AMX
    1.4 times at 64 px and 1.5 times at 96 px; with AVX-512 alone 1.3 times at 128 px but 0.7 times at 64 px.
    """
    if config.precision != "auto":
        return config.precision
    features = _cpu_features()
    worthwhile = "amx_bf16" in features or ("avx512_bf16" in features and config.image_size >= 96)
    return "bfloat16" if worthwhile else "float32"


def _cpu_features() -> frozenset[str]:
    try:
        return frozenset(Path("/proc/cpuinfo").read_text().split())
    except OSError:  # not Linux: take the safe format
        return frozenset()


def trainable_network(
    config: TrainConfig, classes: int, steps_per_epoch: int, precision: str, start_from: keras.Model | None = None
) -> keras.Model:
    """Return the config's network, compiled with its optimizer and loss, that computes in ``precision``.

    It may hold layers that cannot be saved: copy its weights to a network of `build_classifier`.
    """
    policy = precision if precision == "float32" else f"mixed_{precision}"
    model = build_classifier(config, classes, policy, start_from=start_from, fast=not on_gpu())
    _compile(model, config, steps_per_epoch, precision)
    return model


def _compile(model: keras.Model, config: TrainConfig, steps_per_epoch: int, precision: str) -> None:
    import keras

    optimizer = make_optimizer(config, steps_per_epoch)
    optimizer.exclude_from_weight_decay(var_names=["bias", "gamma", "beta"])
    if precision == "float16":  # whose smallest numbers are larger than most gradients
        optimizer = keras.optimizers.LossScaleOptimizer(optimizer)
    loss = keras.losses.CategoricalCrossentropy(from_logits=True, label_smoothing=config.label_smoothing)
    accuracy = keras.metrics.CategoricalAccuracy(name="accuracy")
    model.compile(optimizer, loss, metrics=[accuracy], jit_compile=False)  # XLA halves the speed on a CPU


def make_optimizer(config: TrainConfig, steps_per_epoch: int) -> keras.Optimizer:
    """Return the config's optimizer with its learning-rate schedule; the ``adam`` of the table takes no decay."""
    from keras import optimizers

    common: dict[str, Any] = {"learning_rate": learning_rate_schedule(config, steps_per_epoch)}
    if config.ema:
        common |= {"use_ema": True, "ema_momentum": config.ema}
    decay = {"weight_decay": config.weight_decay}
    table: dict[str, Callable[[], keras.Optimizer]] = {
        "sgd": lambda: optimizers.SGD(**common, **decay, momentum=0.9, nesterov=True),
        "adam": lambda: optimizers.Adam(**common),
        "adamw": lambda: optimizers.AdamW(**common, **decay),
        "rmsprop": lambda: optimizers.RMSprop(**common, **decay),
        "lion": lambda: optimizers.Lion(**common, **decay),
    }
    return table[config.optimizer]()


def _rank(epoch: Epoch) -> tuple[float, float]:
    return epoch.val_accuracy, -epoch.val_loss
