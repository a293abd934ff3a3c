"""After the search: retrain the best configs with fresh seeds, finish some pruned ones, and pick the winner.

These trainings are trials of a second study, ``<study>-again``, and so they are recovered like trials: each is done
once, whatever dies, and a finished search has nothing left to do.
"""

from __future__ import annotations

import math
import random
from collections.abc import Collection, Mapping, Sequence
from statistics import fmean, stdev
from typing import NamedTuple

import pandas as pd
from optuna.study import Study
from optuna.trial import FrozenTrial, Trial, TrialState

from pipeline.config import TrainConfig, TuneConfig, UserError, restore_config
from pipeline.experiment import describe
from pipeline.search import study as studies
from pipeline.search.trial_record import CONFIG, FINISHED, MODEL_URI, RUN_ID, enqueued_params, has_diverged
from pipeline.search.trials import EndedTrial, Training, open_store_once, run_next

CONFIRM, AUDIT = "confirm", "audit"
LARGEST_INTEGER = 2**53  # of a trial's number, a seed, and a number of epochs: whole numbers that Optuna keeps exactly


class Retraining(NamedTuple):
    """A trial's config to train again: for which stage, and with which seed and number of epochs."""

    stage: str
    trial: int
    seed: int
    epochs: int


class Confirmation(NamedTuple):
    """The result of a `Retraining`: the objective at its best epoch, and its model."""

    trial: int
    seed: int
    value: float
    run_id: str
    model_uri: str


class Winner(NamedTuple):
    """The winning config: its trial, mean and spread of the objective over its fresh seeds, and its best model."""

    trial: int
    value: float
    spread: float  # standard deviation; NaN with fewer than two seeds
    seeds: int
    run_id: str
    model_uri: str

    @property
    def description(self) -> str:
        """Its value with what that is the mean of."""
        if not self.seeds:
            return f"{self.value:.4f} (in the search, which selected it as the best)"
        if self.seeds == 1:
            return f"{self.value:.4f} (one fresh seed; confirm_seeds=3 shows the spread)"
        return f"{self.value:.4f} ± {self.spread:.4f} (mean and standard deviation of {self.seeds} fresh seeds)"


def select_confirmations(
    config: TuneConfig, study: Study, lost: Collection[Retraining] = frozenset()
) -> list[Retraining]:
    """Return the retrainings that confirm the search: the best trials, best first, each with every fresh seed.

    The best score of many trials is biased upwards, because it was picked for being the best. A config that diverges
    with a fresh seed is among the ``lost`` ones, and the next best takes its place.

    Raises:
        UserError: no trial is complete.
    """
    best = studies.ranked(study)
    if not best:
        raise UserError(_why_none_is_complete(study))
    lost_trials = {again.trial for again in lost if again.stage == CONFIRM}
    best = [trial for trial in best if trial.number not in lost_trials]
    epochs = round(config.confirm_epochs_factor * config.epochs)
    seeds = range(config.seed + 1, config.seed + config.confirm_seeds + 1)
    return [Retraining(CONFIRM, trial.number, seed, epochs) for trial in best[: config.confirm_top_k] for seed in seeds]


def _why_none_is_complete(study: Study) -> str:
    trials = study.get_trials(deepcopy=False)
    diverged = sum(map(has_diverged, trials))
    remedy = (
        f"{diverged} of {len(trials)} diverged: lower learning_rate, or the range of learning_rate_factor in a space"
        if diverged
        else "look at the failed runs in the UI; raise timeout_s or n_trials"
    )
    return f"a search needs at least one complete trial, got none in study {study.study_name} ({remedy})"


def select_audits(config: TuneConfig, study: Study, lost: Collection[Retraining] = frozenset()) -> list[Retraining]:
    """Return a sample of the pruned trials to finish with their own seed, without ``lost`` ones; always the same."""
    stopped = study.get_trials(deepcopy=False, states=(TrialState.PRUNED,))
    pruned = [trial for trial in stopped if not has_diverged(trial)]
    lots = {trial.number: random.Random(f"{config.seed} {trial.number}").random() for trial in pruned}
    sample = sorted(lots, key=lambda number: lots[number])[: config.prune_audit]
    wanted = [Retraining(AUDIT, number, config.seed, config.epochs) for number in sample]
    return [again for again in wanted if again not in lost]


def ended_retrainings(config: TuneConfig, study: Study) -> dict[Retraining, Confirmation]:
    """Return the results of the retrainings that have ended, also of trials that are no longer among the best."""
    second = studies.find_second_study(config, study)
    complete = second.get_trials(deepcopy=False, states=(TrialState.COMPLETE,)) if second else []
    ended = {again: trial for trial in complete if (again := _of(trial))}
    return {again: _confirmation(again, trial) for again, trial in ended.items()}


def lost_retrainings(config: TuneConfig, study: Study) -> set[Retraining]:
    """Return the retrainings that diverged."""
    second = studies.open_second_study(config, study)
    found = (_of(trial) for trial in second.get_trials(deepcopy=False) if has_diverged(trial))
    return {again for again in found if again}


def why_unconfirmed(config: TuneConfig, study: Study, lost: Collection[Retraining]) -> str:
    """Return why a search that is over confirmed nothing; ``lost`` are the retrainings that diverged."""
    if not config.confirm_top_k:
        return "none was asked for (confirm_top_k=0)"
    diverged = sum(again.stage == CONFIRM for again in lost)
    if diverged and not select_confirmations(config, study, lost):
        return f"of {diverged} that were begun, all diverged (lower the learning rates)"
    also = f"; {diverged} diverged" if diverged else ""
    return f"there was no time left to finish one (raise timeout_s or lower epochs){also}"


def confirmations_of(again: Mapping[Retraining, Confirmation]) -> list[Confirmation]:
    """Return the results that confirm, without the audits."""
    return [done for wanted, done in again.items() if wanted.stage == CONFIRM]


def _of(trial: FrozenTrial) -> Retraining | None:
    params = {**enqueued_params(trial), **trial.params}
    return Retraining(**params) if params.keys() >= set(Retraining._fields) else None


def _confirmation(again: Retraining, trial: FrozenTrial) -> Confirmation:
    attributes = trial.user_attrs
    return Confirmation(again.trial, again.seed, trial.value or 0.0, attributes[RUN_ID], attributes[MODEL_URI])


def retrain(config: TuneConfig, parent: str, again: Retraining) -> EndedTrial | None:
    """Retrain a config in its own run under the run ``parent``, unless that is done or in progress."""
    store = open_store_once(config.data_config())
    study = studies.open_study(config, store.digest, worker=0)
    second = studies.open_second_study(config, study)

    def wanted() -> bool:
        states = {trial.state for trial in second.get_trials(deepcopy=False) if _of(trial) == again}
        if states & {*FINISHED, TrialState.RUNNING}:
            return False
        if TrialState.WAITING not in states:
            second.enqueue_trial(again._asdict())
        return True

    def suggest(trial: Trial) -> Training:
        stage = trial.suggest_categorical("stage", [CONFIRM, AUDIT])
        numbers = {name: trial.suggest_int(name, 0, LARGEST_INTEGER) for name in ("trial", "seed", "epochs")}
        first, changes = numbers["trial"], {"seed": numbers["seed"], "epochs": numbers["epochs"]}
        training = restore_config(TrainConfig, study.trials[first].user_attrs[CONFIG] | changes)
        name = f"{stage}-{first:03d} seed={training.seed} {describe(training)}"
        tags = {"trial": str(first), "search": study.study_name}
        return Training(stage, name, training, lambda _: stage == CONFIRM, tags)

    return run_next(second, config, parent, store, wanted, suggest)


def pick_winner(study: Study, confirmations: Sequence[Confirmation]) -> Winner:
    """Return the config with the best mean over its seeds, or the best trial if none was confirmed."""
    if not confirmations:
        best = studies.ranked(study)[0]
        return Winner(best.number, best.value or 0.0, math.nan, 0, best.user_attrs[RUN_ID], best.user_attrs[MODEL_URI])
    by_trial: dict[int, list[Confirmation]] = {}
    for confirmation in confirmations:
        by_trial.setdefault(confirmation.trial, []).append(confirmation)
    means = {trial: fmean(seed.value for seed in seeds) for trial, seeds in by_trial.items()}
    rank = {trial.number: place for place, trial in enumerate(studies.ranked(study))}
    trial = max(by_trial, key=lambda number: (studies.score_of(study, means[number]), -rank[number]))
    top = max(by_trial[trial], key=lambda seed: (studies.score_of(study, seed.value), -seed.seed))
    values = [seed.value for seed in by_trial[trial]]
    spread = stdev(values) if len(values) > 1 else math.nan
    return Winner(trial, means[trial], spread, len(values), top.run_id, top.model_uri)


def prune_regret(study: Study, audits: Sequence[Confirmation]) -> float:
    """Return by how much the best audited trial beats the best complete one, with the same seed and epochs.

    Negative where the sample shows no loss by pruning.
    """
    best = studies.score_of(study, studies.ranked(study)[0].value or 0.0)
    return max(studies.score_of(study, audit.value) for audit in audits) - best


def describe_audit(study: Study, audits: Sequence[Confirmation], objective: str) -> str:
    """Return a line on what pruning has cost."""
    regret, best = prune_regret(study, audits), max(audits, key=lambda audit: studies.score_of(study, audit.value))
    compared = f"{abs(regret):.4f} {'better' if regret > 0 else 'worse'} than the best of the search"
    remedy = " (the pruner stopped a better one: try pruner=none)" if regret > 0 else ""
    return (
        f"{len(audits)} pruned trials, finished: the best is trial {best.trial} with {objective} "
        f"{best.value:.4f}, {compared}{remedy}"
    )


def retraining_table(study: Study, again: Mapping[Retraining, Confirmation], objective: str) -> pd.DataFrame:
    """Return a row per training: stage, trial, seed, epochs, the objective, that of the search, and run_id."""
    of_search = {trial.number: trial.value for trial in studies.ranked(study)}
    return pd.DataFrame(
        [
            {**wanted._asdict(), objective: done.value, f"search_{objective}": of_search.get(wanted.trial)}
            | {"run_id": done.run_id}
            for wanted, done in again.items()
        ],
        columns=[*Retraining._fields, objective, f"search_{objective}", "run_id"],
    )
