"""``tune``: search, confirm the best few with fresh seeds, register the winner as challenger."""

from __future__ import annotations

import time
from typing import TYPE_CHECKING

from pipeline.config import TuneConfig as CONFIG
from pipeline.config import UserError

if TYPE_CHECKING:
    from optuna.study import Study

    from pipeline.trials import Winner

FAILURES_IN_A_ROW = 3  # then the fault is not the trial's
OTHERS_EVERY_S = 5


def run(config: CONFIG) -> None:
    """Run the search to its end and register the winner."""
    from pipeline import registry, search, tracking
    from pipeline.experiment import log_store, open_store, print_model, training_key
    from pipeline.workers import warm_up

    config = _with_known_weights(config)
    if not config.ray_address:
        warm_up("pipeline.preload")
    tracking.connect()
    name = f"tune {config.data}, {config.n_trials} trials"
    with tracking.run("tune", name, config, training=training_key(config)) as parent:
        store = open_store(config)
        log_store(store, sample_splits=("train", "validation"))
        study = search.open_study(config, store.digest)
        tracking.set_tags({"study_name": study.study_name})
        _prepare(study, config)
        _run_trials(study, config, parent)
        winner = _confirm(study, config, parent)
        version = registry.register(winner.model_uri, config.model_name)
        _log_search(study, winner)
    judged_by = f" (mean of {winner.seeds} fresh seeds)" if winner.seeds else ""
    print(f"winner: trial {winner.trial}, val_accuracy {winner.val_accuracy:.4f}{judged_by}")
    print_model(version)


def _with_known_weights(config: CONFIG) -> CONFIG:
    """Leave out the variants that nobody has trained on ImageNet, where the search is to start from such weights."""
    from pipeline.models.variants import VARIANTS

    known = tuple(name for name in config.variants if config.weights != "imagenet" or VARIANTS[name].imagenet_preset)
    if not known:
        with_weights = ", ".join(name for name, variant in VARIANTS.items() if variant.imagenet_preset)
        raise UserError(
            f"weights=imagenet needs a variant that has them ({with_weights}), got variants={','.join(config.variants)}"
        )
    for name in set(config.variants).difference(known):
        print(f"variant {name} is not tried: it has no ImageNet weights", flush=True)
    return config.model_copy(update={"variants": known})


def _prepare(study: Study, config: CONFIG) -> None:
    from pipeline import orphans, search

    for orphan in orphans.fail_orphans(study):
        print(f"trial {orphan.number} was running in a process that is gone; another goes on with it", flush=True)
    for start in search.known_good(config):
        study.enqueue_trial(start, skip_if_exists=True)
    for flag, (value, searched) in search.unsearched(config).items():
        print(f"{flag}={value} is not tried: the search is over {', '.join(searched)}", flush=True)
    finished, _, _ = search.trial_counts(study)
    print(f"study {study.study_name}: {finished} of {config.n_trials} trials are finished", flush=True)


def _run_trials(study: Study, config: CONFIG, parent: str) -> None:
    """Run trials until the study has enough or time is up; one that fails or whose process dies is made up for."""
    from pipeline import orphans, search, tracking, trials
    from pipeline.workers import run_tasks

    deadline = time.time() + config.timeout_s if config.timeout_s else float("inf")
    errors: list[str] = []
    while (counts := search.trial_counts(study))[0] < config.n_trials and time.time() < deadline:
        missing = config.n_trials - counts[0] - counts[1]
        if missing <= 0:
            time.sleep(OTHERS_EVERY_S)  # another process runs what is missing, and may yet fail
        jobs = ((config, parent, deadline, number) for number in range(missing))
        for outcome in run_tasks(trials.run_trial, jobs, config.workers, config.ray_address):
            errors = [*errors, outcome.error] if outcome.error else []
            if outcome.error:
                print(f"a trial failed: {outcome.error}", flush=True)
            if outcome.kind == tracking.StoreGone.__name__:
                raise tracking.StoreGone(outcome.error)
            if len(errors) == FAILURES_IN_A_ROW:
                raise UserError(f"{len(errors)} trials in a row failed, the last with: {errors[-1]}")
        orphans.fail_orphans(study)


def _confirm(study: Study, config: CONFIG, parent: str) -> Winner:
    from pipeline import trials
    from pipeline.workers import run_tasks

    jobs = [(config, parent, trial, seed) for trial, seed in trials.to_confirm(config, study)]
    outcomes = list(run_tasks(trials.confirm_trial, jobs, config.workers, config.ray_address))
    if errors := [outcome.error for outcome in outcomes if outcome.error]:
        raise UserError(f"every confirmation must end, got {errors[0]} (run the same command again)")
    return trials.pick_winner(study, [outcome.value for outcome in outcomes])


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
