"""The trials of a search and the confirmation of the best, each as a task that a worker process can take.

Joins `search` (what to try next) with `experiment` (how a training is tracked).
"""

from __future__ import annotations

import time
from collections.abc import Callable, Sequence
from functools import lru_cache
from statistics import fmean
from typing import NamedTuple

import optuna
from optuna.study import Study
from optuna.trial import FrozenTrial, Trial

from pipeline import orphans, search, tracking
from pipeline.config import DataConfig, TrainConfig, TuneConfig, UserError
from pipeline.data.store import Store, prepared_store
from pipeline.experiment import describe, log_store, tracked_fit, training_key
from pipeline.processes import owner
from pipeline.trainer import Epoch

CONFIG, RUN_ID, MODEL_URI = "config", "run_id", "model_uri"  # user attributes of a trial


class Confirmation(NamedTuple):
    """A config trained again: its trial, the fresh seed, and what came out."""

    trial: int
    seed: int
    val_accuracy: float
    run_id: str
    model_uri: str


class Winner(NamedTuple):
    """The config that won: its trial, its mean val_accuracy over so many fresh seeds, and its best model."""

    trial: int
    val_accuracy: float
    seeds: int
    run_id: str
    model_uri: str


def run_trial(config: TuneConfig, parent: str, deadline: float, number: int) -> None:
    """Run one trial of the study, unless it has enough of them or time is up.

    Args:
        config: the search.
        parent: id of the MLflow run under which the trial nests.
        deadline: seconds since the epoch after which no trial starts.
        number: of the task, so that no two draw the same random trial.
    """
    store = _store(config.data_config())
    study = search.open_study(config, store.digest, number)
    start = orphans.start_lock(study)  # else two could both take the last trial
    with start:
        orphans.fail_orphans(study)
        finished, running, _ = search.trial_counts(study)
        if finished + running >= config.n_trials or time.time() >= deadline:
            return
        # the trial releases the lock as soon as others can see it running
        study.optimize(lambda trial: _objective(trial, config, parent, store, start.release), n_trials=1)


@lru_cache(maxsize=1)
def _store(config: DataConfig) -> Store:
    return prepared_store(config)


def _objective(trial: Trial, config: TuneConfig, parent: str, store: Store, started: Callable[[], object]) -> float:
    try:
        return _run_trial(trial, config, parent, store, started)
    except (KeyboardInterrupt, tracking.StoreGone):
        orphans.line_up_again(trial.study, trial)
        raise


def _run_trial(trial: Trial, config: TuneConfig, parent: str, store: Store, started: Callable[[], object]) -> float:
    trial.set_user_attr(orphans.OWNER, owner())
    started()
    clock = time.perf_counter()
    wanted = search.suggest(trial, config)
    trial.set_user_attr(CONFIG, wanted.model_dump(mode="json"))
    tags = {"trial": str(trial.number), "study_name": trial.study.study_name}
    if orphans.RETRY_OF in trial.user_attrs:
        tags[orphans.RETRY_OF] = str(trial.user_attrs[orphans.RETRY_OF])
    name, pruned = f"trial-{trial.number:03d} {describe(wanted)}", False

    def report(epoch: Epoch) -> bool:
        nonlocal pruned
        trial.report(epoch.val_accuracy, epoch.epoch)
        pruned = pruned or (epoch.epoch < wanted.epochs and trial.should_prune())
        return pruned

    with tracking.run("trial", name, wanted, tags, parent, training_key(wanted)) as run_id:
        trial.set_user_attr(RUN_ID, run_id)
        log_store(store)
        trained = tracked_fit(wanted, store, report, lambda best: not pruned and _is_record(trial.study, best))
        tracking.set_tags({"trial_state": "pruned" if pruned else "complete"})
    trial.set_user_attr(MODEL_URI, trained.model_uri)
    _print_trial(trial, config, wanted, trained.best, pruned, time.perf_counter() - clock)
    if pruned:
        raise optuna.TrialPruned
    return trained.best.val_accuracy


def _is_record(study: Study, best: Epoch) -> bool:
    return all(best.val_accuracy >= (trial.value or 0.0) for trial in search.ranked(study))  # the winner of a tie, too


def _print_trial(
    trial: Trial, config: TuneConfig, wanted: TrainConfig, best: Epoch, pruned: bool, seconds: float
) -> None:
    finished = search.trial_counts(trial.study)[0] + 1
    values = [other.value or 0.0 for other in search.ranked(trial.study)] + ([] if pruned else [best.val_accuracy])
    print(
        f"[{finished}/{config.n_trials}] trial {trial.number:>3}  {describe(wanted):<50}  "
        f"val_accuracy {best.val_accuracy:.4f} at epoch {best.epoch:<3} {'pruned' if pruned else 'complete':<8} "
        f"{seconds:.0f} s  best {max(values, default=0.0):.4f}",
        flush=True,
    )


def to_confirm(config: TuneConfig, study: Study) -> list[tuple[FrozenTrial, int]]:
    """Return the trials to train again, best first, each with every fresh seed.

    The search's own score of the best of many is too high, because it was picked for being high.

    Raises:
        UserError: no trial is complete.
    """
    best = search.ranked(study)
    if not best:
        raise UserError(
            f"a search needs at least one complete trial, got none in study {study.study_name} "
            "(look at the failed runs in the UI; raise timeout_s or n_trials)"
        )
    seeds = range(config.seed + 1, config.seed + config.confirm_seeds + 1)
    return [(trial, seed) for trial in best[: config.confirm_top_k] for seed in seeds]


def confirm_trial(config: TuneConfig, parent: str, trial: FrozenTrial, seed: int) -> Confirmation:
    """Train a trial's config again with another seed and longer, in a run of its own under the run ``parent``."""
    store = _store(config.data_config())
    epochs = round(config.confirm_epochs_factor * config.epochs)
    wanted = TrainConfig(**trial.user_attrs[CONFIG] | {"seed": seed, "epochs": epochs})
    name = f"confirm-{trial.number:03d} seed={seed} {describe(wanted)}"
    with tracking.run("confirm", name, wanted, {"trial": str(trial.number)}, parent, training_key(wanted)) as run_id:
        log_store(store)
        trained = tracked_fit(wanted, store)
    accuracy = trained.best.val_accuracy
    print(f"confirm trial {trial.number} seed {seed}: val_accuracy {accuracy:.4f}", flush=True)
    return Confirmation(trial.number, seed, accuracy, run_id, trained.model_uri)


def pick_winner(study: Study, confirmations: Sequence[Confirmation]) -> Winner:
    """Return the config with the best mean over its seeds or, where none was confirmed, the best trial."""
    if not confirmations:
        best = search.ranked(study)[0]
        return Winner(best.number, best.value or 0.0, 0, best.user_attrs[RUN_ID], best.user_attrs[MODEL_URI])
    by_trial: dict[int, list[Confirmation]] = {}
    for confirmation in confirmations:
        by_trial.setdefault(confirmation.trial, []).append(confirmation)
    means = {trial: fmean(seed.val_accuracy for seed in seeds) for trial, seeds in by_trial.items()}
    rank = {trial.number: place for place, trial in enumerate(search.ranked(study))}
    trial = max(by_trial, key=lambda number: (means[number], -rank[number]))
    top = max(by_trial[trial], key=lambda seed: (seed.val_accuracy, -seed.seed))
    return Winner(trial, means[trial], len(by_trial[trial]), top.run_id, top.model_uri)
