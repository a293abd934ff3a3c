"""Trials whose process is gone: found, marked as failed, and lined up again; and the storage that knows of heartbeats.

Optuna's own `RetryHeartbeatStaleTrialCallback` was not taken: it sees neither a trial that was killed before its first
beat nor the last one of a study, and a process of this host is known to be gone at once.
"""

from __future__ import annotations

import warnings
from datetime import datetime
from pathlib import Path

import optuna
from filelock import FileLock
from optuna.study import Study
from optuna.trial import FrozenTrial, Trial, TrialState

from pipeline.config import TuneConfig
from pipeline.processes import is_gone

HEARTBEAT_S, GRACE_S = 30, 120
LOCAL_FOLDER = Path("mlruns")  # holds the default storage, and locks
LOCAL_STORAGE: str = TuneConfig.model_fields["storage"].default
MOST_RETRIES = 2  # of a trial whose process died
RETRY_OF, RETRIES = "retry_of", "retries"  # user attributes: the trial that died, and how often that has happened
OWNER = "process"  # user attribute: host, pid and start time of the process that runs a trial


def storage_of(url: str) -> optuna.storages.RDBStorage:
    """Open an Optuna storage in which running trials say now and then that they live."""
    return optuna.storages.RDBStorage(
        url,
        heartbeat_interval=HEARTBEAT_S,
        grace_period=GRACE_S,
        heartbeat_stale_trial_callback=_retry,  # of trials that `optuna.storages.fail_stale_trials` finds
    )


def mend_studies() -> list[str]:
    """Line up again, in the local storage, the trials whose process is gone; return the names of their studies."""
    if not Path(LOCAL_STORAGE.removeprefix("sqlite:///")).exists():
        return []
    warnings.filterwarnings("ignore", category=optuna.exceptions.ExperimentalWarning)
    storage = storage_of(LOCAL_STORAGE)
    mended = []
    for name in optuna.get_all_study_names(storage):
        study = optuna.load_study(study_name=name, storage=storage)
        with start_lock(study):
            if any(OWNER in trial.user_attrs for trial in study.get_trials(deepcopy=False)) and fail_orphans(study):
                mended.append(name)
    return mended


def start_lock(study: Study) -> FileLock:
    """Return the lock under which trials are counted, started and given up."""
    return FileLock(LOCAL_FOLDER / f".{study.study_name}.lock")


def fail_orphans(study: Study) -> list[FrozenTrial]:
    """Mark as failed the running trials whose process is gone; return those of this host, which are known at once.

    Those of other hosts are known by their heartbeat, which is silent for `GRACE_S` by then.
    """
    optuna.storages.fail_stale_trials(study)
    orphans = [trial for trial in study.get_trials(states=(TrialState.RUNNING,)) if _is_orphan(trial)]
    for trial in orphans:
        study.tell(trial.number, state=TrialState.FAIL)
        _retry(study, trial)
    return orphans


def _retry(study: Study, trial: FrozenTrial) -> None:
    """Line up a trial whose process died, though not for ever: it may have been the cause."""
    retries = trial.user_attrs.get(RETRIES, 0) + 1
    if trial.params and retries <= MOST_RETRIES:
        line_up_again(study, trial, retries)


def line_up_again(study: Study, trial: FrozenTrial | Trial, retries: int = 0) -> None:
    """Make a trial's parameters the next to be tried, where the training goes on from its checkpoint."""
    study.enqueue_trial(trial.params, user_attrs={RETRY_OF: trial.number, RETRIES: retries})


def _is_orphan(trial: FrozenTrial) -> bool:
    if OWNER in trial.user_attrs:
        return is_gone(trial.user_attrs[OWNER])
    # killed before its first words, unless it has only just begun
    return trial.datetime_start is None or (datetime.now() - trial.datetime_start).total_seconds() > GRACE_S
