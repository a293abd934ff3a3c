"""The compiled training step: gradients, loss scaling and update in one TensorFlow function, on one device or many."""

from __future__ import annotations

import time
from collections.abc import Callable
from typing import TYPE_CHECKING, NamedTuple

import numpy as np

from pipeline.config import TrainConfig
from pipeline.models.backend import on_gpu, policy_of
from pipeline.models.builder import build_classifier
from pipeline.training.optimizers import make_optimizer

if TYPE_CHECKING:
    import keras
    import tensorflow as tf

MEASURED_STEPS = 3
WORTH_COMPILING_STEPS = 200  # XLA takes one to three seconds for the update and saves a tenth of a step on a CPU

Step = Callable[["tf.Tensor", "tf.Tensor"], None]


def compiled_step(
    network: keras.Model,
    optimizer: keras.Optimizer,
    config: TrainConfig,
    strategy: tf.distribute.Strategy,
    steps: int = 0,
    class_weights: np.ndarray | None = None,
) -> tuple[Step, tf.Variable]:
    """Return the function that trains on a batch, and the running sums of its loss and accuracy.

    Args:
        network: created, like the optimizer, in the strategy's scope.
        optimizer: not yet built.
        config: the training.
        strategy: from `strategy_for`; each of its devices takes an equal part of every batch.
        steps: number of steps of the whole training; 0 if a step is too small for compiling to pay off.
        class_weights: float32 (classes,) of each class in the loss; None for equal ones.
    """
    import tensorflow as tf

    with strategy.scope():
        totals = tf.Variable([0.0, 0.0])
        optimizer.build(network.trainable_variables)
    compiled = config.devices == 1 and not on_gpu() and steps >= WORTH_COMPILING_STEPS
    replica_step = _replica_step(network, optimizer, config, compiled, class_weights)

    # XLA halves the speed of convolutions on a CPU; AutoGraph takes a second to look for Python's own loops.
    @tf.function(jit_compile=False, autograph=False)  # type: ignore[untyped-decorator]
    def step(images: tf.Tensor, targets: tf.Tensor) -> None:
        metrics = strategy.run(replica_step, (images, targets))
        totals.assign_add(strategy.reduce("mean", metrics, axis=None))

    if strategy.num_replicas_in_sync == 1:
        return step, totals
    return lambda images, targets: step(
        _split_over_replicas(images, strategy), _split_over_replicas(targets, strategy)
    ), totals


def _replica_step(
    network: keras.Model,
    optimizer: keras.Optimizer,
    config: TrainConfig,
    compiled: bool,
    class_weights: np.ndarray | None,
) -> Callable[[tf.Tensor, tf.Tensor], tf.Tensor]:
    """Return the step on one device's part of the batch: it updates and returns the part's mean loss and accuracy."""
    import tensorflow as tf

    loss_of = _loss_function(config.label_smoothing, class_weights)
    weights = network.trainable_variables

    def update(*gradients: tf.Tensor) -> None:
        optimizer.apply(list(gradients), weights)

    if compiled:
        update = tf.function(update, jit_compile=True, autograph=False)  # one pass over memory instead of twenty

    def step(images: tf.Tensor, targets: tf.Tensor) -> tf.Tensor:
        with tf.GradientTape() as tape:
            logits = network(images, training=True)
            loss = tf.reduce_mean(loss_of(targets, logits))
            scaled = optimizer.scale_loss(loss / config.devices)  # Keras adds the devices' gradients
        update(*tape.gradient(scaled, [weight.value for weight in weights]))
        is_correct = tf.equal(tf.argmax(logits, axis=1), tf.argmax(targets, axis=1))
        return tf.stack([loss, tf.reduce_mean(tf.cast(is_correct, tf.float32))])

    return step


def _loss_function(
    label_smoothing: float, class_weights: np.ndarray | None
) -> Callable[[tf.Tensor, tf.Tensor], tf.Tensor]:
    """Return the function of targets and logits (batch, classes) that gives each photo's loss (batch,)."""
    import keras
    import tensorflow as tf

    cross_entropy = keras.losses.CategoricalCrossentropy(
        from_logits=True, label_smoothing=label_smoothing, reduction="none"
    )
    if class_weights is None:
        return cross_entropy

    def weighted(targets: tf.Tensor, logits: tf.Tensor) -> tf.Tensor:
        # The weights of a mix go to the photo, its shares add up to 1 again: TensorFlow's gradient takes that for
        # granted, and label smoothing spreads the mass of the photo evenly, whatever its classes weigh.
        shares = targets * class_weights
        photo_weights = tf.reduce_sum(shares, axis=1)
        return photo_weights * cross_entropy(shares / photo_weights[:, None], logits)

    return weighted


def _split_over_replicas(batch: tf.Tensor, strategy: tf.distribute.Strategy) -> tf.Tensor:
    import tensorflow as tf

    parts = tf.split(batch, strategy.num_replicas_in_sync)
    return strategy.experimental_distribute_values_from_function(
        lambda context: parts[context.replica_id_in_sync_group]
    )


class StepSpeed(NamedTuple):
    """A training on one device: the median speed of some steps, and the seconds until the first has ended."""

    images_per_second: float
    startup_s: float


def measure_step(config: TrainConfig, classes: int, precision: str) -> StepSpeed:
    """Measure one device's training step in ``precision`` on random pixels, and what precedes it."""
    import tensorflow as tf

    began = time.perf_counter()

    network = build_classifier(config, classes, policy_of(precision), load_weights=False, fast=not on_gpu())
    optimizer = make_optimizer(config, MEASURED_STEPS, precision)
    step, totals = compiled_step(network, optimizer, config, tf.distribute.get_strategy())
    rng = np.random.default_rng(0)
    batch = config.batch_size // config.devices
    shape = (batch, config.image_size, config.image_size, 3)
    images = tf.constant(rng.integers(0, 256, shape, dtype=np.uint8))
    targets = tf.one_hot(rng.integers(0, classes, batch), classes)
    ended = []
    for _ in range(1 + MEASURED_STEPS):
        step(images, targets)
        totals.numpy()  # waits for the step
        ended.append(time.perf_counter())
    return StepSpeed(batch / float(np.median(np.diff(ended))), ended[0] - began)
