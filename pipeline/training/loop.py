"""One config and one prepared store -> one trained network: the epochs, the best of them, and going on after a stop.

Knows nothing of MLflow or Optuna: every epoch goes to a function that the caller hands in, which may end the
training. The network that is trained may compute in bfloat16; its float32 twin, with averaged
weights where ``ema`` is on, is what gets validated and returned, so every logged figure is of the model one gets.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import asdict, dataclass, field
from functools import cached_property, partial
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
import pandas as pd

from pipeline.config import TrainConfig, UserError
from pipeline.data.store import Store
from pipeline.processes import hold_interrupts
from pipeline.training.checkpoint import Checkpoints, Saved
from pipeline.training.phases import Phase, phases_of
from pipeline.training.trainer import Epoch, Trainer, make_trainer

if TYPE_CHECKING:
    import keras


@dataclass(frozen=True)
class FitResult:
    """The best epoch with its validation probabilities (n, classes), and all epochs."""

    history: pd.DataFrame
    best: Epoch
    val_probabilities: np.ndarray
    precision: str
    _build: Callable[[], keras.Model]

    @cached_property
    def model(self) -> keras.Model:
        """The best epoch's network, from pixels to float32 logits; one with a frozen backbone is built only now."""
        return self._build()


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

    def result(self, trainer: Trainer) -> FitResult:
        """Return the best epoch's network, which ``trainer`` makes of its weights."""
        assert self.best is not None
        build = partial(trainer.classifier, self.best_weights)
        return FitResult(pd.DataFrame(self.epochs), self.best, self.best_probabilities, trainer.precision, build)

    def is_out_of_patience(self, patience: int, first: int) -> bool:
        """Return whether ``patience`` epochs, if not 0, from epoch ``first`` on brought no better val_accuracy."""
        accuracies = [epoch.val_accuracy for epoch in self.epochs[first - 1 :]]
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
    phases = phases_of(config)
    trainer, progress = _begun(phases, store, start_from, checkpoints)
    wants_to_end = [on_epoch(measured) for measured in progress.epochs]
    ended = any(wants_to_end)
    out_of_patience = partial(progress.is_out_of_patience, config.patience, phases[-1].first)
    while not (ended or progress.epoch > config.epochs or out_of_patience()):
        if (phase := _phase_at(phases, progress.epoch)) is not trainer.phase:
            trainer = _next_trainer(trainer, phase, progress, store, start_from)
        _train_epoch(trainer, progress, checkpoints)
        speed = trainer.images(trainer.steps) / progress.seconds
        measured, probabilities = trainer.validate(progress.epoch, speed)
        progress.add(measured, trainer.twin.get_weights(), probabilities)
        ended = bool(on_epoch(measured))
    return progress.result(trainer)


def _train_epoch(trainer: Trainer, progress: _Progress, checkpoints: Checkpoints | None) -> None:
    """Train what the epoch lacks, saving when it is time to, and before an interruption takes effect."""
    before, first_step = progress.seconds, progress.steps_done
    trainer.prepare(progress.epoch)

    with hold_interrupts() as interrupted:

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
        "precision": trainer.precision,
    }
    checkpoints.save(len(progress.epochs), progress.steps_done, Saved(arrays, words))


def _progress_of(saved: Saved) -> _Progress:
    words = saved.progress
    epochs = [Epoch(**epoch) for epoch in words["epochs"]]
    best = epochs[words["best"] - 1] if words["best"] else None
    judged = _group(saved, "judged")[0]
    return _Progress(epochs, best, _group(saved, "best"), judged, words["steps_done"], words["seconds"])


def _begun(
    phases: list[Phase], store: Store, start_from: Path | None, checkpoints: Checkpoints | None
) -> tuple[Trainer, _Progress]:
    """Return the trainer and the progress of a training at its start, or where it was saved."""
    saved = checkpoints.load() if checkpoints else None
    progress = _progress_of(saved) if saved else _Progress()
    trainer = make_trainer(_phase_at(phases, progress.epoch), store, start_from)
    if saved:
        if (begun_in := saved.progress["precision"]) != trainer.precision:  # another is measured to be faster by now
            raise UserError(
                f"a training goes on in the number format that it began in, got {trainer.precision} instead of "
                f"{begun_in} from precision={trainer.phase.config.precision} (set resume=never to begin anew)"
            )
        trainer.restore(_group(saved, "state"))
        print(f"going on in epoch {progress.epoch}, after {progress.steps_done} of {trainer.steps} steps", flush=True)
    return trainer, progress


def _group(saved: Saved, name: str) -> list[np.ndarray]:
    count = sum(key.rstrip("0123456789") == name for key in saved.arrays)
    return [saved.arrays[f"{name}{number}"] for number in range(count)]


def _phase_at(phases: list[Phase], epoch: int) -> Phase:
    return next((phase for phase in phases if epoch <= phase.last), phases[-1])


def _next_trainer(
    trainer: Trainer, phase: Phase, progress: _Progress, store: Store, start_from: Path | None
) -> Trainer:
    """Return what trains the next phase, with the weights that the phase before ended with."""
    progress.best_weights = trainer.classifier(progress.best_weights).get_weights()  # until now perhaps of a head
    weights, state = trainer.classifier(trainer.weights_to_validate()).get_weights(), trainer.state()
    successor = make_trainer(phase, store, start_from, weights)
    if phase.config == trainer.phase.config:  # and so its optimizer goes on
        successor.restore(state)
    return successor


def _rank(epoch: Epoch) -> tuple[float, float]:
    return epoch.val_accuracy, -epoch.val_loss
