"""``tune``: search, confirm the best few with fresh seeds, register the winner as challenger."""

from __future__ import annotations

import time
from typing import TYPE_CHECKING

from pipeline.config import TuneConfig as CONFIG

if TYPE_CHECKING:
    from optuna.study import Study

    from pipeline.trials import Winner


def run(config: CONFIG) -> None:
    """Run the search to its end and register the winner."""
    from pipeline import registry, search, tracking, trials
    from pipeline.experiment import log_store, open_store, print_model

    tracking.connect()
    with tracking.run("tune", f"tune {config.data}, {config.n_trials} trials", config) as parent:
        store = open_store(config)
        log_store(store, sample_splits=("train", "validation"))
        study = search.open_study(config, store.digest)
        tracking.set_tags({"study_name": study.study_name})
        _prepare(study, config)
        _run_trials(study, config, parent)
        winner = trials.confirm(config, store, study)
        version = registry.register(winner.model_uri, config.model_name)
        _log_search(study, winner)
    judged_by = f" (mean of {winner.seeds} fresh seeds)" if winner.seeds else ""
    print(f"winner: trial {winner.trial}, val_accuracy {winner.val_accuracy:.4f}{judged_by}")
    print_model(version)


def _prepare(study: Study, config: CONFIG) -> None:
    from pipeline import search

    for orphan in search.fail_orphans(study):
        print(f"trial {orphan.number} was running in a process that is gone; another takes its place", flush=True)
    for start in search.known_good(config):
        study.enqueue_trial(start, skip_if_exists=True)
    for flag, value, searched in (
        ("optimizer", config.optimizer, tuple(search.USUAL_RATES)),
        ("lr_schedule", config.lr_schedule, search.SCHEDULES),
    ):
        if value not in searched:
            print(f"{flag}={value} is not tried: the search is over {', '.join(searched)}", flush=True)
    finished, _, _ = search.trial_counts(study)
    print(f"study {study.study_name}: {finished} of {config.n_trials} trials are finished", flush=True)


def _run_trials(study: Study, config: CONFIG, parent: str) -> None:
    """Run workers until the study has its trials or time is up; where some died, start more as long as that helps."""
    from pipeline import search, trials, workers

    deadline = time.time() + config.timeout_s if config.timeout_s else float("inf")
    before = -1
    while before < (finished := search.trial_counts(study)[0]) < config.n_trials and time.time() < deadline:
        before = finished
        died = workers.run_workers(trials.run_trials, (config, parent, deadline), config.workers, config.ray_address)
        if died:
            print(f"{died} of {config.workers} workers ended early", flush=True)


def _log_search(study: Study, winner: Winner) -> None:
    from pipeline import plots, search, tracking
    from pipeline.study_plots import draw_study, trial_table

    table = trial_table(study)
    tracking.log_table(table, "trials.csv")
    tracking.log_figure(plots.draw_trials(table, "Search"), "trials.png")
    for name, figure in draw_study(study).items():
        tracking.log_figure(figure, name)
    best = search.ranked(study)[0]
    tracking.log_metrics({"best_val_accuracy": best.value or 0.0, "confirmed_val_accuracy": winner.val_accuracy})
    tracking.copy_artifacts(winner.run_id, tracking.RUN_PICTURES)
    tracking.set_tags({"best_trial": str(winner.trial), "model_uri": winner.model_uri})
