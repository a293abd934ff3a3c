"""The trials of a search: the loop that a worker process runs, what one trial does, and the confirmation of the best.

Joins `search` (what to try next) with `experiment` (how a training is tracked).
"""

from __future__ import annotations

import time
from collections.abc import Callable
from statistics import fmean
from typing import NamedTuple

import optuna
from filelock import FileLock
from optuna.study import Study
from optuna.trial import FrozenTrial, Trial

from pipeline import search, tracking
from pipeline.config import TrainConfig, TuneConfig, UserError, first_line
from pipeline.data.store import Store, prepared_store
from pipeline.experiment import Trained, describe, log_store, tracked_fit
from pipeline.training import Epoch

FAILURES_IN_A_ROW = 3  # then the fault is not the trial's
CONFIG, RUN_ID, MODEL_URI = "config", "run_id", "model_uri"  # user attributes of a trial


class Winner(NamedTuple):
    """The config that won: its trial, its mean val_accuracy over so many fresh seeds, and its best model."""

    trial: int
    val_accuracy: float
    seeds: int
    run_id: str
    model_uri: str


def run_trials(config: TuneConfig, parent: str, deadline: float, worker: int) -> None:
    """Run trials of the study, one at a time, until it has enough or time is up.

    Args:
        config: the search.
        parent: id of the MLflow run under which the trials nest.
        deadline: seconds since the epoch after which no trial starts.
        worker: number of this worker.

    Raises:
        UserError: trial after trial fails.
    """
    store = prepared_store(config)
    study = search.open_study(config, store.digest, worker)
    start = FileLock(
        search.LOCAL_FOLDER / f".{study.study_name}.lock"
    )  # so that two workers cannot both take the last trial
    errors: list[str] = []
    while time.time() < deadline and len(errors) < FAILURES_IN_A_ROW:
        start.acquire()
        search.fail_orphans(study)
        finished, running, _ = search.trial_counts(study)
        if finished + running >= config.n_trials:
            start.release()
            return
        try:
            study.optimize(lambda trial: _run_trial(trial, config, parent, store, start.release), n_trials=1)
            errors.clear()
        except Exception as error:
            errors.append(first_line(error))
            print(f"a trial failed: {errors[-1]}", flush=True)
        finally:
            start.release(force=True)
    if len(errors) == FAILURES_IN_A_ROW:
        raise UserError(f"{len(errors)} trials in a row failed, the last with: {errors[-1]}")


def _run_trial(trial: Trial, config: TuneConfig, parent: str, store: Store, started: Callable[[], object]) -> float:
    trial.set_user_attr(search.OWNER, search.owner())
    started()
    clock = time.perf_counter()
    wanted = search.suggest(trial, config)
    trial.set_user_attr(CONFIG, wanted.model_dump(mode="json"))
    tags = {"trial": str(trial.number), "study_name": trial.study.study_name}
    pruned = False

    def report(epoch: Epoch) -> bool:
        nonlocal pruned
        trial.report(epoch.val_accuracy, epoch.epoch)
        pruned = epoch.epoch < wanted.epochs and trial.should_prune()
        return pruned

    with tracking.run("trial", f"trial-{trial.number:03d} {describe(wanted)}", wanted, tags, parent) as run_id:
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
        f"[{finished}/{config.n_trials}] trial {trial.number:>3}  {describe(wanted):<44}  "
        f"val_accuracy {best.val_accuracy:.4f} at epoch {best.epoch:<3} {'pruned' if pruned else 'complete':<8} "
        f"{seconds:.0f} s  best {max(values, default=0.0):.4f}",
        flush=True,
    )


def confirm(config: TuneConfig, store: Store, study: Study) -> Winner:
    """Train the best configs again with fresh seeds and return the one with the best mean.

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
    if not config.confirm_top_k:
        return Winner(
            best[0].number, best[0].value or 0.0, 0, best[0].user_attrs[RUN_ID], best[0].user_attrs[MODEL_URI]
        )
    candidates = [_confirm_trial(config, store, trial) for trial in best[: config.confirm_top_k]]
    return max(candidates, key=lambda winner: winner.val_accuracy)


def _confirm_trial(config: TuneConfig, store: Store, trial: FrozenTrial) -> Winner:
    results: list[tuple[Trained, str]] = []
    for number in range(1, config.confirm_seeds + 1):
        wanted = TrainConfig(**trial.user_attrs[CONFIG] | {"seed": config.seed + number})
        name = f"confirm-{trial.number:03d} seed={wanted.seed} {describe(wanted)}"
        with tracking.run("confirm", name, wanted, {"trial": str(trial.number)}) as run_id:
            log_store(store)
            trained = tracked_fit(wanted, store)
        results.append((trained, run_id))
        print(
            f"confirm trial {trial.number} seed {wanted.seed}: val_accuracy {trained.best.val_accuracy:.4f}", flush=True
        )
    top, run_id = max(results, key=lambda result: result[0].best.val_accuracy)
    mean = fmean(trained.best.val_accuracy for trained, _ in results)
    return Winner(trial.number, mean, len(results), run_id, top.model_uri)
