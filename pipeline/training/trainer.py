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
from pipeline.training.batches import TrainingBatches
from pipeline.training.mixing import is_mixed
from pipeline.data.store.store import Store
from pipeline.training.features import FeatureCache
from pipeline.models.backend import load_backend, on_gpu, policy_of, strategy_for
from pipeline.models.builder import build_classifier, build_head, copy_head
from pipeline.models.saved import load_classifier
from pipeline.models.predict import predict_logits, softmax
from pipeline.training.optimizers import make_optimizer
from pipeline.training.phases import Phase
from pipeline.training.precision import choose_precision
from pipeline.training.step import compiled_step, images_per_second

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


class Diverged(UserError):
    """The training loss is no longer a finite number."""


class Trainer:
    """A network in training and its float32 twin, which has the weights to judge, averaged ones with ``ema``.

    Behind a frozen backbone both are the head alone, which is fed with features that were computed once.

    Args:
        phase: what to train, and on photos of what size.
        store: the prepared photos.
        start_from: a saved classifier whose scaling and weights to start from.
        weights: those of a `classifier`, to start from instead.
    """

    def __init__(
        self, phase: Phase, store: Store, start_from: Path | None = None, weights: list[np.ndarray] | None = None
    ) -> None:
        load_backend()
        import keras

        keras.backend.clear_session(free_memory=True)
        self.phase, self._config, self._labels = phase, phase.config, store.labels("validation")
        self._classes = len(store.class_names)
        saved = load_classifier(start_from) if start_from else None
        self._strategy = strategy_for(self._config.devices)
        if takes_features(self._config):
            self._train_head(store, start_from, saved, weights)
        else:
            self._train_all(store, saved, weights)
        with self._strategy.scope():
            self._optimizer = make_optimizer(self._config, self.steps, self.precision)
        steps = 0 if takes_features(self._config) else self._config.epochs * self.steps
        self.step, self._totals = compiled_step(self._network, self._optimizer, self._config, self._strategy, steps)
        self._device = "/gpu:0" if on_gpu() and self._config.devices == 1 else ""

    def _train_head(
        self, store: Store, start_from: Path | None, saved: keras.Model | None, weights: list[np.ndarray] | None
    ) -> None:
        config, self.precision = self._config, "float32"

        def build() -> keras.Model:
            classifier = build_classifier(config, self._classes, start_from=saved)
            if weights:
                classifier.set_weights(weights)
            return classifier

        of_features = choose_precision(config, 0, on_gpu(), lambda _: 0.0)
        cache = FeatureCache(build, store, config, of_features, start_from)
        self._batches = TrainingBatches(store, config, features=cache.training)
        self._inputs = cache.validation()
        with self._strategy.scope():
            self._network = build_head(config, self._classes, cache.size)
        self.twin = build_head(config, self._classes, cache.size)
        if saved or weights:
            copy_head(cache.classifier, self._network)
        self._whole: Callable[[], keras.Model] = lambda: cache.classifier

    def _train_all(self, store: Store, saved: keras.Model | None, weights: list[np.ndarray] | None) -> None:
        config, classes = self._config, self._classes
        self._batches = TrainingBatches(store, config, self.phase.pixels)
        self._inputs = store.images("validation")
        self.precision = choose_precision(
            config, config.epochs * self.steps, on_gpu(), lambda name: images_per_second(config, classes, name)
        )
        policy, small = policy_of(self.precision), config.model_copy(update={"image_size": self.phase.pixels})
        with self._strategy.scope():
            self._network = build_classifier(small, classes, policy, not weights, saved, fast=not on_gpu())
        if weights:
            self._network.set_weights(weights)
        self.twin = build_classifier(config, classes, load_weights=False, start_from=saved)
        self._whole = lambda: self.twin

    @property
    def steps(self) -> int:
        """Steps of an epoch."""
        return self._batches.steps

    def prepare(self, epoch: int) -> None:
        """Compute what the epoch's batches are drawn from, where that takes long: features."""
        if takes_features(self._config):
            self._batches.batch(epoch, 0, np.arange(self._batches.batch_size))

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
        batches, started = self._batches.epoch(epoch, first_step, self._device), time.perf_counter()
        title = f"epoch {epoch}/{self.phase.total_epochs}"
        with tqdm(total=self.steps, initial=first_step, desc=title, leave=False, disable=None) as bar:
            for done, (images, targets) in enumerate(batches, first_step + 1):
                self.step(images, targets)
                self._check_finite(float(self._totals.numpy()[0]), epoch, done)
                bar.update()
                after_step(done, time.perf_counter() - started)

    def judge(self, epoch: int, images_per_second: float) -> tuple[Epoch, np.ndarray]:
        """Hand the weights to the twin; return what the epoch measured, and the twin's validation probabilities.

        Raises:
            Diverged: the twin's loss is NaN or infinite.
        """
        self.twin.set_weights(self.weights_to_judge())
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
        whole = self._whole()
        if whole is not self.twin:
            copy_head(self.twin, whole)
        return whole

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
                f"{float(self._optimizer.learning_rate.numpy()):.3g} (try a tenth of it, or more warmup_epochs)"
            )

    def _variables(self) -> list[tf.Variable]:
        return [*self._network.variables, *self._optimizer.variables, self._totals]

    def weights_to_judge(self) -> list[np.ndarray]:
        """Return the averaged weights with ``ema``, which Keras can only write over the others."""
        raw = self._network.get_weights()
        if not self._config.ema:
            return raw
        self._optimizer.finalize_variable_values(self._network.trainable_variables)
        averaged = self._network.get_weights()
        self._network.set_weights(raw)
        return averaged


def takes_features(config: TrainConfig) -> bool:
    """Return whether the head can be trained by itself: nothing before it changes, and no photo is mixed."""
    return config.freeze_backbone and not is_mixed(config)
