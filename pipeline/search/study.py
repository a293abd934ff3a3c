"""The Optuna study: opened, named, sampled and pruned; and how a trial becomes a training config.

What is searched is written in `space`, what a trial does in `trials`. Knows neither MLflow nor Keras.
"""

from __future__ import annotations

import contextlib
import hashlib
import json
import random
import warnings
from collections.abc import Callable, Iterator, Mapping
from typing import Any, Literal, NamedTuple

import optuna
from optuna.study import Study, StudyDirection
from optuna.trial import FrozenTrial, Trial, TrialState

from pipeline.config import (
    RUNS_FOLDER,
    TrainConfig,
    TuneConfig,
    UserError,
    first_line,
    identifying_flags,
    without_passwords,
)
from pipeline.search.plan import next_of_plan
from pipeline.search.recovery import LOCAL_STORAGE, storage_of
from pipeline.search.space import FACTORS, HEAD, Dimension, is_integer, usual_flags
from pipeline.search.space_file import HEADS_FIRST_MODE, flags_not_searched, mode_of, space_of
from pipeline.search.trial_record import FINISHED, REPEAT_OF, RETRY_OF, enqueued_params

KEPT_PERCENT = 75.0  # of the trials at an epoch; 40 stopped one that led the later winner there (docs/log.md)
MOST_DRAWS = 1000  # of a point that nobody has tried
# Attributes of a study: its name by the flags as they were typed, and what weights=auto and open epochs came to.
BEGUN_BY, BEGUN_WITH, BEGUN_EPOCHS = "begun_by", "begun_with", "begun_epochs"
UNIMPORTANT_FLAGS = {"data", "recipe", "model_name", "resume"}  # the photos are known by their digest


def suggest(trial: Trial, config: TuneConfig) -> TrainConfig:
    """Return the training that a trial shall try: a point of the search's space."""
    space = space_of(config)
    is_head = HEAD in space.dimensions and bool(_suggest(trial, HEAD, space.dimensions[HEAD]))
    params = {name: _suggest(trial, name, of) for name, of in space.dimensions_of(is_head).items()}
    return config.train_config(**space.flags(params))


def _suggest(trial: Trial, name: str, dimension: Dimension) -> Any:
    if isinstance(dimension, tuple):
        return trial.suggest_categorical(name, list(dimension))
    if is_integer(name):
        return trial.suggest_int(name, int(dimension.low), int(dimension.high), log=dimension.log)
    return trial.suggest_float(name, dimension.low, dimension.high, log=dimension.log)


def trial_goal(config: TuneConfig) -> float:
    """Return how many finished trials a search ends with: all the points there are, if that is fewer than n_trials.

    It is infinite where the search ends by its time.
    """
    return min(config.most_trials, space_of(config).size)


def draw_untried_point(
    study: Study, config: TuneConfig, fixed: Mapping[str, Any], is_new: Callable[[TrainConfig], bool]
) -> dict[str, Any] | None:
    """Return a random point of the space whose training is new, or None where many draws find none.

    Args:
        study: of the search.
        config: the search.
        fixed: values of some dimensions.
        is_new: says of a training whether nobody has tried it.
    """
    seed = random.Random(f"{config.seed} {len(study.get_trials(deepcopy=False))}").getrandbits(32)
    draws = optuna.create_study(sampler=optuna.samplers.RandomSampler(seed=seed))
    for _ in range(MOST_DRAWS):
        if fixed:
            draws.enqueue_trial(dict(fixed))
        trial = draws.ask()
        if is_new(suggest(trial, config)):
            return dict(trial.params)
    return None


def known_good_starts(config: TuneConfig) -> list[dict[str, Any]]:
    """Return the trials to begin with: the flags themselves, then each optimizer's usual rates.

    Each of the latter takes another variant and augmentation, so that the sampler has seen every choice early.
    """
    space = space_of(config)
    of_flags = config.optimizer in space.choices("optimizer") and not flags_not_searched(config, space)
    starts = [space.params(config)] if of_flags else []
    for place, optimizer in enumerate(space.choices("optimizer")):
        usual = space.params(config.model_copy(update=usual_flags(str(optimizer))))
        for name, shift in (("variant", -1 - place), ("augment", place + 1)):
            if name in space.dimensions:
                usual[name] = space.choices(name)[shift % len(space.choices(name))]
        starts += [] if usual in starts else [usual]
    return starts


def enqueue_start(study: Study, config: TuneConfig) -> None:
    """Enqueue the next untried one of `known_good_starts`: one at a time, or an interrupted trial would come last.

    Of a search that begins with heads, the next trial's kind and variant are enqueued, as its plan wants them.
    """
    trials = study.get_trials(deepcopy=False)
    if any(trial.state == TrialState.WAITING for trial in trials):
        return
    if mode_of(config) == HEADS_FIRST_MODE:
        study.enqueue_trial(next_of_plan(study, config))
        return
    begun = [enqueued_params(trial) for trial in trials]
    for start in known_good_starts(config):
        if start not in begun:
            study.enqueue_trial(start)
            return


def open_study(config: TuneConfig, data_digest: str, worker: int | None = None) -> Study:
    """Open or create the study of this search.

    Args:
        config: the search.
        data_digest: of the prepared photos; part of the study's default name.
        worker: its number, so that no two draw the same random trials; None for who opens the study first.

    Raises:
        UserError: the storage cannot be opened.
    """
    with _opening(config):
        study = optuna.create_study(
            study_name=study_name(config, data_digest),
            storage=storage_of(config.storage, has_tables=worker is not None),
            pruner=pruner_of(config),
            direction=direction_of(config),
            load_if_exists=True,
        )
    study.sampler = _sampler(config, f"{config.seed} {worker or 0} {len(study.get_trials(deepcopy=False))}")
    return study


def direction_of(config: TuneConfig) -> Literal["minimize", "maximize"]:
    """Return Optuna's name of the direction in which the objective gets better."""
    return "minimize" if config.judged_by.is_loss else "maximize"


@contextlib.contextmanager
def _opening(config: TuneConfig) -> Iterator[None]:
    optuna.logging.set_verbosity(optuna.logging.ERROR)  # it shows a failed trial as a traceback
    warnings.filterwarnings("ignore", category=optuna.exceptions.ExperimentalWarning)  # heartbeats, since version 2.5
    RUNS_FOLDER.mkdir(exist_ok=True)
    try:
        yield
    except Exception as error:  # SQLAlchemy, its drivers and Optuna each raise their own
        raise UserError(
            f"storage must be a database URL that Optuna can open, got {without_passwords(config.storage)!r}: "
            f"{first_line(error)} (try {LOCAL_STORAGE})"
        ) from error


class Begun(NamedTuple):
    """What a study was begun with where that was left open: weights, and epochs by time; empty and 0 where not."""

    weights: str = ""
    epochs: int = 0


def record_start(study: Study, typed: TuneConfig, resolved: TuneConfig, data_digest: str) -> None:
    """Record in a new study what ``weights=auto``, and epochs chosen by time, have come to, where they were typed."""
    by_time = typed.timeout_s and not typed.epochs
    if BEGUN_BY in study.user_attrs or not (typed.weights == "auto" or by_time):
        return
    study.set_user_attr(BEGUN_BY, study_name(typed, data_digest))
    study.set_user_attr(BEGUN_WITH, resolved.weights)
    if by_time:
        study.set_user_attr(BEGUN_EPOCHS, resolved.epochs)


def recorded_start(typed: TuneConfig, data_digest: str) -> Begun:
    """Return what the study of a search was begun with, where weights or epochs are left open.

    A study that knows of no ``auto`` is of an earlier default, ``none``: it is gone on with if it has not ended.

    Raises:
        UserError: the storage cannot be opened.
    """
    by_time = typed.timeout_s and not typed.epochs
    if typed.weights != "auto" and not by_time:
        return Begun()
    name, random = study_name(typed, data_digest), TuneConfig(**typed.model_dump() | {"weights": "none"})
    with _opening(typed):
        storage = storage_of(typed.storage)
        studies = {study.study_name: study.user_attrs for study in storage.get_all_studies()}
    for attributes in studies.values():
        if attributes.get(BEGUN_BY) == name and (BEGUN_EPOCHS in attributes) == bool(by_time):
            weights = str(attributes[BEGUN_WITH]) if typed.weights == "auto" else ""
            return Begun(weights, int(attributes.get(BEGUN_EPOCHS, 0)))
    earlier = study_name(random, data_digest)
    if typed.weights != "auto" or earlier not in studies or BEGUN_BY in studies[earlier]:
        return Begun()
    finished, _, _ = trial_counts(optuna.load_study(study_name=earlier, storage=storage))
    return Begun("none" if finished < trial_goal(random) else "")


def open_second_study(config: TuneConfig, study: Study) -> Study:
    """Open or create the study of the trainings that follow a search; nothing is sampled in it, and nothing pruned."""
    return optuna.create_study(
        study_name=second_study_name(study),
        storage=storage_of(config.storage, has_tables=True),
        sampler=optuna.samplers.RandomSampler(),
        pruner=optuna.pruners.NopPruner(),
        direction=direction_of(config),
        load_if_exists=True,
    )


def find_second_study(config: TuneConfig, study: Study) -> Study | None:
    """Return the study of the trainings that follow a search, to be read, if there is one."""
    name, storage = second_study_name(study), storage_of(config.storage, has_tables=True)
    with contextlib.suppress(KeyError):
        return optuna.load_study(study_name=name, storage=storage, sampler=optuna.samplers.RandomSampler())
    return None


def second_study_name(study: Study) -> str:
    """Return the name of the study of the trainings that follow a search."""
    return f"{study.study_name}-again"


def study_name(config: TuneConfig, data_digest: str) -> str:
    """Return the study's name: trials belong together if data and every flag that a trial sees are the same."""
    if config.study_name:
        return config.study_name
    text = json.dumps([data_digest, fixed_flags(config), space_of(config).to_dict(), config.pruner], sort_keys=True)
    return f"tune-{hashlib.sha256(text.encode()).hexdigest()[:10]}"


def fixed_flags(config: TuneConfig) -> dict[str, Any]:
    """Return the flags that all trials of a search share and that their results depend on, as JSON values."""
    space = space_of(config)
    searched = {FACTORS.get(name, name) for name in (*space.dimensions, *space.fixed)}
    fixed = identifying_flags(config.train_config(), exclude=searched | UNIMPORTANT_FLAGS)
    return fixed | {"weights": config.weights}  # those of every variant, not of one alone


def _sampler(config: TuneConfig, key: str) -> optuna.samplers.BaseSampler:
    """Return a sampler whose random numbers follow from ``key``: no worker and no later call repeats another."""
    seed = random.Random(key).getrandbits(32)
    if config.sampler == "random":
        return optuna.samplers.RandomSampler(seed=seed)
    return optuna.samplers.TPESampler(
        seed=seed, n_startup_trials=6, multivariate=True, constant_liar=config.workers > 1
    )


def pruner_of(config: TuneConfig) -> optuna.pruners.BasePruner:
    """Return what stops a trial early, by its objective at an epoch among those of the others."""
    head_epochs = (
        config.head_epochs if mode_of(config) == HEADS_FIRST_MODE else 0
    )  # of a head each trial has seen as many
    warmup = head_epochs + max(1, (config.epochs - head_epochs) // 3)  # before that, their order says little
    table: dict[str, Callable[[], optuna.pruners.BasePruner]] = {
        "percentile": lambda: optuna.pruners.PercentilePruner(KEPT_PERCENT, n_startup_trials=4, n_warmup_steps=warmup),
        "median": lambda: optuna.pruners.MedianPruner(n_startup_trials=4, n_warmup_steps=warmup),
        "hyperband": lambda: optuna.pruners.HyperbandPruner(min_resource=warmup, max_resource=config.epochs),
        "none": optuna.pruners.NopPruner,
    }
    return table[config.pruner]()


def trial_counts(study: Study) -> tuple[int, int, int]:
    """Return how many trials are finished (complete or pruned), running, and failed.

    Repeated ones do not count, nor those that were stopped and another one continues.
    """
    trials = study.get_trials(deepcopy=False)
    continued = {trial.user_attrs.get(RETRY_OF) for trial in trials}
    states = [trial.state for trial in trials if REPEAT_OF not in trial.user_attrs and trial.number not in continued]
    finished = sum(state in FINISHED for state in states)
    return finished, states.count(TrialState.RUNNING), states.count(TrialState.FAIL)


def ranked(study: Study) -> list[FrozenTrial]:
    """Return the complete trials, best first."""
    complete = study.get_trials(deepcopy=False, states=(TrialState.COMPLETE,))
    return sorted(complete, key=lambda trial: (-score_of(study, trial.value or 0.0), trial.number))


def score_of(study: Study, value: float) -> float:
    """Return a value of the study's trials as a number of which more is better."""
    return -value if study.direction == StudyDirection.MINIMIZE else value
