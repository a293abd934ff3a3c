"""Seconds that a trial takes beside its training, in studies of 10, 100 and 500 finished trials.

The trial is the real one, in a process of its own: it opens the study, asks for parameters, opens an MLflow run, logs
16 epochs, a confusion matrix, its curves and tables, and tells its value. Only `fit` is another: it builds the network
and makes figures up. What `fit` takes without the logging of its epochs is subtracted, as that is all that a bare loop
over the same trainings would do. Study and runs are in SQLite files, the default. No trial is the best so far: those
are few, and also save their model.
"""

from __future__ import annotations

import contextlib
import math
import os
import tempfile
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import mlflow
import numpy as np
import optuna
import pandas as pd
from mlflow import MlflowClient
from mlflow.entities import Metric, Param

from benchmarks.measure import compared
from pipeline import tracking
from pipeline.config import TrainConfig, TuneConfig
from pipeline.config.text import config_text
from pipeline.data.sources import write_synthetic
from pipeline.data.store import Store, prepared_store
from pipeline.experiment import training_run as experiment
from pipeline.processes import run_tasks
from pipeline.processes.pool import preload
from pipeline.search import study as search
from pipeline.search import trials
from pipeline.training import Epoch, FitResult

FINISHED = (10, 100, 500)
TRIALS = 5  # that are measured, after one that is not
EPOCHS = 16
PHOTOS_PER_CLASS_QUICK = 20
TRIAL_S = 60  # of a trial to which the overhead is compared


def run(data: str, quick: bool) -> pd.DataFrame:
    """Measure at every size; ``quick`` one trial at the first, of few photos. All are drawn; ``data`` is not used."""
    preload("pipeline.search.preload")
    seconds = {
        f"{finished} finished trials": _overheads(finished, quick) for finished in FINISHED[: 1 if quick else None]
    }
    table = compared("a trial beside its training", "seconds", seconds)
    shares = {name: [100 * value / TRIAL_S for value in values] for name, values in seconds.items()}
    return pd.concat([table, compared(f"of a trial of {TRIAL_S} s", "percent", shares)], ignore_index=True)


def _overheads(finished: int, quick: bool) -> list[float]:
    measured = 1 if quick else TRIALS
    with tempfile.TemporaryDirectory() as folder, _inside(folder):
        if quick:
            write_synthetic(Path("photos"), PHOTOS_PER_CLASS_QUICK)
        data = "photos" if quick else "synthetic"
        config = TuneConfig(weights="none", data=data, epochs=EPOCHS, n_trials=finished + measured + 1, pruner="none")
        tracking.connect()
        store = prepared_store(config.data_config())
        with tracking.run("tune", "parent", config) as parent:
            _fill(config, store, finished, parent)
            clock, values = time.perf_counter(), []
            for outcome in run_tasks(made_up_trial, [(config, parent, n) for n in range(measured + 1)], workers=1):
                if outcome.error:
                    raise RuntimeError(outcome.error)
                now = time.perf_counter()
                values.append(now - clock - outcome.value)
                clock = now
    print(f"{finished} finished trials: {', '.join(f'{value:.2f} s' for value in values[1:])}", flush=True)
    return values[1:]


@contextlib.contextmanager
def _inside(folder: str) -> Iterator[None]:
    before, uri = Path.cwd(), os.environ.get("MLFLOW_TRACKING_URI")
    os.chdir(folder)
    mlflow.set_tracking_uri(f"sqlite:///{folder}/mlflow.db")
    os.environ["MLFLOW_TRACKING_URI"] = f"sqlite:///{folder}/mlflow.db"  # of the processes that run the trials
    try:
        yield
    finally:
        os.chdir(before)
        os.environ.pop("MLFLOW_TRACKING_URI")
        if uri is not None:
            os.environ["MLFLOW_TRACKING_URI"] = uri


def _fill(config: TuneConfig, store: Store, finished: int, parent: str) -> None:
    """Put finished trials into the study, and a run of each into the store."""
    study = search.open_study(config, store.digest)
    study.sampler = optuna.samplers.RandomSampler(seed=0)
    rng, client, now = np.random.default_rng(0), MlflowClient(), int(time.time() * 1000)
    for number in range(finished):
        trial = study.ask()
        wanted = search.suggest(trial, config)
        accuracies = np.sort(rng.uniform(0.2, 0.9, EPOCHS))
        for epoch, accuracy in enumerate(accuracies, 1):
            trial.report(accuracy, epoch)
        study.tell(trial, 1.0 if not number else accuracies[-1])
        tags = {"stage": "trial", "trial": str(number), "mlflow.parentRunId": parent}
        run_id = client.create_run("0", tags=tags).info.run_id
        metrics = [Metric("val_accuracy", accuracy, now, epoch) for epoch, accuracy in enumerate(accuracies, 1)]
        params = [Param(name, text) for name, text in config_text(wanted).items()]
        client.log_batch(run_id, metrics=metrics, params=params)
        client.set_terminated(run_id)


def made_up_trial(config: TuneConfig, parent: str, number: int) -> float:
    """Run a trial whose training is made up; return the seconds of what stands for it."""
    taken: list[float] = []
    replaced: Any = experiment
    replaced.fit = _fit(taken)
    trials.run_trial(config, parent, math.inf, number)
    return taken[0]


def _fit(taken: list[float]) -> Callable[..., FitResult]:
    def fit(config: TrainConfig, store: Store, on_epoch: Callable[[Epoch], Any], *_: object) -> FitResult:
        from pipeline.models.builder import build_classifier

        start, logging = time.perf_counter(), 0.0
        model = build_classifier(config, len(store.class_names))
        epochs = [Epoch(number, 1.0, 0.5, 1.0, number / 100, 1e-3, 400.0) for number in range(1, EPOCHS + 1)]
        for epoch in epochs:
            before = time.perf_counter()
            on_epoch(epoch)
            logging += time.perf_counter() - before
        labels = store.labels("validation")
        probabilities = np.full((len(labels), len(store.class_names)), 1 / len(store.class_names), np.float32)
        answers = np.zeros((EPOCHS, len(labels)), np.uint16)
        result = FitResult(pd.DataFrame(epochs), epochs[-1], probabilities, answers, "float32", lambda: model)
        taken.append(time.perf_counter() - start - logging)
        return result

    return fit
