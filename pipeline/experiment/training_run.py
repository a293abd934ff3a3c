"""One tracked training: the metrics of every epoch, plots, tables and, if wanted, the model, into the open run.

`train`, the trials and confirmations of `tune`, and `ablate` all go through `tracked_fit`, so that every run of the
project leaves the same things under the same names. The caller opens the run.
"""

from __future__ import annotations

import contextlib
import tempfile
import time
from collections.abc import Callable, Iterator, Mapping
from dataclasses import asdict, dataclass
from functools import cache, partial
from importlib.metadata import version
from pathlib import Path
from typing import Any

import cv2
import numpy as np
import pandas as pd
from filelock import FileLock, Timeout
from matplotlib.figure import Figure

from pipeline import plots, tracking
from pipeline.config import RUNS_FOLDER, Objective, TrainConfig, UserError
from pipeline.data.store import KnownPhotos, Store
from pipeline.evaluation import (
    classification_metrics,
    compact_counts,
    confused_pairs,
    confusion_table,
    fit_temperature,
    metric_name,
    prediction_table,
    with_temperature,
)
from pipeline.experiment import review
from pipeline.experiment.chosen import with_epochs
from pipeline.experiment.expected_time import expected_seconds, measured_speed, trainings_end
from pipeline.experiment.identity import training_key
from pipeline.experiment.imbalance import print_imbalance
from pipeline.experiment.lineage import PHOTOS_FILE, Start, check_start, saved_start
from pipeline.experiment.model_card import training_card
from pipeline.experiment.photos import log_store, open_store
from pipeline.experiment.starts import (
    begun_tags,
    resolve_start,
    start_record,
    start_tags,
    unusual_structure,
)
from pipeline.files import sha256_of_file
from pipeline.report import Result
from pipeline.serving import About, save_classifier, sureness_of
from pipeline.tracking import registry
from pipeline.training import Checkpoints, Diverged, Epoch, FitResult, fit, seen_photos

CHECKPOINTS = RUNS_FOLDER / "checkpoints"
AFTER_S = 30.0  # for plots and registration
SHOWN_CLASSES, SHOWN_EPOCHS = 6, 6  # of the picture of augmented photos


@dataclass(frozen=True)
class Trained:
    """The outcome of a training: its best epoch, all epochs, confusions and pictures.

    If its model was logged, its URI and a line on label suspects, too.
    """

    best: Epoch
    model_uri: str
    history: pd.DataFrame
    confusion: pd.DataFrame
    figures: Mapping[str, Figure]
    suspects: str = ""


@dataclass(frozen=True, repr=False)
class TrainingResult(Result):
    """The result of ``train``.

    Attributes:
        best: the best epoch, whose model is registered.
        history: one row per epoch: the metrics of `Epoch`.
        confusion: validation photos by true class (rows) and answer (columns), at the best epoch.
    """

    best: Epoch
    history: pd.DataFrame
    confusion: pd.DataFrame

    @property
    def summary(self) -> str:
        """The accuracy of the best epoch."""
        best = self.best
        return (
            f"{100 * best.val_accuracy:.1f} % of the validation photos right after epoch {best.epoch}: {self.model_uri}"
        )

    @property
    def table(self) -> pd.DataFrame:
        """The epochs."""
        return self.history


def run_training(config: TrainConfig) -> TrainingResult:
    """Train, log, and register the best epoch's model as challenger."""
    began = time.time()
    tracking.connect()
    typed = config
    config = resolve_start(typed, "train", [typed.variant], unusual_structure(typed))
    key, tags = training_key(config), begun_tags(typed, config)
    as_typed = config.model_copy(update={"weights": typed.weights})
    with tracking.run("train", f"train {describe(config)}", as_typed, tags, training=key) as run_id:
        store = open_store(config)
        check_start(config, store)
        log_store(store, with_pictures=True)
        end = trainings_end(began, config.timeout_s, AFTER_S)
        config = with_epochs(config, store, _fits_until(end, store), may_be_longer=True)
        print_imbalance(config, store)
        trained = tracked_fit(config.model_copy(update={"timeout_s": 0.0}), store, _print_epochs_until(end, config))
        version = registry.register(trained.model_uri, config.model_name)
    print(f"best epoch {trained.best.epoch}: {_values(trained.best, config.objective, ', ')}\n{trained.suspects}")
    print_model(version)
    tables = (trained.best, trained.history, trained.confusion)
    return TrainingResult(version.uri, run_id, *tables, figures=trained.figures)


def _fits_until(end: float, store: Store) -> Callable[[TrainConfig], bool]:
    """Return what tells of a training whether it will end in time, by the measured speed of its steps."""
    photos = len(store.labels("train")), len(store.labels("validation"))
    measured = cache(partial(measured_speed, classes=len(store.class_names)))

    def fits(config: TrainConfig) -> bool:
        if config.freeze_backbone:
            return True  # an epoch takes next to nothing
        one = config.model_copy(update={"epochs": 1, "head_epochs": 0})
        return time.time() + expected_seconds(config, *photos, measured(one)) <= end

    return fits


def _print_epochs_until(end: float, config: TrainConfig) -> Callable[[Epoch], bool]:
    """Return a callback that prints epochs, and stops the training before one that would end too late."""
    last = time.time()

    def on_epoch(epoch: Epoch) -> bool:
        nonlocal last
        print_epoch(epoch, config.objective)
        seconds, last = time.time() - last, time.time()
        is_over = epoch.epoch < config.epochs and last + seconds > end
        if is_over:
            done = f"after {epoch.epoch} of {config.epochs} epochs the next would end after timeout_s"
            print(f"time is up: {done}={config.timeout_s:g} (epochs=0 trains as many as fit)", flush=True)
        return is_over

    return on_epoch


def tracked_fit(
    config: TrainConfig,
    store: Store,
    on_epoch: Callable[[Epoch], bool | None] = lambda _: None,
    wants_model: Callable[[Epoch], bool] = lambda _: True,
) -> Trained:
    """Train, and log into the open run what comes out.

    Args:
        config: what to train.
        store: the prepared photos.
        on_epoch: called after every epoch, once its metrics are logged; True ends the training there.
        wants_model: asked with the best epoch whether the model shall be logged.
    """
    logged = tracking.last_epoch()  # of a run that goes on after a stop

    def log_epoch(epoch: Epoch) -> bool | None:
        metrics = asdict(epoch)
        number = int(metrics.pop("epoch"))
        if number > logged:
            tracking.log_metrics(metrics, step=number)
        return on_epoch(epoch)

    start = saved_start(config.weights)
    start_from = start and start.file
    record = start_record(config, start)
    tracking.set_tags(start_tags(record))
    with _checkpoints(config, store, start_from) as checkpoints:
        _log_augmented(config, store)
        result = fit(config, store, log_epoch, start_from, checkpoints)
        about = _about(result, config, store, record)
        wanted = wants_model(result.best)
        confusion, figures = _log_result(result, store, config.judged_by, with_predictions=wanted)
        suspects = review.log_suspects(store, ["validation"], result.val_probabilities) if wanted else ""
        uri = _log_model(result, about, store, start) if wanted else ""
        best, of = result.best, config.judged_by
        chosen_for = of.sentence(getattr(best, of.name)) if of.name != "val_accuracy" else ""
        card = training_card(about, best.val_accuracy, best.epoch, chosen_for, uri, *tracking.open_run())
        tracking.set_note(card)
        return Trained(result.best, uri, result.history, confusion, figures, suspects)


@contextlib.contextmanager
def _checkpoints(config: TrainConfig, store: Store, start_from: Path | None) -> Iterator[Checkpoints]:
    """Yield the training's checkpoints; they are removed when its run has ended, but for an interruption or a crash.

    Raises:
        UserError: another process is at the same training.
    """
    folder = CHECKPOINTS / training_key(config)
    identity = {"photos": store.digest, **{name: version(name) for name in ("tensorflow", "keras", "numpy")}}
    if start_from:  # an alias may mean another version by now
        identity["weights"] = sha256_of_file(start_from)
    checkpoints = Checkpoints(folder, identity)
    CHECKPOINTS.mkdir(parents=True, exist_ok=True)
    try:
        lock = FileLock(folder.with_suffix(".lock")).acquire(blocking=False)
    except Timeout:
        raise UserError(
            "a training must run in one process at a time, got another process that runs it (its lock is "
            f"{folder}.lock; wait for it, or change a flag, such as seed)"
        ) from None
    with lock:
        if config.resume == "never":
            checkpoints.remove()
        try:
            yield checkpoints
        except Diverged:  # it would again
            checkpoints.remove()
            raise

    def remove() -> None:
        if not tracking.count_unsent_runs():  # else a command that cannot register would start over
            checkpoints.remove()

    tracking.when_finished(remove)


def describe(config: TrainConfig) -> str:
    """Return a short description of a training, for run names and progress lines."""
    rate = f"lr={config.learning_rate:.1e}"
    trained = "head" if config.freeze_backbone else config.augment
    return f"{config.variant} {trained} {config.optimizer} {rate} {config.lr_schedule}"


def _log_augmented(config: TrainConfig, store: Store) -> None:
    """Draw a training photo of each of the first classes as the network sees it in its first epochs."""
    rows = np.unique(store.labels("train"), return_index=True)[1][:SHOWN_CLASSES]
    seen = seen_photos(store, config, rows, SHOWN_EPOCHS)
    names = [store.class_names[label] for label in store.labels("train")[rows]]
    photos = {name: {title: images[place] for title, images in seen.items()} for place, name in enumerate(names)}
    mirrors = [name for name in ("horizontal_flip", "vertical_flip") if getattr(config, name)]
    flags = [f"augment={config.augment}", *(mirrors if config.augment != "none" else [])]
    flags += [f"{name}={getattr(config, name):g}" for name in ("degrade", "mixup", "cutmix") if getattr(config, name)]
    title = f"Training photos as the network sees them: {', '.join(flags)}"
    tracking.log_figure(plots.draw_stages(photos, title), "augmented.jpg")


def _log_result(
    result: FitResult, store: Store, objective: Objective, with_predictions: bool
) -> tuple[pd.DataFrame, dict[str, Figure]]:
    """Log the metrics, tables and pictures of a training; return the confusions and the pictures."""
    names, labels, probabilities = store.class_names, store.labels("validation"), result.val_probabilities
    metrics = classification_metrics(labels, probabilities, names)
    summary = {
        "best_epoch": float(result.best.epoch),
        "best_val_accuracy": metrics["accuracy"],
        "best_val_balanced_accuracy": metrics["balanced_accuracy"],
        "best_val_macro_f1": metrics["macro_f1"],
        "best_val_loss": result.best.val_loss,
        "baseline_accuracy": float(np.bincount(labels).max() / len(labels)),  # of always answering the largest class
    }
    recalls = {f"val_recall_{metric_name(name)}": metrics[f"recall_{metric_name(name)}"] for name in names}
    tracking.log_metrics(summary | recalls, once=True)
    # Runs show the value of the last step, and this name has always been that of the best epoch.
    tracking.log_metrics({"val_macro_f1": metrics["macro_f1"]}, step=int(result.history["epoch"].iloc[-1]), once=True)
    tracking.set_tags({"precision": result.precision})
    table = confusion_table(labels, probabilities.argmax(axis=1), names)
    tracking.log_table(compact_counts(table), "confusion_matrix.json")
    tracking.log_table(confused_pairs(table), "confused_pairs.csv")
    title = f"Validation photos, best epoch: {100 * metrics['accuracy']:.1f} % right"
    figures = {
        "history": plots.draw_history(result.history, "Training", objective),
        "confusion_matrix": plots.draw_confusion(table, title),
    }
    for name, figure in figures.items():
        tracking.log_figure(figure, f"{name}.png", with_preview=name == "confusion_matrix")
    tracking.log_table(result.history, "history.csv")
    if with_predictions:
        paths = store.rows("validation")["path"].tolist()
        tracking.log_table(prediction_table(paths, labels, probabilities, names), tracking.VAL_PREDICTIONS)
        if len(result.val_answers):
            tracking.log_val_answers(result.val_answers)
    return table, figures


def _about(result: FitResult, config: TrainConfig, store: Store, start: Mapping[str, Any]) -> About:
    labels, uncalibrated = store.labels("validation"), result.val_probabilities
    temperature = fit_temperature(labels, uncalibrated)
    return About(
        class_names=store.class_names,
        image_size=config.image_size,
        resize=config.resize,
        image_ops=config.image_ops,
        data_digest=store.digest,
        data_source=str(store.source.resolve()),
        config=config.model_dump(mode="json"),
        temperature=temperature,
        rules=store.rule_versions.changed,
        start=start,
        sureness=sureness_of(with_temperature(uncalibrated, temperature)),
    )


def _log_model(result: FitResult, about: About, store: Store, start: Start | None) -> str:
    lines: list[str] = []
    result.model.summary(expand_nested=True, print_fn=lambda line, **_: lines.append(line), line_length=110)
    tracking.log_text("\n".join(lines), "model_summary.txt")
    first = cv2.cvtColor(np.asarray(store.images("validation")[0]), cv2.COLOR_RGB2BGR)
    example = cv2.imencode(".jpg", first)[1].tobytes()
    with tempfile.TemporaryDirectory() as scratch:
        folder = Path(scratch, "classifier")
        folder.mkdir()
        KnownPhotos.of(store.manifest, start and start.photos).write(folder / PHOTOS_FILE)
        save_classifier(folder, result.model, about)
        return tracking.log_classifier(folder, store.class_names, example)


def print_epoch(epoch: Epoch, objective: str) -> None:
    """Print an epoch as one line, with the objective where it is neither the loss nor the accuracy."""
    print(
        f"epoch {epoch.epoch:>3}  train_loss {epoch.train_loss:.4f}  train_accuracy {epoch.train_accuracy:.4f}  "
        f"val_loss {epoch.val_loss:.4f}  {_values(epoch, objective if objective != 'val_loss' else 'val_accuracy')}  "
        f"{epoch.images_per_second:.0f} images/s",
        flush=True,
    )


def _values(epoch: Epoch, objective: str, separator: str = "  ") -> str:
    """Return an epoch's objective and its accuracy, once if they are the same."""
    return separator.join(f"{name} {getattr(epoch, name):.4f}" for name in dict.fromkeys((objective, "val_accuracy")))


def print_model(version: registry.Version, report: str = "") -> None:
    """Print where a ``report`` is, how to look at the runs, how to test the model, and how to load it."""
    uri = f"models:/{version.name}@{registry.CHALLENGER}"
    if source := registry.other_source_before(version):
        print(
            f"note: the version of {version.name} before was trained from other photos, {source} "
            "(--model_name=NAME keeps models of different photos apart)",
            flush=True,
        )
    print(
        f"registered {version.name} version {version.number} as {registry.CHALLENGER}\n"
        f"{report and f'  read the report:   {report}' + chr(10)}"
        f"  compare the runs:  {tracking.runs_page(registry.experiment_of(version))}\n"
        f"  test the model:    python -m pipeline evaluate --model_uri={uri}\n"
        f'  load the model:    mlflow.pyfunc.load_model("{uri}").predict(["photo.jpg"])',
        flush=True,
    )
