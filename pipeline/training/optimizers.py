"""Config -> Keras optimizer with its learning-rate schedule. A new optimizer is one line in `OPTIMIZERS`."""

from __future__ import annotations

from collections.abc import Callable
from typing import TYPE_CHECKING, Any

from pipeline.config import TrainConfig
from pipeline.training.schedules import learning_rate_schedule

if TYPE_CHECKING:
    import keras

# name -> class in keras.optimizers, and its arguments; only ``adam`` has no weight decay
OPTIMIZERS: dict[str, tuple[str, Callable[[TrainConfig], dict[str, Any]]]] = {
    "sgd": ("SGD", lambda config: {"weight_decay": config.weight_decay, "momentum": 0.9, "nesterov": True}),
    "adam": ("Adam", lambda config: {}),
    "adamw": ("AdamW", lambda config: {"weight_decay": config.weight_decay}),
    "rmsprop": ("RMSprop", lambda config: {"weight_decay": config.weight_decay}),
    "lion": ("Lion", lambda config: {"weight_decay": config.weight_decay}),
}


def make_optimizer(config: TrainConfig, steps_per_epoch: int, precision: str = "float32") -> keras.Optimizer:
    """Return the config's optimizer; it decays only kernels, and scales the loss with float16."""
    import keras

    name, arguments = OPTIMIZERS[config.optimizer]
    averaging = {"use_ema": True, "ema_momentum": config.ema} if config.ema else {}
    rate = learning_rate_schedule(config, steps_per_epoch)
    optimizer = getattr(keras.optimizers, name)(learning_rate=rate, **arguments(config), **averaging)
    optimizer.exclude_from_weight_decay(var_names=["bias", "gamma", "beta"])
    if precision == "float16":  # most gradients are below its smallest numbers
        return keras.optimizers.LossScaleOptimizer(optimizer)
    return optimizer
