"""One trial of a search, as a task for a worker process.

Joins `study` (what to try next) with `experiment` (how a training is tracked). Whatever dies, and whenever, every
trial is finished once: under the study's lock it is counted, started, and marked with its owner; its result is stored
in the study before its MLflow run is closed, and the run is closed before the study is told.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Mapping
from functools import lru_cache
from types import MappingProxyType
from typing import NamedTuple

import optuna
from optuna.study import Study
from optuna.trial import Trial, TrialState

from pipeline import tracking
from pipeline.config import DataConfig, TrainConfig, TuneConfig
from pipeline.data.store import Store, prepared_store
from pipeline.experiment import describe, log_store, tracked_fit, training_key
from pipeline.processes import owner_mark
from pipeline.search import study as studies
from pipeline.search.plan import kind_of_next
from pipeline.search.recovery import enqueue_again, settle_trials, start_lock
from pipeline.search.space_file import HEADS_FIRST_MODE, mode_of
from pipeline.search.trial_record import (
    CONFIG,
    FINISHED,
    MODEL_URI,
    OWNER,
    REPEAT_OF,
    RESULT,
    RETRIES,
    RETRY_OF,
    RUN_ID,
    SECONDS_PER_EPOCH,
    TRAINING,
)
from pipeline.training import Epoch, Untrainable


class EndedTrial(NamedTuple):
    """A trial that has come to its end, and its state; it has no best epoch if it diverged, or memory was short."""

    trial: int
    name: str
    config: TrainConfig
    best: Epoch | None
    state: str
    seconds: float


class Repeated(Exception):
    """The trial's config has been tried, or is being tried, by the trial of this number."""


class Training(NamedTuple):
    """What a trial is to train, how it shows in MLflow, and whether its best epoch's model is to be kept."""

    stage: str
    name: str
    config: TrainConfig
    wants_model: Callable[[Epoch], bool]
    tags: Mapping[str, str] = MappingProxyType({})
    prunes: bool = False


def run_trial(config: TuneConfig, parent: str, deadline: float, number: int) -> EndedTrial | None:
    """Run one trial of the study, unless it has enough of them or time is up.

    Args:
        config: the studies.
        parent: id of the MLflow run under which the trial nests.
        deadline: seconds since the epoch after which no trial starts.
        number: of the task, so that no two draw the same random trial.
    """
    store = open_store_once(config.data_config())
    study = studies.open_study(config, store.digest, number)

    def wanted() -> bool:
        finished, running, _ = studies.trial_counts(study)
        if finished + running >= studies.trial_goal(config) or time.time() >= deadline:
            return False
        studies.enqueue_start(study, config)
        return True

    def suggest(trial: Trial) -> Training:
        training = studies.suggest(trial, config)
        with start_lock(study, config.storage):  # of two that come to the same config, one must see the other
            _refuse_repetition(trial, training)
        name = f"trial-{trial.number:03d} {describe(training)}"
        may_be_pruned = not (mode_of(config) == HEADS_FIRST_MODE and training.freeze_backbone)  # what takes seconds
        return Training("trial", name, training, lambda best: _is_record(study, best, config), prunes=may_be_pruned)

    while True:
        try:
            return run_next(study, config, parent, store, wanted, suggest)
        except Repeated:  # the sampler has settled on a point
            if not _enqueue_another(study, config):
                return None


@lru_cache(maxsize=1)
def open_store_once(config: DataConfig) -> Store:
    """Return the prepared photos, found once per process."""
    return prepared_store(config)


def run_next(
    study: Study,
    config: TuneConfig,
    parent: str,
    store: Store,
    wanted: Callable[[], bool],
    suggest: Callable[[Trial], Training],
) -> EndedTrial | None:
    """Run the next trial of a study, if it is still ``wanted`` once the study is locked.

    Raises:
        Repeated: by ``suggest``; the trial is marked as failed.
    """
    ended: list[EndedTrial] = []

    def objective(trial: Trial) -> float:
        trial.set_user_attr(OWNER, owner_mark())
        start.release()  # as soon as others can see that it runs, and whose it is
        try:
            training = suggest(trial)
            trial.set_user_attr(CONFIG, training.config.model_dump(mode="json"))
            ended.append(_train(trial, training, parent, store))
        except (KeyboardInterrupt, tracking.StoreGone):
            if RESULT not in trial.user_attrs:
                enqueue_again(study, trial)
                raise
        if trial.user_attrs[RESULT]["pruned"]:
            raise optuna.TrialPruned
        return float(trial.user_attrs[RESULT]["value"])

    start = start_lock(study, config.storage)  # else two could both take the last trial
    with start:
        settle_trials(study, tracking.close_run)
        if wanted():
            study.optimize(objective, n_trials=1)
    return ended[0] if ended else None


def _refuse_repetition(trial: Trial, wanted: TrainConfig) -> None:
    key = training_key(wanted)
    tried = (*FINISHED, TrialState.RUNNING)
    for other in trial.study.get_trials(deepcopy=False, states=tried):
        if other.number != trial.number and other.user_attrs.get(TRAINING) == key:
            trial.set_user_attr(REPEAT_OF, other.number)
            raise Repeated(other.number)
    trial.set_user_attr(TRAINING, key)


def _enqueue_another(study: Study, config: TuneConfig) -> bool:
    """Make a random config that nobody has tried the next one; return False where there seems to be none."""
    tried = {trial.user_attrs.get(TRAINING) for trial in study.get_trials(deepcopy=False)}
    kind = kind_of_next(study, config)
    other = studies.draw_untried_point(study, config, kind, lambda training: training_key(training) not in tried)
    if other is not None:
        study.enqueue_trial(other)
    return other is not None


def _train(trial: Trial, training: Training, parent: str, store: Store) -> EndedTrial:
    clock = time.perf_counter()
    wanted = training.config
    tags = {"trial": str(trial.number), tracking.STUDY: trial.study.study_name, **training.tags}
    if RETRY_OF in trial.user_attrs:
        tags |= {RETRY_OF: str(trial.user_attrs[RETRY_OF]), RETRIES: str(trial.user_attrs[RETRIES])}
    pruned, objective = False, wanted.objective
    ended: list[float] = []

    def report(epoch: Epoch) -> bool:
        nonlocal pruned
        ended.append(time.perf_counter())
        trial.report(getattr(epoch, objective), epoch.epoch)
        may_be_pruned = training.prunes and epoch.epoch < wanted.epochs
        pruned = pruned or (may_be_pruned and bool(trial.should_prune()))  # a bool of NumPy is not JSON
        return pruned

    with tracking.run(training.stage, training.name, wanted, tags, parent, training_key(wanted)) as run_id:
        trial.set_user_attr(RUN_ID, run_id)
        log_store(store)
        best, state = None, ""
        result: dict[str, object] = {"value": 0.0, "pruned": True, "diverged": True}
        try:
            trained = tracked_fit(wanted, store, report, lambda best: not pruned and training.wants_model(best))
        except Untrainable as error:  # it would fail again; the sampler takes it for a pruned one, and learns from it
            tracking.set_note(str(error))
            state = error.state
        else:
            best = trained.best
            result = {"value": getattr(best, objective), "pruned": pruned, "val_accuracy": best.val_accuracy}
            if len(ended) > 1:
                result[SECONDS_PER_EPOCH] = (ended[-1] - ended[0]) / (len(ended) - 1)
            trial.set_user_attr(MODEL_URI, trained.model_uri)
            state = "pruned" if pruned else "complete"
        tracking.set_tags({"trial_state": state})
        trial.set_user_attr(RESULT, result)  # from here on nothing is trained again
    return EndedTrial(trial.number, training.name, wanted, best, state, time.perf_counter() - clock)


def _is_record(study: Study, best: Epoch, config: TuneConfig) -> bool:
    score = config.judged_by.score
    own = score(getattr(best, config.objective))
    return all(own >= score(trial.value or 0.0) for trial in studies.ranked(study))  # the winner of a tie, too
