"""One network in training, step by step: the compiled step, its float32 twin, and all the state between two steps.

Knows nothing of best epochs, patience or checkpoints; `training` does.
"""

from __future__ import annotations

import math
import time
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np
from tqdm import tqdm

from pipeline.config import TrainConfig, UserError
from pipeline.data.batches import TrainingBatches
from pipeline.data.store import Store
from pipeline.features import FeatureCache
from pipeline.models.backend import load_backend, on_gpu
from pipeline.models.builder import build_classifier, build_head, copy_head
from pipeline.models.files import load_classifier
from pipeline.models.predict import predict_logits, softmax
from pipeline.optimizers import make_optimizer
from pipeline.precision import choose_precision

if TYPE_CHECKING:
    import keras
    import tensorflow as tf


MEASURED_STEPS = 3


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


class Diverged(UserError):
    """The training loss is no longer a finite number."""


class Trainer:
    """A network in training and its float32 twin, which has the weights to judge, averaged ones with ``ema``.

    Behind a frozen backbone both are the head alone, which is fed with features that were computed once.
    """

    def __init__(self, config: TrainConfig, store: Store, start_from: Path | None = None) -> None:
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
        else:
            self._batches = TrainingBatches(store, config)
            self._inputs = store.images("validation")
            self.precision = choose_precision(
                config, config.epochs * self.steps, on_gpu(), lambda name: images_per_second(config, classes, name)
            )
            policy = policy_of(self.precision)
            self._network = build_classifier(config, classes, policy, start_from=saved, fast=not on_gpu())
            self._classifier = self.twin = build_classifier(config, classes, load_weights=False, start_from=saved)
        self._optimizer = make_optimizer(config, self.steps, self.precision)
        self.step, self._totals = _compiled_step(self._network, self._optimizer, config)

    @property
    def steps(self) -> int:
        """Steps of an epoch."""
        return self._batches.steps

    def train(
        self, epoch: int, first_step: int = 0, after_step: Callable[[int, float], object] = lambda *_: None
    ) -> None:
        """Train an epoch (counted from 1) from a step (counted from 0) on.

        ``after_step`` is called with the number of steps that the epoch has behind it, and the seconds since the call.

        Raises:
            Diverged: the loss became NaN or infinite.
        """
        if not first_step:
            self._totals.assign([0.0, 0.0])
        title, started = f"epoch {epoch}/{self._config.epochs}", time.perf_counter()
        with tqdm(total=self.steps, initial=first_step, desc=title, leave=False, disable=None) as bar:
            for done, (images, targets) in enumerate(self._batches.epoch(epoch, first_step), first_step + 1):
                self.step(images, targets)
                self._check_finite(float(self._totals.numpy()[0]), epoch, done)
                bar.update()
                after_step(done, time.perf_counter() - started)

    def judge(self, epoch: int, images_per_second: float) -> tuple[Epoch, np.ndarray]:
        """Hand the weights to the twin; return what the epoch measured, and the twin's validation probabilities.

        Raises:
            Diverged: the twin's loss is NaN or infinite.
        """
        self.twin.set_weights(self._weights_to_judge())
        probabilities = softmax(predict_logits(self.twin, self._inputs))
        of_truth = probabilities[np.arange(len(self._labels)), self._labels]
        train_loss, train_accuracy = (self._totals.numpy() / self.steps).tolist()
        val_loss = float(-np.log(np.maximum(of_truth, 1e-12)).mean())
        self._check_finite(val_loss, epoch, self.steps)  # the last step may have ruined the weights
        rate = float(self._optimizer.learning_rate.numpy())
        val_accuracy = float((probabilities.argmax(axis=1) == self._labels).mean())
        measured = Epoch(epoch, train_loss, train_accuracy, val_loss, val_accuracy, rate, images_per_second)
        return measured, probabilities

    def images(self, steps: int) -> int:
        """Return how many images so many steps train on."""
        return steps * self._batches.batch_size

    def classifier(self, weights: list[np.ndarray]) -> keras.Model:
        """Return the whole network, from pixels to logits, with these weights of the twin."""
        self.twin.set_weights(weights)
        if self._classifier is not self.twin:
            copy_head(self.twin, self._classifier)
        return self._classifier

    def state(self) -> list[np.ndarray]:
        """Return a copy of all that the next step depends on: weights, averages, random seeds, optimizer, totals."""
        return [np.array(variable.numpy()) for variable in self._variables()]

    def restore(self, state: list[np.ndarray]) -> None:
        """Go back to a `state`."""
        for variable, value in zip(self._variables(), state, strict=True):
            variable.assign(value)

    def _check_finite(self, loss: float, epoch: int, step: int) -> None:
        if not math.isfinite(loss):
            peak = self._config.learning_rate
            raise Diverged(
                f"the loss must stay finite, got {loss} after step {step} of epoch {epoch} with "
                f"optimizer={self._config.optimizer} learning_rate={peak:g}, then at "
                f"{float(self._optimizer.learning_rate.numpy()):.3g} (try {peak / 10:g}, or more warmup_epochs)"
            )

    def _variables(self) -> list[tf.Variable]:
        return [*self._network.variables, *self._optimizer.variables, self._totals]

    def _weights_to_judge(self) -> list[np.ndarray]:
        """Return the averaged weights with ``ema``, which Keras can only write over the others."""
        raw = self._network.get_weights()
        if not self._config.ema:
            return raw
        self._optimizer.finalize_variable_values(self._network.trainable_variables)
        averaged = self._network.get_weights()
        self._network.set_weights(raw)
        return averaged


def policy_of(precision: str) -> str:
    """Return the Keras dtype policy that computes in ``precision`` and keeps the weights in float32."""
    return precision if precision == "float32" else f"mixed_{precision}"


def images_per_second(config: TrainConfig, classes: int, precision: str) -> float:
    """Measure the config's training step in ``precision`` on random pixels: the median of `MEASURED_STEPS` steps."""
    import tensorflow as tf

    network = build_classifier(config, classes, policy_of(precision), load_weights=False, fast=not on_gpu())
    step, totals = _compiled_step(network, make_optimizer(config, MEASURED_STEPS, precision), config)
    rng = np.random.default_rng(0)
    shape = (config.batch_size, config.image_size, config.image_size, 3)
    images = tf.constant(rng.integers(0, 256, shape, dtype=np.uint8))
    targets = tf.one_hot(rng.integers(0, classes, config.batch_size), classes)
    seconds = []
    for _ in range(1 + MEASURED_STEPS):
        started = time.perf_counter()
        step(images, targets)
        totals.numpy()  # waits for the step
        seconds.append(time.perf_counter() - started)
    return config.batch_size / float(np.median(seconds[1:]))


def takes_features(config: TrainConfig) -> bool:
    """Return whether the head can be trained by itself: nothing before it changes, and mixup blends pixels."""
    return config.freeze_backbone and not config.mixup


def _compiled_step(
    network: keras.Model, optimizer: keras.Optimizer, config: TrainConfig
) -> tuple[Callable[[tf.Tensor, tf.Tensor], None], tf.Variable]:
    """Return the function that trains on a batch, and its totals so far: of the loss, and of the accuracy."""
    import keras
    import tensorflow as tf

    loss_of = keras.losses.CategoricalCrossentropy(from_logits=True, label_smoothing=config.label_smoothing)
    totals = tf.Variable([0.0, 0.0])
    optimizer.build(network.trainable_variables)

    @tf.function(jit_compile=False)  # type: ignore[untyped-decorator]  # XLA halves the speed on a CPU
    def step(images: tf.Tensor, targets: tf.Tensor) -> None:
        with tf.GradientTape() as tape:
            logits = network(images, training=True)
            loss = loss_of(targets, logits)
            scaled = optimizer.scale_loss(loss)
        weights = network.trainable_variables
        optimizer.apply(tape.gradient(scaled, [weight.value for weight in weights]), weights)
        hits = tf.equal(tf.argmax(logits, axis=1), tf.argmax(targets, axis=1))
        totals.assign_add([loss, tf.reduce_mean(tf.cast(hits, tf.float32))])

    return step, totals
