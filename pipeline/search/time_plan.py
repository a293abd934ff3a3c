"""The plan of a search in time: what it will do and about how long that takes, and when its parts end.

With ``timeout_s`` the whole search is to end in that time: trials end early enough for the confirmations of the best,
and confirmations for plots, report and registration. What a confirmation takes is known from the trials themselves.
"""

from __future__ import annotations

import math
import time
from collections.abc import Collection
from dataclasses import dataclass
from datetime import datetime
from statistics import fmean, median

from optuna.study import Study
from optuna.trial import FrozenTrial, TrialState

from pipeline.config import TuneConfig
from pipeline.experiment import MachineSpeed, expected_seconds, trainings_end
from pipeline.search import study as studies
from pipeline.search.confirmations import Retraining, select_confirmations
from pipeline.search.plan import FINE_TUNED_VARIANTS, is_head
from pipeline.search.space_file import HEADS_FIRST_MODE, mode_of, space_of
from pipeline.search.trial_record import FINISHED, RESULT, SECONDS_PER_EPOCH

AFTER_S = 60.0  # for plots, report and registration
LEAST_TRIALS = 6  # of a search by time; trials become shorter for so many to fit
WORTH_BEGINNING = 0.5  # of a training: one that would not get so far in the time left is not begun
MOST_CONFIRMED = 0.5  # of the time; where all confirmations would take more, fewer are made
WORTH_TRYING = 0.8  # of what several confirmations are expected to take: so much time must be left to begin them all


def describe_plan(config: TuneConfig, trials: float | None = None) -> str:
    """Return a line on what the search will do, with the number of ``trials`` that fit its time, if that is known."""
    goal, variants = studies.trial_goal(config), space_of(config).choices("variant")
    heads, fit = heads_of(config), ""
    if math.isfinite(goal):
        many = f"{goal - heads:.0f} "
    else:
        many, fit = f"about {max(1.0, trials - heads):.0f} " if trials is not None else "", " (as many as fit)"
    parts = [f"{many}trials of {config.epochs} epochs at {config.image_size} px{fit}"]
    if mode_of(config) == HEADS_FIRST_MODE:
        few = min(FINE_TUNED_VARIANTS, len(variants))
        with_best = f" with the best {few}" if few > 1 else ""
        parts = [
            f"{heads} heads on features of {', '.join(map(str, variants))} at {config.image_size} px",
            f"{many}fine-tuning trials of {config.epochs} epochs{with_best}{fit}",
        ]
    again = config.confirm_top_k * config.confirm_seeds
    if again:
        parts.append(f"{again} of them trained again for {round(config.confirm_epochs_factor * config.epochs)} epochs")
    return f"plan: {', then '.join(parts)}"


@dataclass(frozen=True)
class Expected:
    """About what the parts of a search take, in seconds, if no trial is pruned; workers share the machine."""

    heads: float
    trial: float
    again: float

    def total(self, config: TuneConfig) -> float:
        """Return what all takes with a number of trials."""
        trials = studies.trial_goal(config) - heads_of(config)
        return self.heads + trials * self.trial + self.again

    def trials_in(self, config: TuneConfig, seconds: float) -> float:
        """Return how many trials, heads included, fit into a time with the confirmations."""
        return heads_of(config) + max(0.0, (seconds - self.heads - self.again) / self.trial)


def heads_of(config: TuneConfig) -> int:
    """Return how many trials are heads that come before the others."""
    goal = studies.trial_goal(config)
    return int(min(config.head_trials, goal)) if mode_of(config) == HEADS_FIRST_MODE else 0


def expected_parts(
    config: TuneConfig, train_photos: int, val_photos: int, speed: MachineSpeed | None
) -> Expected | None:
    """Return about what the parts of the search take on a machine of this speed; None where that is not known."""
    if speed is None:
        return None
    variants = [str(variant) for variant in space_of(config).choices("variant")]

    def seconds(**changes: object) -> list[float]:
        trainings = [config.train_config(variant=variant, **changes) for variant in variants]
        return [expected_seconds(training, train_photos, val_photos, speed) for training in trainings]

    heads = heads_of(config)
    trial, again = fmean(seconds()), fmean(seconds(epochs=round(config.confirm_epochs_factor * config.epochs)))
    of_heads = sum(seconds(freeze_backbone=True, head_epochs=0, start_size=0, unfreeze_from="stem")) if heads else 0.0
    of_heads += max(0, heads - len(variants)) * speed.startup_s  # on features that are there
    return Expected(of_heads, trial, config.confirm_top_k * config.confirm_seeds * again)


def fits_in_time(config: TuneConfig, train_photos: int, val_photos: int, speed: MachineSpeed | None) -> bool:
    """Return whether enough trials, and the confirmations, are expected to fit into ``timeout_s``."""
    expected = expected_parts(config, train_photos, val_photos, speed)
    if expected is None:
        return True
    wanted = heads_of(config) + min(LEAST_TRIALS, studies.trial_goal(config) - heads_of(config))
    return expected.trials_in(config, seconds_for_trainings(config)) >= wanted


def seconds_for_trainings(config: TuneConfig) -> float:
    """Return what of ``timeout_s`` is for trials and confirmations."""
    return trainings_end(0.0, config.timeout_s, AFTER_S)


class TimePlan:
    """When the parts of a running search end, as Unix times in seconds; never, without ``timeout_s``."""

    def __init__(self, config: TuneConfig, study: Study, began: float, done: Collection[Retraining] = ()) -> None:
        self._config, self._study, self._done = config, study, done
        self.end = trainings_end(began, config.timeout_s, AFTER_S)

    def trials_end(self) -> float:
        """Return when trials end: with the confirmations, as soon as a trial has shown what they take."""
        return self.end - (self.confirmation_seconds() or 0.0)

    def confirmation_seconds(self) -> float | None:
        """Return about what the confirmations take that time is kept for; None before a trial has shown it."""
        affordable = self._affordable(MOST_CONFIRMED * self._config.timeout_s)
        return confirmation_seconds(self._study, self._config, affordable, self._done)

    def is_worth_beginning(self) -> bool:
        """Return whether a trial that is begun now may get far enough."""
        if not math.isfinite(self.end):
            return True
        ended = [trial for trial in self._study.get_trials(deepcopy=False) if trial.state in FINISHED]
        usual = median(map(seconds_of, ended[-LEAST_TRIALS:])) if ended else 0.0
        return time.time() + WORTH_BEGINNING * usual < self.trials_end()

    def confirmed(self) -> int:
        """Return how many of the best trials are to be confirmed in the time that is left.

        The best is tried even where time is short: what it does not finish, another search goes on with.
        """
        left = self.end - time.time()
        first = min(1, self._config.confirm_top_k) if WORTH_BEGINNING * self._seconds_of(1) < left else 0
        return max(first, self._affordable(left / WORTH_TRYING))

    def _affordable(self, seconds: float) -> int:
        top_k = self._config.confirm_top_k
        if not math.isfinite(self.end):
            return top_k
        return max((k for k in range(top_k + 1) if self._seconds_of(k) <= seconds), default=0)

    def _seconds_of(self, confirmed: int) -> float:
        return confirmation_seconds(self._study, self._config, confirmed, self._done) or 0.0


def confirmation_seconds(
    study: Study, config: TuneConfig, top_k: int | None = None, done: Collection[Retraining] = ()
) -> float | None:
    """Return about what the confirmations of the best ``top_k`` trials take, without those that are ``done``.

    None before a trial is complete. A confirmation takes as much longer than its trial as its further epochs do; where
    a head is among the best, as a fine-tuning, which it may yet give way to.
    """
    top_k = config.confirm_top_k if top_k is None else top_k
    complete = studies.ranked(study)
    tuned = [trial for trial in complete if not is_head(trial)]
    if not complete or (not tuned and heads_of(config) < studies.trial_goal(config)):
        return None
    wanted = select_confirmations(config.model_copy(update={"confirm_top_k": top_k}), study)
    again = top_k * config.confirm_seeds - len(set(done).intersection(wanted))
    if not again:
        return 0.0
    times = [_seconds_again(trial, config) for trial in (tuned or complete)[:top_k]]
    return again * fmean(times) / min(config.workers, again)


def _seconds_again(trial: FrozenTrial, config: TuneConfig) -> float:
    """Return about what the confirmation of a trial takes; of one epoch, it is not known what was start-up."""
    seconds, further = seconds_of(trial), config.confirm_epochs_factor - 1
    epoch = trial.user_attrs.get(RESULT, {}).get(SECONDS_PER_EPOCH)
    return seconds + further * (seconds if epoch is None else epoch * config.epochs)


def seconds_left(study: Study, config: TuneConfig, plan: TimePlan | None = None) -> float | None:
    """Estimate the seconds left for missing trials and confirmations; None before a trial of each missing kind ends.

    From the median time of the finished trials of a kind, which are heads or the others, and by the time that there is.
    """
    by_time = plan.end - time.time() if plan and math.isfinite(plan.end) else None
    trials = study.get_trials(deepcopy=False)
    goal, heads = studies.trial_goal(config), heads_of(config)
    left = 0.0
    for of_heads, wanted in ((True, heads), (False, goal - heads)):
        own = [trial for trial in trials if is_head(trial) == of_heads]
        times = [seconds_of(trial) for trial in own if trial.state in FINISHED]
        if not times and wanted:
            return by_time
        if wanted:
            usual = median(times)
            under_way = sum(min(seconds_of(trial), usual) for trial in own if trial.state == TrialState.RUNNING)
            left += max(0, wanted - len(times)) * usual - under_way
    again = plan.confirmation_seconds() if plan else confirmation_seconds(study, config)
    if again is None:
        again = config.confirm_top_k * config.confirm_seeds * config.confirm_epochs_factor * usual / config.workers
    left = max(0.0, left / config.workers + again)
    return left if by_time is None else max(0.0, min(left, by_time))


def seconds_of(trial: FrozenTrial) -> float:
    """Return the seconds that a trial has taken so far."""
    if trial.datetime_start is None:
        return 0.0
    return ((trial.datetime_complete or datetime.now()) - trial.datetime_start).total_seconds()
