"""One config and one prepared store -> one trained network: the epochs, the best epoch, and resuming.

Knows nothing of MLflow or Optuna: the caller passes a callback that gets every epoch and may stop the training. The
trained network may compute in bfloat16; its float32 twin, with averaged weights if ``ema`` is on, is validated and
returned, so every logged metric is that of the returned model.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import asdict, dataclass, field
from functools import cached_property, partial
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
import pandas as pd

from pipeline.config import Objective, TrainConfig, UserError
from pipeline.data.store import Store
from pipeline.models.backend import keep_threads, threads
from pipeline.processes import defer_interrupts
from pipeline.training.checkpoint import Checkpoints, TrainingState
from pipeline.training.phases import Phase, phases_of
from pipeline.training.trainer import Epoch, Trainer, make_trainer, memory_errors_named

if TYPE_CHECKING:
    import keras


@dataclass(frozen=True)
class FitResult:
    """The best epoch with its validation probabilities (n, classes), and all epochs.

    ``val_answers`` are the class indices (epochs, n) that validation photos were given after each epoch; none (0, n)
    where the training was begun by an earlier version, which did not keep them.
    """

    history: pd.DataFrame
    best: Epoch
    val_probabilities: np.ndarray
    val_answers: np.ndarray
    precision: str
    _build: Callable[[], keras.Model]

    @cached_property
    def model(self) -> keras.Model:
        """The best epoch's network, from pixels to float32 logits; with a frozen backbone, built on first access."""
        return self._build()


@dataclass
class _Progress:
    """The progress of a training: the finished epochs, the best of them, and the position in the current one."""

    objective: Objective
    epochs: list[Epoch] = field(default_factory=list)
    best: Epoch | None = None
    best_weights: list[np.ndarray] = field(default_factory=list)
    best_probabilities: np.ndarray = field(default_factory=lambda: np.empty(0))
    answers: list[np.ndarray] = field(default_factory=list)  # per epoch, of the validation photos
    steps_done: int = 0  # of the current epoch
    seconds: float = 0.0  # spent on these steps

    @property
    def epoch(self) -> int:
        return len(self.epochs) + 1

    def add(self, epoch: Epoch, weights: list[np.ndarray], probabilities: np.ndarray) -> None:
        self.epochs.append(epoch)
        self.answers.append(probabilities.argmax(axis=1).astype(np.uint16))
        self.steps_done, self.seconds = 0, 0.0
        if self.best is None or self._rank(epoch) > self._rank(self.best):
            self.best, self.best_weights, self.best_probabilities = epoch, weights, probabilities

    def result(self, trainer: Trainer) -> FitResult:
        """Return the best epoch's result; ``trainer`` builds its network from the weights."""
        assert self.best is not None
        build = partial(trainer.classifier, self.best_weights)
        are_known = len(self.answers) == len(self.epochs)
        answers = np.stack(self.answers) if are_known else np.empty((0, len(self.best_probabilities)), np.uint16)
        history = pd.DataFrame(self.epochs)
        return FitResult(history, self.best, self.best_probabilities, answers, trainer.precision, build)

    def is_out_of_patience(self, patience: int, first: int) -> bool:
        """Return whether the objective is no better for ``patience`` epochs (0: never), from epoch ``first`` on."""
        scores = [self._score(epoch) for epoch in self.epochs[first - 1 :]]
        return bool(patience and scores) and len(scores) - 1 - scores.index(max(scores)) >= patience

    def _score(self, epoch: Epoch) -> float:
        return self.objective.score(getattr(epoch, self.objective.name))

    def _rank(self, epoch: Epoch) -> tuple[float, float]:
        return self._score(epoch), -epoch.val_loss


def fit(
    config: TrainConfig,
    store: Store,
    on_epoch: Callable[[Epoch], bool | None] = lambda _: None,
    start_from: Path | None = None,
    checkpoints: Checkpoints | None = None,
) -> FitResult:
    """Train by the config and return the epoch with the best objective (ties: the lowest val_loss).

    Args:
        config: the training.
        store: the prepared photos; the test split is not read.
        on_epoch: callback after every epoch; returning True stops the training. A resumed training calls it again for
            the earlier epochs, so that the caller sees each of them.
        start_from: a saved classifier whose weights to start from.
        checkpoints: saved to periodically and on interruption, and resumed from; the results are bit-identical, however
            often the training is resumed.

    Raises:
        Diverged: the loss became NaN or infinite.
        OutOfMemory: the network and a batch do not fit.
        UserError: the initial weights do not fit, or a checkpoint belongs to other code or photos.
        KeyboardInterrupt: the training was interrupted, and saved if there are ``checkpoints``.
    """
    with memory_errors_named(config):
        return _fit(config, store, on_epoch, start_from, checkpoints)


def _fit(
    config: TrainConfig,
    store: Store,
    on_epoch: Callable[[Epoch], bool | None],
    start_from: Path | None,
    checkpoints: Checkpoints | None,
) -> FitResult:
    phases = phases_of(config)
    trainer, progress = _start_or_resume(phases, store, start_from, checkpoints)
    stop_requests = [on_epoch(epoch) for epoch in progress.epochs]
    stopped = any(stop_requests)
    out_of_patience = partial(progress.is_out_of_patience, config.patience, phases[-1].first)
    while not (stopped or progress.epoch > config.epochs or out_of_patience()):
        if (phase := _phase_at(phases, progress.epoch)) is not trainer.phase:
            trainer = _next_trainer(trainer, phase, progress, store, start_from)
        try:
            trainer.prepare(progress.epoch)
        except KeyboardInterrupt:
            if checkpoints and progress.epochs:
                _save(trainer, progress, checkpoints)
            raise
        with defer_interrupts() as interrupted:
            _train_epoch(trainer, progress, checkpoints, interrupted)
            images_per_second = trainer.images(trainer.steps) / progress.seconds
            epoch, probabilities = trainer.validate(progress.epoch, images_per_second)
            stopped = bool(on_epoch(epoch))
            if interrupted() and checkpoints:
                _save(trainer, progress, checkpoints)  # as it was before the validation, which will be done again
            progress.add(epoch, trainer.twin.get_weights(), probabilities)
    return progress.result(trainer)


def _train_epoch(
    trainer: Trainer, progress: _Progress, checkpoints: Checkpoints | None, interrupted: Callable[[], bool]
) -> None:
    """Train the rest of the epoch; save a checkpoint when one is due, and before an interruption takes effect."""
    seconds_before = progress.seconds

    def after_step(done: int, seconds: float) -> None:
        progress.steps_done, progress.seconds = done, seconds_before + seconds
        if checkpoints and (interrupted() or checkpoints.due()):
            trainer.check_loss(progress.epoch, done)
            _save(trainer, progress, checkpoints)
        if interrupted():
            raise KeyboardInterrupt

    trainer.train(progress.epoch, progress.steps_done, after_step)


def _save(trainer: Trainer, progress: _Progress, checkpoints: Checkpoints) -> None:
    judged = [progress.best_probabilities]
    groups = {"state": trainer.state(), "best": progress.best_weights, "judged": judged, "answers": progress.answers}
    arrays = {f"{name}{number}": array for name, group in groups.items() for number, array in enumerate(group)}
    metadata: dict[str, Any] = {
        "epochs": [asdict(epoch) for epoch in progress.epochs],
        "best": progress.best and progress.best.epoch,
        "steps_done": progress.steps_done,
        "seconds": progress.seconds,
        "precision": trainer.precision,
        "threads": threads(),
    }
    checkpoints.save(len(progress.epochs), progress.steps_done, TrainingState(arrays, metadata))


def _restore_progress(saved: TrainingState, objective: Objective) -> _Progress:
    metadata = saved.progress
    epochs = [Epoch(**epoch) for epoch in metadata["epochs"]]
    best = epochs[metadata["best"] - 1] if metadata["best"] else None
    probabilities, answers = _arrays_of(saved, "judged")[0], _arrays_of(saved, "answers")
    return _Progress(
        objective,
        epochs,
        best,
        _arrays_of(saved, "best"),
        probabilities,
        answers,
        metadata["steps_done"],
        metadata["seconds"],
    )


def _start_or_resume(
    phases: list[Phase], store: Store, start_from: Path | None, checkpoints: Checkpoints | None
) -> tuple[Trainer, _Progress]:
    """Return the trainer and the progress at the start of a training, or at its last checkpoint."""
    saved = checkpoints.load() if checkpoints else None
    if saved and "threads" in saved.progress:  # earlier versions do not know
        keep_threads(saved.progress["threads"])
    objective = phases[-1].config.judged_by
    progress = _restore_progress(saved, objective) if saved else _Progress(objective)
    trainer = make_trainer(_phase_at(phases, progress.epoch), store, start_from)
    if saved:
        if (saved_precision := saved.progress["precision"]) != trainer.precision:  # a new measurement chose another
            raise UserError(
                f"a training must continue in the number format that it started in, got {trainer.precision} instead of "
                f"{saved_precision} from precision={trainer.phase.config.precision} (set resume=never to start over)"
            )
        trainer.restore(_arrays_of(saved, "state"))
        print(f"continuing in epoch {progress.epoch}, after {progress.steps_done} of {trainer.steps} steps", flush=True)
    return trainer, progress


def _arrays_of(saved: TrainingState, name: str) -> list[np.ndarray]:
    count = sum(key.rstrip("0123456789") == name for key in saved.arrays)
    return [saved.arrays[f"{name}{number}"] for number in range(count)]


def _phase_at(phases: list[Phase], epoch: int) -> Phase:
    return next((phase for phase in phases if epoch <= phase.last), phases[-1])


def _next_trainer(
    trainer: Trainer, phase: Phase, progress: _Progress, store: Store, start_from: Path | None
) -> Trainer:
    """Return the trainer of the next phase, with the final weights of the previous phase."""
    # The best weights may have been those of the head alone; the next trainer needs those of the whole network.
    progress.best_weights = trainer.classifier(progress.best_weights).get_weights()
    weights, state = trainer.classifier(trainer.weights_to_validate()).get_weights(), trainer.state()
    next_trainer = make_trainer(phase, store, start_from, weights)
    if phase.config == trainer.phase.config:  # so the phases share the optimizer's state
        next_trainer.restore(state)
    return next_trainer
