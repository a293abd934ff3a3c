"""The record of a trial in its study: the names of its user attributes.

Processes that share a study know of each other's trials by these alone, and studies of earlier versions have them.
"""

from __future__ import annotations

from typing import Any

from optuna.trial import FrozenTrial, TrialState

OWNER = "process"
"""Host, pid and start time of the process that runs the trial."""

CONFIG = "config"
"""The flags of its training."""

TRAINING = "training"
"""What identifies its training, by which a repeated config is noticed."""

RUN_ID = "run_id"
"""Its MLflow run."""

MODEL_URI = "model_uri"
"""The model that it has logged; empty if none."""

RESULT = "result"
"""``{"value": objective, "pruned": bool, "val_accuracy": float}``, kept before its run is closed and the study is told.

One that diverged is a pruned one, and has ``"diverged": True``, too. One of several epochs has `SECONDS_PER_EPOCH`.
"""

SECONDS_PER_EPOCH = "seconds_per_epoch"
"""What an epoch has taken, all but the first."""

RETRY_OF, RETRIES = "retry_of", "retries"
"""The trial that died, of which this one is another try, and the number of tries before."""

REPEAT_OF = "repeat_of"
"""The trial that has, or has had, the same config."""

FINISHED = (TrialState.COMPLETE, TrialState.PRUNED)


def has_diverged(trial: FrozenTrial) -> bool:
    """Return whether the trial cannot be trained to its end: its loss is no number, or memory is short."""
    return bool(trial.user_attrs.get(RESULT, {}).get("diverged"))


def enqueued_params(trial: FrozenTrial) -> dict[str, Any]:
    """Return the parameters that a trial was enqueued with; Optuna keeps them in a system attribute."""
    return dict(trial.system_attrs.get("fixed_params", {}))
