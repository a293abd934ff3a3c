"""The search: what is searched, the Optuna study, and how a trial becomes a training config.

Owns every search range, each with its reason. What a trial does is handed in by the caller; this module knows
neither MLflow nor Keras.
"""

from __future__ import annotations

import hashlib
import json
import random
import warnings
from collections.abc import Callable, Sequence
from typing import Any

import optuna
from optuna.study import Study
from optuna.trial import FrozenTrial, Trial, TrialState
from sqlalchemy.engine import make_url
from sqlalchemy.exc import ArgumentError

from pipeline.config import Augment, Schedule, TrainConfig, TuneConfig, UserError, first_line
from pipeline.orphans import LOCAL_FOLDER, storage_of

FINISHED = (TrialState.COMPLETE, TrialState.PRUNED)

# Peak learning rate and weight decay at which each optimizer usually trains a ResNet. A trial suggests factors around
# them, so that what it learns of "too fast" and "too weak" carries over between optimizers whose scales differ
# 1,000-fold. sgd: He et al. 2015; adamw: Wightman et al. 2021 (ResNet strikes back); lion: Chen et al. 2023.
USUAL_RATES: dict[str, tuple[float, float]] = {"adamw": (1e-3, 0.05), "sgd": (0.1, 5e-4), "lion": (1e-4, 0.5)}
SCHEDULES: tuple[Schedule, ...] = ("cosine", "exponential", "step")  # constant: lr_decay=1 of each of them
AUGMENTS: tuple[Augment, ...] = ("medium", "light", "strong")  # how much pays depends on photos and epochs
RATE_FACTOR = (0.1, 10.0)  # a factor of ten both ways: beyond it a ResNet diverges or hardly moves
WEIGHT_DECAY_FACTOR = (0.1, 10.0)
KEPT_PERCENT = 75.0  # of the trials at an epoch; 40 stopped one that led the later winner there (docs/log.md)
LR_DECAY = (1e-3, 0.3)  # below, the last epochs change nothing; above, the rate never settles


def suggest(trial: Trial, config: TuneConfig) -> TrainConfig:
    """Return the training that a trial shall try: the one place where the search space is written."""
    optimizer = trial.suggest_categorical("optimizer", list(USUAL_RATES))
    rate, weight_decay = USUAL_RATES[optimizer]
    return config.train_config(
        variant=trial.suggest_categorical("variant", list(config.variants)),
        augment=trial.suggest_categorical("augment", list(_augments(config))),
        optimizer=optimizer,
        learning_rate=rate * trial.suggest_float("learning_rate_factor", *RATE_FACTOR, log=True),
        weight_decay=weight_decay * trial.suggest_float("weight_decay_factor", *WEIGHT_DECAY_FACTOR, log=True),
        lr_schedule=trial.suggest_categorical("lr_schedule", list(SCHEDULES)),
        lr_decay=trial.suggest_float("lr_decay", *LR_DECAY, log=True),
    )


def known_good(config: TuneConfig) -> list[dict[str, Any]]:
    """Return the trials to begin with: the flags themselves, then each optimizer's usual rates.

    Each of the latter takes another variant and augmentation, so that the sampler has seen every choice early.
    """
    usual: list[dict[str, Any]] = [
        {
            "variant": config.variants[-1 - place % len(config.variants)],
            "augment": _augments(config)[(place + 1) % len(_augments(config))],
            "optimizer": name,
            "learning_rate_factor": 1.0,
            "weight_decay_factor": 1.0,
            "lr_schedule": "cosine",
            "lr_decay": 0.01,
        }
        for place, name in enumerate(USUAL_RATES)
    ]
    if unsearched(config):
        return usual
    rate, weight_decay = USUAL_RATES[config.optimizer]
    base = {
        "variant": config.variant if config.variant in config.variants else config.variants[0],
        "augment": config.augment,
        "optimizer": config.optimizer,
        "learning_rate_factor": _clip(config.learning_rate / rate, RATE_FACTOR),
        "weight_decay_factor": _clip(config.weight_decay / weight_decay, WEIGHT_DECAY_FACTOR),
        "lr_schedule": config.lr_schedule,
        "lr_decay": _clip(config.lr_decay, LR_DECAY),
    }
    return [base, *(start for start in usual if start != base)]


def unsearched(config: TuneConfig) -> dict[str, tuple[str, Sequence[str]]]:
    """Return the flags whose value no trial will have: name -> (value, what is searched instead)."""
    choices: dict[str, Sequence[str]] = {"optimizer": tuple(USUAL_RATES), "lr_schedule": SCHEDULES}
    values = {name: str(getattr(config, name)) for name in choices}
    return {name: (values[name], choice) for name, choice in choices.items() if values[name] not in choice}


def _augments(config: TuneConfig) -> Sequence[str]:
    return AUGMENTS if config.augment in AUGMENTS else (config.augment,)  # none: a mirrored letter is another letter


def _clip(value: float, limits: tuple[float, float]) -> float:
    return min(max(value, limits[0]), limits[1])


def open_study(config: TuneConfig, data_digest: str, worker: int = 0) -> Study:
    """Open or create the study of this search.

    Args:
        config: the search.
        data_digest: of the prepared photos; part of the study's default name.
        worker: number of the worker, so that no two draw the same random trials.

    Raises:
        UserError: the storage cannot be opened.
    """
    optuna.logging.set_verbosity(optuna.logging.ERROR)  # it shows a failed trial as a traceback
    warnings.filterwarnings("ignore", category=optuna.exceptions.ExperimentalWarning)  # heartbeats, since version 2.5
    LOCAL_FOLDER.mkdir(exist_ok=True)
    try:
        study = optuna.create_study(
            study_name=study_name(config, data_digest),
            storage=storage_of(config.storage),
            pruner=_pruner(config),
            direction="maximize",
            load_if_exists=True,
        )
    except Exception as error:  # SQLAlchemy, its drivers and Optuna each raise their own
        raise UserError(
            f"storage must be a database URL that Optuna can open, got {_without_password(config.storage)}: "
            f"{first_line(error)} (try sqlite:///mlruns/optuna.db)"
        ) from error
    study.sampler = _sampler(config, f"{config.seed} {worker} {len(study.get_trials(deepcopy=False))}")
    return study


def _without_password(storage: str) -> str:
    try:
        return repr(make_url(storage).render_as_string(hide_password=True))
    except ArgumentError:
        return repr(storage.rpartition("@")[2])


def study_name(config: TuneConfig, data_digest: str) -> str:
    """Return the study's name: trials belong together if data and every flag that a trial sees are the same."""
    if config.study_name:
        return config.study_name
    searched = {"variant", "augment", "optimizer", "learning_rate", "weight_decay", "lr_schedule", "lr_decay", "data"}
    fixed = config.train_config().model_dump(mode="json", exclude=searched | {"model_name", "resume"})
    text = json.dumps([data_digest, fixed, config.variants, _augments(config), config.pruner], sort_keys=True)
    return f"tune-{hashlib.sha256(text.encode()).hexdigest()[:10]}"


def _sampler(config: TuneConfig, key: str) -> optuna.samplers.BaseSampler:
    """Return a sampler whose random numbers follow from ``key``: no worker and no later call repeats another."""
    seed = random.Random(key).getrandbits(32)
    if config.sampler == "random":
        return optuna.samplers.RandomSampler(seed=seed)
    return optuna.samplers.TPESampler(
        seed=seed, n_startup_trials=6, multivariate=True, constant_liar=config.workers > 1
    )


def _pruner(config: TuneConfig) -> optuna.pruners.BasePruner:
    warmup = max(1, config.epochs // 3)  # before that, the order of the trials says little about their end
    table: dict[str, Callable[[], optuna.pruners.BasePruner]] = {
        "percentile": lambda: optuna.pruners.PercentilePruner(KEPT_PERCENT, n_startup_trials=4, n_warmup_steps=warmup),
        "median": lambda: optuna.pruners.MedianPruner(n_startup_trials=4, n_warmup_steps=warmup),
        "hyperband": lambda: optuna.pruners.HyperbandPruner(min_resource=warmup, max_resource=config.epochs),
        "none": optuna.pruners.NopPruner,
    }
    return table[config.pruner]()


def trial_counts(study: Study) -> tuple[int, int, int]:
    """Return how many trials are finished (complete or pruned), running, and failed."""
    states = [trial.state for trial in study.get_trials(deepcopy=False)]
    finished = sum(state in FINISHED for state in states)
    return finished, states.count(TrialState.RUNNING), states.count(TrialState.FAIL)


def ranked(study: Study) -> list[FrozenTrial]:
    """Return the complete trials, best first."""
    complete = study.get_trials(deepcopy=False, states=(TrialState.COMPLETE,))
    return sorted(complete, key=lambda trial: (-(trial.value or 0.0), trial.number))
