"""Recovery of trials whose process died: find them, settle them, enqueue them again; and the storage with heartbeats.

Whether a process lives is told by its owner mark, or else by its heartbeat.

Optuna's own `RetryHeartbeatStaleTrialCallback` was not taken: it sees neither a trial that was killed before its first
beat nor the last one of a study, and of most processes it is known at once that they are gone.
"""

from __future__ import annotations

import contextlib
import warnings
from collections.abc import Callable
from pathlib import Path

import optuna
from optuna.study import Study
from optuna.trial import FrozenTrial, Trial, TrialState

from pipeline.config import TuneConfig, with_variables
from pipeline.processes import is_gone, is_here
from pipeline.search.study_lock import Lock, study_lock
from pipeline.search.trial_record import OWNER, RESULT, RETRIES, RETRY_OF, RUN_ID, enqueued_params

HEARTBEAT_S, GRACE_S = 30, 120
LOCAL_STORAGE: str = TuneConfig.model_fields["storage"].default
MOST_RETRIES = 2  # of a trial whose process died

CloseRun = Callable[[str], None]


def storage_of(url: str, has_tables: bool = False) -> optuna.storages.RDBStorage:
    """Open an Optuna storage in which running trials send heartbeats.

    Args:
        url: of the database.
        has_tables: whether they are known to be there and of this version, which takes a tenth of a second to find out.

    Raises:
        UserError: the address names a variable that is not set.
    """
    address = with_variables(url)
    with (
        contextlib.nullcontext() if has_tables else study_lock(address, "tables")
    ):  # two processes that create tables at the same time fail
        return optuna.storages.RDBStorage(
            address,
            skip_table_creation=has_tables,
            skip_compatibility_check=has_tables,
            engine_kwargs={"pool_pre_ping": True},  # a server may have been restarted between two trials
            heartbeat_interval=HEARTBEAT_S,
            grace_period=GRACE_S,
            heartbeat_stale_trial_callback=_retry,  # of trials that `optuna.storages.fail_stale_trials` finds
        )


def recover_studies(close_run: CloseRun) -> list[str]:
    """Recover the dead trials of all studies in the local storage; return the names of those studies."""
    if not Path(LOCAL_STORAGE.removeprefix("sqlite:///")).exists():
        return []
    warnings.filterwarnings("ignore", category=optuna.exceptions.ExperimentalWarning)
    storage = storage_of(LOCAL_STORAGE)
    recovered = []
    for name in optuna.get_all_study_names(storage):
        study = optuna.load_study(study_name=name, storage=storage)
        with start_lock(study, LOCAL_STORAGE):
            if any(OWNER in trial.user_attrs for trial in study.get_trials(deepcopy=False)) and settle_trials(
                study, close_run
            ):
                recovered.append(name)
    return recovered


def start_lock(study: Study, url: str) -> Lock:
    """Return the lock under which a study's trials are counted, started and given up."""
    return study_lock(with_variables(url), study.study_name)


def settle_trials(study: Study, close_run: CloseRun) -> list[FrozenTrial]:
    """Settle the running trials whose process died, and return them. Call it under `start_lock`.

    A trial with a result is finished with it, and ``close_run`` closes its run; any other is failed and enqueued again.
    Processes that have certainly ended are found at once, others after `GRACE_S` without a heartbeat.
    """
    silent = _fail_silent(study)
    for trial in silent:
        if RESULT in trial.user_attrs:
            close_run(trial.user_attrs[RUN_ID])
            study.add_trial(_finished(trial))  # what is marked as failed stays so
    orphaned = _orphaned(study)
    for trial in orphaned:
        if RESULT in trial.user_attrs:
            close_run(trial.user_attrs[RUN_ID])
            _tell(study, trial)
        else:
            _retry(study, trial)  # before it is failed: killed between the two, the next one does both
            study.tell(trial.number, state=TrialState.FAIL)
    return [*silent, *orphaned]


def _finished(trial: FrozenTrial) -> FrozenTrial:
    """Return a finished copy of a trial, with its result."""
    result = trial.user_attrs[RESULT]
    return optuna.trial.create_trial(
        state=TrialState.PRUNED if result["pruned"] else TrialState.COMPLETE,
        value=None if result["pruned"] else result["value"],
        params=trial.params,
        distributions=trial.distributions,
        user_attrs=trial.user_attrs | {RETRY_OF: trial.number},
        intermediate_values=trial.intermediate_values,
    )


def _tell(study: Study, trial: FrozenTrial) -> None:
    result = trial.user_attrs[RESULT]
    if result["pruned"]:
        study.tell(trial.number, state=TrialState.PRUNED)
    else:
        study.tell(trial.number, result["value"])


def _retry(study: Study, trial: FrozenTrial) -> None:
    """Enqueue a dead trial again, at most `MOST_RETRIES` times: it may have been the cause."""
    retries = trial.user_attrs.get(RETRIES, 0) + 1
    if retries <= MOST_RETRIES and RESULT not in trial.user_attrs:
        enqueue_again(study, trial, retries)


def enqueue_again(study: Study, trial: FrozenTrial | Trial, retries: int = 0) -> None:
    """Enqueue a trial's parameters again, unless they wait already; its training resumes from its checkpoint."""
    waiting = study.get_trials(deepcopy=False, states=(TrialState.WAITING,))
    params = {**enqueued_params(study.get_trials(deepcopy=False)[trial.number]), **trial.params}
    if params and all(other.user_attrs.get(RETRY_OF) != trial.number for other in waiting):
        study.enqueue_trial(params, user_attrs={RETRY_OF: trial.number, RETRIES: retries})


def _fail_silent(study: Study) -> list[FrozenTrial]:
    """Fail the running trials of other folders without a heartbeat, which `_retry` enqueues again; return them."""
    running = study.get_trials(deepcopy=False, states=(TrialState.RUNNING,))
    if all(is_here(trial.user_attrs[OWNER]) for trial in running if OWNER in trial.user_attrs):
        return []  # a query for every running trial is saved
    optuna.storages.fail_stale_trials(study)
    now = study.get_trials(deepcopy=False)
    return [trial for trial in running if now[trial.number].state == TrialState.FAIL]


def _orphaned(study: Study) -> list[FrozenTrial]:
    """Return the running trials whose process died.

    Under the lock every trial of a living process has its owner mark. Trials are read a second time, because a process
    may finish its trial, and exit, between the first reading and the check of the process.
    """
    running = study.get_trials(deepcopy=False, states=(TrialState.RUNNING,))
    gone = {trial.number for trial in running if OWNER not in trial.user_attrs or is_gone(trial.user_attrs[OWNER])}
    now = study.get_trials(states=(TrialState.RUNNING,)) if gone else []
    return [trial for trial in now if trial.number in gone]
