"""Trains a network step by step: the compiled step, the float32 twin, and all the state between two steps.

There are two trainers with one interface: `NetworkTrainer` trains whole networks on photos, `HeadTrainer` trains the
layers after a frozen backbone on features that are computed once; `make_trainer` picks one. Neither knows about best
epochs, patience or checkpoints; `fit` does.
"""

from __future__ import annotations

import contextlib
import math
import time
from abc import ABC, abstractmethod
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, ClassVar, NamedTuple

import numpy as np
from tqdm import tqdm

from pipeline.config import TrainConfig, UserError
from pipeline.data.store import Store
from pipeline.models.backend import load_backend, on_gpu, policy_of, set_up_keras, strategy_for
from pipeline.models.builder import build_classifier, build_head, copy_head, load_start
from pipeline.models.predict import predict_logits, probabilities_of
from pipeline.processes import hides_bars
from pipeline.training.batches import TrainingBatches
from pipeline.training.class_weights import class_weights
from pipeline.training.features import FeatureCache
from pipeline.training.mixing import uses_mixing
from pipeline.training.optimizers import make_optimizer
from pipeline.training.phases import Phase
from pipeline.training.precision import MIN_STEPS_TO_MEASURE, choose_precision
from pipeline.training.scores import validation_scores
from pipeline.training.step import StepSpeed, compiled_step, measure_step

if TYPE_CHECKING:
    import keras
    import tensorflow as tf


CHECKED_STEPS = 20  # after which the loss is read; on a GPU each reading waits for all that is queued there


@dataclass(frozen=True)
class Epoch:
    """The metrics of one epoch (counted from 1); field names are MLflow metric names.

    A training that goes on from a checkpoint of an earlier version does not know the last two of its first epochs.
    """

    epoch: int
    train_loss: float
    train_accuracy: float
    val_loss: float
    val_accuracy: float
    learning_rate: float
    images_per_second: float
    val_balanced_accuracy: float = math.nan
    val_macro_f1: float = math.nan


class Untrainable(UserError):
    """A training that cannot go on, and would fail again."""

    state: ClassVar[str]  # of a trial that ends so


class Diverged(Untrainable):
    """The training loss is no longer a finite number."""

    state = "diverged"


class OutOfMemory(Untrainable):
    """The network and a batch do not fit into memory."""

    state = "out of memory"


@contextlib.contextmanager
def memory_errors_named(config: TrainConfig) -> Iterator[None]:
    """Raise OutOfMemory where TensorFlow or NumPy find no memory in the block, instead of pages of operations."""
    load_backend()
    import tensorflow as tf

    try:
        yield
    except (tf.errors.ResourceExhaustedError, MemoryError) as error:
        half = max(1, config.batch_size // 2)
        smaller = f"batch_size={half}" if half < config.batch_size else "a smaller image_size"
        raise OutOfMemory(
            f"a training step must fit into memory, got batch_size={config.batch_size} of {config.image_size} px for "
            f"{config.variant}, which does not (try {smaller})"
        ) from error


class TrainerParts(NamedTuple):
    """The parts of a trainer: number format, batches, validation inputs, the network, and its twin."""

    precision: str
    batches: TrainingBatches
    validation_inputs: np.ndarray
    network: keras.Model
    twin: keras.Model


class Trainer(ABC):
    """A network in training and its float32 twin, which holds the weights to validate, averaged ones with ``ema``.

    Args:
        phase: which layers to train, and the size of the photos.
        store: the prepared photos.
        start_from: a saved classifier whose scaling and weights to start from.
        weights: weights of a `classifier` to start from instead.
    """

    compiles_update: ClassVar[bool]  # whether a step is large enough for compiling its update to pay off

    def __init__(
        self, phase: Phase, store: Store, start_from: Path | None = None, weights: list[np.ndarray] | None = None
    ) -> None:
        load_backend()
        import keras

        set_up_keras()
        keras.backend.clear_session(free_memory=True)
        self.phase, self._config, self._labels = phase, phase.config, store.labels("validation")
        self._classes = len(store.class_names)
        self._strategy = strategy_for(self._config.devices)
        self.precision, self._batches, self._inputs, self._network, self.twin = self._build(store, start_from, weights)
        with self._strategy.scope():
            self._optimizer = make_optimizer(self._config, self.steps, self.precision)
        steps = self._config.epochs * self.steps if self.compiles_update else 0
        self.step, self._totals = compiled_step(
            self._network,
            self._optimizer,
            self._config,
            self._strategy,
            steps,
            class_weights(self._config, store.labels("train"), self._classes),
        )
        self._device = "/gpu:0" if on_gpu() and self._config.devices == 1 else ""

    @abstractmethod
    def _build(self, store: Store, start_from: Path | None, weights: list[np.ndarray] | None) -> TrainerParts:
        """Build the networks and their inputs."""

    @abstractmethod
    def prepare(self, epoch: int) -> None:
        """Compute the epoch's inputs in advance, if that takes long."""

    @abstractmethod
    def classifier(self, weights: list[np.ndarray]) -> keras.Model:
        """Return the whole network, from pixels to logits, with these weights of the twin."""

    @property
    def steps(self) -> int:
        """Steps per epoch."""
        return self._batches.steps

    def train(
        self, epoch: int, first_step: int = 0, after_step: Callable[[int, float], object] = lambda *_: None
    ) -> None:
        """Train an epoch (counted from 1), starting at a step (counted from 0).

        ``after_step`` is called with the number of finished steps of the epoch, and the seconds since `train` began.

        The loss is looked at every `CHECKED_STEPS`, as the processor waits for a GPU to read it.

        Raises:
            Diverged: the loss became NaN or infinite.
        """
        if not first_step:
            self._totals.assign([0.0, 0.0])
        batches, started = self._batches.epoch(epoch, first_step, self._device), time.perf_counter()
        title = f"epoch {epoch}/{self.phase.total_epochs}"
        with tqdm(total=self.steps, initial=first_step, desc=title, leave=False, disable=hides_bars()) as bar:
            for steps_done, (images, targets) in enumerate(batches, first_step + 1):
                self.step(images, targets)
                if steps_done % CHECKED_STEPS == 0 or steps_done == self.steps:
                    self.check_loss(epoch, steps_done)
                bar.update()
                after_step(steps_done, time.perf_counter() - started)

    def validate(self, epoch: int, images_per_second: float) -> tuple[Epoch, np.ndarray]:
        """Copy the weights to the twin; return the epoch's metrics, and the twin's validation probabilities.

        Raises:
            Diverged: the twin's loss is NaN or infinite.
        """
        self.twin.set_weights(self.weights_to_validate())
        probabilities = probabilities_of(predict_logits(self.twin, self._inputs))
        scores = validation_scores(self._labels, probabilities)
        self._check_finite(scores["val_loss"], epoch, self.steps)  # the last step may have diverged
        train_loss, train_accuracy = (self._totals.numpy() / self.steps).tolist()
        measured = Epoch(
            epoch,
            train_loss,
            train_accuracy,
            learning_rate=float(self._optimizer.learning_rate.numpy()),
            images_per_second=images_per_second,
            **scores,
        )
        return measured, probabilities

    def images(self, steps: int) -> int:
        """Return the number of images in this many steps."""
        return steps * self._batches.batch_size

    def state(self) -> list[np.ndarray]:
        """Return a copy of all that the next step depends on: weights, averages, random seeds, optimizer, totals."""
        return [np.array(variable.numpy()) for variable in self._variables()]

    def restore(self, state: list[np.ndarray]) -> None:
        """Restore a `state`."""
        for variable, value in zip(self._variables(), state, strict=True):
            variable.assign(value)

    def check_loss(self, epoch: int, step: int) -> None:
        """Raise Diverged if the loss of the epoch's steps so far is not finite; a NaN stays in their sum."""
        self._check_finite(float(self._totals.numpy()[0]), epoch, step)

    def _check_finite(self, loss: float, epoch: int, step: int) -> None:
        if not math.isfinite(loss):
            peak = self._config.learning_rate
            raise Diverged(
                f"the loss must stay finite, got {loss} by step {step} of epoch {epoch} with "
                f"optimizer={self._config.optimizer} learning_rate={peak:g}, then at "
                f"{float(self._optimizer.learning_rate.numpy()):.3g} (try a tenth of it, or more warmup_epochs)"
            )

    def _variables(self) -> list[tf.Variable]:
        return [*self._network.variables, *self._optimizer.variables, self._totals]

    def weights_to_validate(self) -> list[np.ndarray]:
        """Return the weights, averaged with ``ema``; Keras can only write averages over the raw weights."""
        raw = self._network.get_weights()
        if not self._config.ema:
            return raw
        self._optimizer.finalize_variable_values(self._network.trainable_variables)
        averaged = self._network.get_weights()
        self._network.set_weights(raw)
        return averaged


class NetworkTrainer(Trainer):
    """Trains a whole network, or its later stages, on photos."""

    compiles_update = True

    def _build(self, store: Store, start_from: Path | None, weights: list[np.ndarray] | None) -> TrainerParts:
        config, classes = self._config, self._classes
        saved = load_start(start_from) if start_from else None
        batches = TrainingBatches(store, config, self.phase.pixels)
        steps = config.epochs * batches.steps
        precision = choose_precision(
            config, steps, on_gpu(), lambda name: measure_step(config, classes, name).images_per_second
        )
        policy, small_config = policy_of(precision), config.model_copy(update={"image_size": self.phase.pixels})
        with self._strategy.scope():
            network = build_classifier(small_config, classes, policy, not weights, saved, fast=not on_gpu())
        if weights:
            network.set_weights(weights)
        twin = build_classifier(config, classes, load_weights=False, start_from=saved)
        return TrainerParts(precision, batches, store.images("validation"), network, twin)

    def prepare(self, epoch: int) -> None:
        """Do nothing: photos are augmented batch by batch."""

    def classifier(self, weights: list[np.ndarray]) -> keras.Model:
        """Return the twin with these weights."""
        self.twin.set_weights(weights)
        return self.twin


class HeadTrainer(Trainer):
    """Trains only the head, on features that a frozen backbone computes once for every view of a photo."""

    compiles_update = False

    def _build(self, store: Store, start_from: Path | None, weights: list[np.ndarray] | None) -> TrainerParts:
        config, classes = self._config, self._classes
        saved = load_start(start_from) if start_from else None

        def build() -> keras.Model:
            classifier = build_classifier(config, classes, start_from=saved)
            if weights:
                classifier.set_weights(weights)
            return classifier

        precision_of_features = choose_precision(config, 0, on_gpu(), lambda _: 0.0)
        self._cache = cache = FeatureCache(build, store, config, precision_of_features, start_from)
        batches, validation = TrainingBatches(store, config, features=cache.training), cache.validation()
        with self._strategy.scope():
            network = build_head(config, classes, cache.size)
        twin = build_head(config, classes, cache.size)
        if saved or weights:
            copy_head(cache.classifier, network)
        return TrainerParts("float32", batches, validation, network, twin)

    def prepare(self, epoch: int) -> None:
        """Compute the features of the epoch's views."""
        self._batches.batch(epoch, 0, np.arange(self._batches.batch_size))

    def classifier(self, weights: list[np.ndarray]) -> keras.Model:
        """Return the backbone followed by the head with these weights."""
        self.twin.set_weights(weights)
        copy_head(self.twin, self._cache.classifier)
        return self._cache.classifier


def measure_speed(config: TrainConfig, classes: int) -> StepSpeed:
    """Measure a training of the whole network, in the number format that it will have."""
    load_backend()
    set_up_keras()
    measured: dict[str, StepSpeed] = {}

    def images_per_second(precision: str) -> float:
        measured[precision] = measure_step(config, classes, precision)
        return measured[precision].images_per_second

    with memory_errors_named(config):
        chosen = choose_precision(config, MIN_STEPS_TO_MEASURE, on_gpu(), images_per_second)
        fastest = measured.get(chosen) or measure_step(config, classes, chosen)
    first = next(iter(measured.values()), fastest)  # which TensorFlow began with, as in a training
    return StepSpeed(fastest.images_per_second, first.startup_s)


def make_trainer(
    phase: Phase, store: Store, start_from: Path | None = None, weights: list[np.ndarray] | None = None
) -> Trainer:
    """Return the trainer of a phase: `HeadTrainer` if the backbone is frozen and photos are not mixed."""
    trains_head_only = phase.config.freeze_backbone and not uses_mixing(phase.config)
    return (HeadTrainer if trains_head_only else NetworkTrainer)(phase, store, start_from, weights)
