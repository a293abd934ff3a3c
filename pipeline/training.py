"""One config and one prepared store -> one trained network: the epochs, the best of them, and going on after a stop.

Knows nothing of MLflow or Optuna: every epoch goes to a function that the caller hands in, which may end the
training. The network that is trained may compute in bfloat16; its float32 twin, with averaged
weights where ``ema`` is on, is what gets validated and returned, so every logged figure is of the model one gets.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
import pandas as pd

from pipeline.checkpoint import Checkpoints, Saved
from pipeline.config import TrainConfig
from pipeline.data.store import Store
from pipeline.interrupts import held_back
from pipeline.trainer import Epoch, Trainer

if TYPE_CHECKING:
    import keras


@dataclass(frozen=True)
class FitResult:
    """The best epoch's network (float32) with its validation probabilities (n, classes), and all epochs."""

    model: keras.Model
    history: pd.DataFrame
    best: Epoch
    val_probabilities: np.ndarray
    precision: str


@dataclass
class _Progress:
    """How far a training is: what has been measured, the best of it, and the epoch it is in."""

    epochs: list[Epoch] = field(default_factory=list)
    best: Epoch | None = None
    best_weights: list[np.ndarray] = field(default_factory=list)
    best_probabilities: np.ndarray = field(default_factory=lambda: np.empty(0))
    steps_done: int = 0  # of the epoch after the last of ``epochs``
    seconds: float = 0.0  # that they took

    @property
    def epoch(self) -> int:
        return len(self.epochs) + 1

    def add(self, measured: Epoch, weights: list[np.ndarray], probabilities: np.ndarray) -> None:
        self.epochs.append(measured)
        self.steps_done, self.seconds = 0, 0.0
        if self.best is None or _rank(measured) > _rank(self.best):
            self.best, self.best_weights, self.best_probabilities = measured, weights, probabilities

    def is_out_of_patience(self, patience: int) -> bool:
        """Return whether so many epochs have gone by without a better val_accuracy; 0 is patience without end."""
        accuracies = [epoch.val_accuracy for epoch in self.epochs]
        return bool(patience and accuracies) and len(accuracies) - 1 - accuracies.index(max(accuracies)) >= patience


def fit(
    config: TrainConfig,
    store: Store,
    on_epoch: Callable[[Epoch], bool | None] = lambda _: None,
    start_from: Path | None = None,
    checkpoints: Checkpoints | None = None,
) -> FitResult:
    """Train as the config says and return the epoch with the best val_accuracy (then the lowest val_loss).

    Args:
        config: what to train.
        store: prepared photos; the test split is not touched.
        on_epoch: called after every epoch; True ends the training there. A training that goes on calls it anew for
            the epochs before, so that the caller is told of each.
        start_from: a saved classifier whose weights to start from.
        checkpoints: where to save, now and then and when interrupted, and to go on from; the results are the same
            to the last bit, however often that happens.

    Raises:
        Diverged: the loss became NaN or infinite.
        UserError: the initial weights do not fit, or a checkpoint belongs to other code or photos.
        KeyboardInterrupt: the training was interrupted, and saved if there are ``checkpoints``.
    """
    trainer = Trainer(config, store, start_from)
    progress = _restored(trainer, checkpoints)
    told = [on_epoch(measured) for measured in progress.epochs]
    ended = any(told)
    while not (ended or progress.epoch > config.epochs or progress.is_out_of_patience(config.patience)):
        _train_epoch(trainer, progress, checkpoints)
        speed = trainer.images(trainer.steps) / progress.seconds
        measured, probabilities = trainer.judge(progress.epoch, speed)
        progress.add(measured, trainer.twin.get_weights(), probabilities)
        ended = bool(on_epoch(measured))
    assert progress.best is not None
    history = pd.DataFrame([asdict(epoch) for epoch in progress.epochs])
    model = trainer.classifier(progress.best_weights)
    return FitResult(model, history, progress.best, progress.best_probabilities, trainer.precision)


def _train_epoch(trainer: Trainer, progress: _Progress, checkpoints: Checkpoints | None) -> None:
    """Train what the epoch lacks, saving when it is time to, and before an interruption takes effect."""
    before, first_step = progress.seconds, progress.steps_done

    with held_back() as interrupted:

        def after_step(done: int, seconds: float) -> None:
            progress.steps_done, progress.seconds = done, before + seconds
            if checkpoints and (interrupted() or checkpoints.due()):
                _save(trainer, progress, checkpoints)
            if interrupted():
                raise KeyboardInterrupt

        trainer.train(progress.epoch, first_step, after_step)


def _save(trainer: Trainer, progress: _Progress, checkpoints: Checkpoints) -> None:
    groups = {"state": trainer.state(), "best": progress.best_weights, "judged": [progress.best_probabilities]}
    arrays = {f"{name}{number}": array for name, group in groups.items() for number, array in enumerate(group)}
    words: dict[str, Any] = {
        "epochs": [asdict(epoch) for epoch in progress.epochs],
        "best": progress.best and progress.best.epoch,
        "steps_done": progress.steps_done,
        "seconds": progress.seconds,
    }
    checkpoints.save(len(progress.epochs), progress.steps_done, Saved(arrays, words))


def _restored(trainer: Trainer, checkpoints: Checkpoints | None) -> _Progress:
    saved = checkpoints.load() if checkpoints else None
    if saved is None:
        return _Progress()

    def group(name: str) -> list[np.ndarray]:
        count = sum(key.rstrip("0123456789") == name for key in saved.arrays)
        return [saved.arrays[f"{name}{number}"] for number in range(count)]

    trainer.restore(group("state"))
    words = saved.progress
    epochs = [Epoch(**epoch) for epoch in words["epochs"]]
    best = epochs[words["best"] - 1] if words["best"] else None
    print(f"going on in epoch {len(epochs) + 1}, after {words['steps_done']} of {trainer.steps} steps", flush=True)
    return _Progress(epochs, best, group("best"), group("judged")[0], words["steps_done"], words["seconds"])


def _rank(epoch: Epoch) -> tuple[float, float]:
    return epoch.val_accuracy, -epoch.val_loss
