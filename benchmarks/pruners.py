"""Pruners on the learning curves of real trials, replayed: what each saves, and what it costs.

Every trial of a study without pruning has its whole curve of val_accuracy, so any pruner can be asked, epoch by epoch,
what it would have stopped, and the trials can come in any order. What is left out: a sampler that learns from what was
pruned. Pruners are those of `search.pruner_of`, as `tune` uses them.
"""

from __future__ import annotations

import os
import random
import subprocess
import sys
import tempfile
from pathlib import Path
from typing import get_args

import optuna
import pandas as pd

from benchmarks.measure import compared
from pipeline.config import TuneConfig
from pipeline.search import study as search

ROOT = Path(__file__).parents[1]
TRIALS, EPOCHS, ORDERS = 30, 6, 40
PRUNERS = get_args(TuneConfig.model_fields["pruner"].annotation)

Curve = tuple[float, ...]


def run(data: str, quick: bool) -> pd.DataFrame:
    """Replay the curves of a study: ``data`` is the storage of one without pruning, or photos to search on before."""
    curves = _curves(data) if "://" in data else _searched(data, quick)
    orders = [random.Random(seed).sample(curves, len(curves)) for seed in range(5 if quick else ORDERS)]
    epochs: dict[str, list[float]] = {name: [] for name in PRUNERS}
    found: dict[str, list[float]] = {name: [] for name in PRUNERS}
    for name in PRUNERS:
        for order in orders:
            trained, best = _replay(order, name)
            epochs[name].append(100 * trained / sum(map(len, order)))
            found[name].append(best - max(map(max, order)))
    case = f"{len(curves)} trials of {max(map(len, curves))} epochs, in {len(orders)} orders"
    shares = compared(f"{case}: epochs trained", "% of all epochs", epochs)
    means = pd.DataFrame(found).agg(["mean", "min", "max"]).T
    print(f"val_accuracy of the best found, less that of the best there is:\n{means.to_string()}", flush=True)
    kept = pd.DataFrame({name: [float(value == 0) for value in lost] for name, lost in found.items()}).mean()
    print(f"share of the orders in which the best is found:\n{kept.to_string()}", flush=True)
    return shares


def _replay(curves: list[Curve], pruner: str) -> tuple[int, float]:
    """Return how many epochs are trained in all, and the best val_accuracy of a trial that was not stopped."""
    optuna.logging.set_verbosity(optuna.logging.ERROR)
    config = TuneConfig(weights="none", pruner=pruner, epochs=len(curves[0]), warmup_epochs=0)
    study = optuna.create_study(direction="maximize", pruner=search.pruner_of(config))
    trained, best = 0, 0.0
    for curve in curves:
        trial = study.ask()
        for epoch, value in enumerate(curve, start=1):
            trained += 1
            trial.report(value, epoch)
            if epoch < len(curve) and trial.should_prune():
                study.tell(trial, state=optuna.trial.TrialState.PRUNED)
                break
        else:
            best = max(best, *curve)
            study.tell(trial, max(curve))
    return trained, best


def _curves(storage: str) -> list[Curve]:
    """Return the learning curves of the complete trials of the study that has most of them."""
    studies = [optuna.load_study(study_name=name, storage=storage) for name in optuna.get_all_study_names(storage)]
    complete = [study.get_trials(states=(optuna.trial.TrialState.COMPLETE,)) for study in studies]
    trials = max(complete, key=len)
    return [tuple(trial.intermediate_values[epoch] for epoch in sorted(trial.intermediate_values)) for trial in trials]


def _searched(data: str, quick: bool) -> list[Curve]:
    sizes = (
        ["--n_trials=6", "--epochs=3", "--image_size=32"] if quick else [f"--n_trials={TRIALS}", f"--epochs={EPOCHS}"]
    )
    fixed = ["--weights=none", "--pruner=none", "--confirm_top_k=0"]
    command = [sys.executable, "-m", "pipeline", "tune", f"--data={data}", *sizes, *fixed]
    with tempfile.TemporaryDirectory() as folder:
        subprocess.run(command, cwd=folder, env=os.environ | {"PYTHONPATH": str(ROOT)}, check=True)
        return _curves(f"sqlite:///{folder}/mlruns/optuna.db")
