"""When the parts of a search end that has a time, and what it expects to do in it."""

from __future__ import annotations

import math
import time
from datetime import datetime, timedelta
from typing import Any

import optuna
import pytest
from optuna.study import Study
from optuna.trial import TrialState, create_trial

from pipeline.config import TuneConfig
from pipeline.experiment.expected_time import AFTER_SHARE, MachineSpeed
from pipeline.search.confirmations import CONFIRM, Retraining
from pipeline.search.time_plan import (
    AFTER_S,
    LEAST_TRIALS,
    TimePlan,
    describe_plan,
    expected_parts,
    fits_in_time,
    seconds_left,
)

HOUR_S = 3600.0
BEGAN = time.time()
SLOW = MachineSpeed(10.0)


def _config(**flags: Any) -> TuneConfig:
    return TuneConfig(**{"weights": "none", "epochs": 8, "timeout_s": HOUR_S} | flags)


def _study(*seconds: float, state: TrialState = TrialState.COMPLETE) -> Study:
    """A study of trials that took so many seconds; the first is the best."""
    study = optuna.create_study(direction="maximize")
    for place, taken in enumerate(seconds):
        trial = create_trial(state=state, value=1 - place / 10 if state == TrialState.COMPLETE else None)
        trial.datetime_start = datetime.now() - timedelta(seconds=taken)
        trial.datetime_complete = datetime.now()
        study.add_trial(trial)
    return study


def _trials_end(config: TuneConfig, study: Study) -> float:
    """Return the seconds after its beginning at which the trials of a search end."""
    return TimePlan(config, study, BEGAN).trials_end() - BEGAN


def test_trials_end_in_time_for_the_confirmations_of_the_best() -> None:
    all_but_the_end = HOUR_S - AFTER_S
    assert _trials_end(_config(), _study()) == pytest.approx(all_but_the_end)
    assert _trials_end(_config(), _study(60, 40, 999)) == pytest.approx(all_but_the_end - 2.5 * (60 + 40), abs=1)
    assert _trials_end(_config(workers=2), _study(60, 40)) == pytest.approx(all_but_the_end - 2.5 * 50, abs=1)
    assert _trials_end(_config(confirm_top_k=0), _study(60, 40)) == pytest.approx(all_but_the_end)
    assert _trials_end(_config(), _study(60, state=TrialState.PRUNED)) == pytest.approx(all_but_the_end)
    assert _trials_end(_config(timeout_s=100), _study()) == pytest.approx(100 * (1 - AFTER_SHARE))
    assert _trials_end(_config(timeout_s=0), _study(60)) == math.inf


def test_where_confirmations_would_take_most_of_the_time_fewer_are_made() -> None:
    assert _trials_end(_config(), _study(400, 300)) == pytest.approx(HOUR_S - AFTER_S - 2.5 * (400 + 300), abs=1)
    assert _trials_end(_config(), _study(500, 300)) == pytest.approx(HOUR_S - AFTER_S - 2.5 * 500, abs=1)
    assert _trials_end(_config(), _study(2000, 300)) == pytest.approx(HOUR_S - AFTER_S)


def test_the_best_is_confirmed_also_where_the_time_may_not_be_enough() -> None:
    late = time.time() - HOUR_S + AFTER_S  # such that a hundred seconds are left
    for seconds, confirmed in (((10, 10), 2), ((30, 30), 1), ((75, 10), 1), ((85, 10), 0)):
        assert TimePlan(_config(), _study(*seconds), late + 100).confirmed() == confirmed
    assert TimePlan(_config(timeout_s=0), _study(9999), 0.0).confirmed() == 2
    assert TimePlan(_config(confirm_top_k=0), _study(10, 10), late + 100).confirmed() == 0


def test_no_time_is_kept_for_what_an_earlier_search_has_confirmed() -> None:
    study, epochs = _study(60, 40), round(2.5 * 8)
    first, second = (Retraining(CONFIRM, trial, 1, epochs) for trial in (0, 1))
    late = time.time() - HOUR_S + AFTER_S + 10  # with ten seconds left
    for done, seconds, confirmed in (((first,), 2.5 * 50, 1), ((first, second), 0, 2), ((), 2.5 * (60 + 40), 0)):
        plan = TimePlan(_config(), study, BEGAN, done)
        assert plan.confirmation_seconds() == pytest.approx(seconds, abs=1)
        assert plan.trials_end() == pytest.approx(plan.end - seconds, abs=1)
        assert TimePlan(_config(), study, late, done).confirmed() == confirmed


def test_a_trial_that_would_not_get_half_way_is_not_begun() -> None:
    for seconds, worth in ((60, True), (400, False)):
        plan = TimePlan(_config(confirm_top_k=0), _study(seconds), time.time() - HOUR_S + AFTER_S + 100)
        assert plan.is_worth_beginning() == worth
    assert TimePlan(_config(timeout_s=0), _study(9999), 0.0).is_worth_beginning()


def test_the_time_left_is_bounded_by_the_time_there_is() -> None:
    plan = TimePlan(_config(), _study(60), BEGAN)
    assert seconds_left(_study(), _config(), plan) == pytest.approx(plan.end - time.time(), abs=1)
    assert seconds_left(_study(60), _config(), plan) == pytest.approx(plan.end - time.time(), abs=1)
    config, study = _config(n_trials=3), _study(1, 1)
    assert seconds_left(study, config, TimePlan(config, study, BEGAN)) == pytest.approx(1 + 2.5 * 2, abs=1)


def test_more_time_is_worth_longer_trials_until_enough_fit() -> None:
    here, fitting = (3000, 300, SLOW), []
    for timeout_s in (600.0, HOUR_S, 10 * HOUR_S):
        fit = [epochs for epochs in range(3, 200) if fits_in_time(_config(timeout_s=timeout_s, epochs=epochs), *here)]
        assert fit == list(range(3, 3 + len(fit)))
        fitting.append(len(fit))
        if fit:
            config = _config(timeout_s=timeout_s, epochs=fit[-1])
            expected = expected_parts(config, *here)
            assert expected is not None
            assert LEAST_TRIALS <= expected.trials_in(config, timeout_s) <= 2 * LEAST_TRIALS
    assert fitting == sorted(fitting)
    assert fitting[-1] > 8 * fitting[1]
    assert fits_in_time(_config(timeout_s=1, epochs=200), 3000, 300, None)  # nothing is known of the machine


def test_heads_are_cheap_in_the_plan() -> None:
    flags: dict[str, Any] = {"weights": "imagenet", "image_size": 64, "head_epochs": 2, "unfreeze_lr_factor": 0.3}
    config = _config(**flags, head_trials=6)
    expected = expected_parts(config, 3000, 300, SLOW)
    assert expected is not None
    assert expected.heads < 6 * expected.trial / 2
    assert expected.trials_in(config, 20 * HOUR_S) > 12
    assert describe_plan(config, 9.4).startswith("plan: 6 heads on features of resnet18, resnet18_v2")
    assert "then about 3 fine-tuning trials of 8 epochs with the best 2 (as many as fit)" in describe_plan(config, 9.4)
    by_time = _config(confirm_top_k=0)
    assert describe_plan(by_time, 9.4) == "plan: about 9 trials of 8 epochs at 64 px (as many as fit)"
    assert describe_plan(by_time) == "plan: trials of 8 epochs at 64 px (as many as fit)"
