"""The search: what is suggested, what makes a study, how it begins, and what becomes of trials whose process died."""

from __future__ import annotations

import json
import os
import socket
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import optuna
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from optuna.study import Study
from optuna.trial import TrialState

from pipeline.config import OBJECTIVES, TrainConfig, TuneConfig, UserError
from pipeline.processes import owner_mark
from pipeline.search import recovery
from pipeline.search import study as studies
from pipeline.search.space import FACTORS, USUAL_RATES, Dimension, Range, is_integer
from pipeline.search.space_file import space_of
from pipeline.search.trial_record import OWNER, RESULT, RETRY_OF, RUN_ID

# Optuna's word on asking for a trial instead of calling optimize, which is what the tests do for speed.
pytestmark = pytest.mark.filterwarnings("ignore:Heartbeat of storage:UserWarning")

VARIANTS = ("resnet18", "resnet50_vd")


@pytest.fixture
def config(tmp_path: Path) -> Callable[..., TuneConfig]:
    """A maker of search configs whose study lies in a folder of the test's own."""

    def make(**flags: object) -> TuneConfig:
        return TuneConfig(
            **{"weights": "none", "storage": f"sqlite:///{tmp_path}/optuna.db", "variants": VARIANTS} | flags
        )

    return make


def _assert_in_the_search_space(trained: TrainConfig, config: TuneConfig) -> None:
    assert trained.variant in config.variants
    space = space_of(config)
    assert trained.lr_schedule in space.choices("lr_schedule")
    assert trained.augment in space.choices("augment")
    rate, weight_decay = USUAL_RATES[trained.optimizer]
    for value, name in [
        (trained.learning_rate / rate, "learning_rate_factor"),
        (trained.weight_decay / weight_decay, "weight_decay_factor"),
        (trained.lr_decay, "lr_decay"),
    ]:
        wanted = space.dimensions[name]
        assert isinstance(wanted, Range)
        assert wanted.low * (1 - 1e-9) <= value <= wanted.high * (1 + 1e-9)
    searched = {"variant", "augment", "optimizer", "learning_rate", "weight_decay", "lr_schedule", "lr_decay"}
    assert trained.model_dump(exclude=searched) == config.train_config().model_dump(exclude=searched)


MODES: list[dict[str, Any]] = [
    {},
    {"augment": "none", "variants": ("resnet34",)},
    {"freeze_backbone": True, "weights": "imagenet"},
    {"weights": "imagenet"},
    {"weights": "imagenet", "head_epochs": 2},
    {"space": '{"batch_size": {"low": 8, "high": 64, "log": true}, "mixup": [0, 0.2], "learning_rate": 0.01}'},
]


@given(
    mode=st.sampled_from(MODES),
    flags=st.fixed_dictionaries({"epochs": st.integers(3, 50), "seed": st.integers(0, 9), "ema": st.just(0.9)}),
    data=st.data(),
)
@settings(deadline=None, max_examples=60)
def test_every_point_of_every_space_is_a_valid_training(
    mode: dict[str, Any], flags: dict[str, Any], data: st.DataObject
) -> None:
    config = TuneConfig(**{"weights": "none", "variants": VARIANTS} | mode | flags)
    space = space_of(config)
    point = {name: data.draw(_values(name, of), label=name) for name, of in space.dimensions.items()}
    trained = studies.suggest(optuna.trial.FixedTrial(point), config)
    for name, value in {**space.fixed, **point}.items():
        if name in FACTORS:
            usual = USUAL_RATES[trained.optimizer][list(FACTORS).index(name)]
            assert getattr(trained, FACTORS[name]) == pytest.approx(value * usual)
        else:
            assert getattr(trained, name) == value
    searched = {FACTORS.get(name, name) for name in (*space.dimensions, *space.fixed)}
    assert trained.model_dump(exclude=searched) == config.train_config().model_dump(exclude=searched)


def _values(name: str, dimension: Dimension) -> st.SearchStrategy[Any]:
    if isinstance(dimension, tuple):
        return st.sampled_from(dimension)
    whole = is_integer(name)
    return st.integers(int(dimension.low), int(dimension.high)) if whole else st.floats(dimension.low, dimension.high)


@pytest.mark.parametrize("sampler", ["tpe", "random"])
def test_samplers_stay_in_the_space_and_go_all_over_it(sampler: str, config: Callable[..., TuneConfig]) -> None:
    wanted = config(sampler=sampler, image_size=64)
    study = studies.open_study(wanted, "digest")
    tried = []
    for number in range(15):
        trial = study.ask()
        tried.append(studies.suggest(trial, wanted))
        study.tell(trial, number / 15)
    for trained in tried:
        _assert_in_the_search_space(trained, wanted)
    assert len({trained.model_dump_json() for trained in tried}) == 15
    assert {trained.variant for trained in tried} == set(VARIANTS)
    assert len({trained.optimizer for trained in tried}) >= 2


def test_workers_try_different_things_and_a_seed_repeats_itself(
    tmp_path: Path, config: Callable[..., TuneConfig]
) -> None:
    def first(number: int, **flags: int) -> TrainConfig:
        wanted = config(storage=f"sqlite:///{tmp_path}/{number}.db", sampler="random", seed=flags.get("seed", 0))
        studies.open_study(wanted, "digest")  # as the parent does
        return studies.suggest(studies.open_study(wanted, "digest", flags.get("worker", 0)).ask(), wanted)

    assert first(1) == first(2)
    assert len({trained.learning_rate for trained in (first(3), first(4, worker=1), first(5, seed=7))}) == 3


@pytest.mark.parametrize("sampler", ["tpe", "random"])
def test_a_search_that_goes_on_does_not_try_the_same_again(sampler: str, config: Callable[..., TuneConfig]) -> None:
    wanted = config(sampler=sampler)
    tried = []
    for _ in range(2):  # as in two calls of tune with a larger n_trials, or one that was killed and called again
        study = studies.open_study(wanted, "digest")
        for _ in range(3):
            trial = study.ask()
            tried.append(studies.suggest(trial, wanted).model_dump_json())
            study.tell(trial, 0.5)
    assert len(set(tried)) == 6


@pytest.mark.parametrize("pruner", ["percentile", "median", "hyperband", "none"])
@pytest.mark.parametrize("epochs", [1, 20])
def test_every_pruner_opens(pruner: str, epochs: int, config: Callable[..., TuneConfig]) -> None:
    study = studies.open_study(config(pruner=pruner, epochs=epochs, warmup_epochs=0), "digest")
    trial = study.ask()
    trial.report(0.5, 1)
    assert trial.should_prune() is False
    assert study.direction == optuna.study.StudyDirection.MAXIMIZE


def test_a_study_is_found_again_with_its_trials(config: Callable[..., TuneConfig]) -> None:
    study = studies.open_study(config(), "digest")
    study.tell(study.ask(), 0.5)
    again = studies.open_study(config(n_trials=99), "digest", worker=1)
    assert again.study_name == study.study_name
    assert studies.trial_counts(again) == (1, 0, 0)
    assert studies.trial_counts(studies.open_study(config(), "another digest")) == (0, 0, 0)


def test_the_study_changes_with_all_that_a_trial_sees() -> None:
    base = TuneConfig(weights="none")
    name = studies.study_name(base, "digest")
    assert name.startswith("tune-")
    other: list[dict[str, object]] = [{"epochs": 77}, {"batch_size": 77}, {"seed": 77}, {"augment": "none"}]
    other += [{"weights": "models:/a@b"}, {"image_size": 992}, {"variants": VARIANTS}, {"pruner": "none"}]
    other += [{"classes": ("red", "blue")}, {"image_ops": ("grey",)}, {"split_seed": 77}]
    other += [{"space": '{"dropout": 0.5}'}, {"space": '{"dropout": [0.5, 0.1]}'}, {"space": '{"batch_size": 128}'}]
    names = [
        name,
        studies.study_name(base, "other"),
        *(studies.study_name(TuneConfig(**{"weights": "none"} | flags), "digest") for flags in other),
    ]
    assert len(set(names)) == len(names)


@pytest.mark.parametrize(
    "flags",
    # What is searched is no part of a trial's surroundings, nor is how much, how fast and where it is searched.
    [
        *[{"n_trials": 99}, {"workers": 4}, {"timeout_s": 60}, {"storage": "sqlite:///other.db"}, {"confirm_top_k": 5}],
        *[
            {"model_name": "tulips"},
            {"learning_rate": 0.5},
            {"optimizer": "sgd"},
            {"augment": "strong"},
            {"data": "the/same/photos/elsewhere"},
        ],
    ],
    ids=repr,
)
def test_the_study_stays_the_same_otherwise(flags: dict[str, object]) -> None:
    assert studies.study_name(TuneConfig(**{"weights": "none"} | flags), "digest") == studies.study_name(
        TuneConfig(weights="none"), "digest"
    )


def test_a_study_name_that_is_given_is_taken() -> None:
    assert studies.study_name(TuneConfig(weights="none", study_name="mine"), "digest") == "mine"


@pytest.mark.parametrize(
    "flags",
    [
        {},
        {"optimizer": "sgd", "learning_rate": 0.1, "weight_decay": 5e-4},
        {"optimizer": "lion", "learning_rate": 1e-4, "weight_decay": 0.5},
        {"learning_rate": 5e-3, "lr_schedule": "step"},
        {"optimizer": "adam"},
        {"lr_schedule": "constant"},
        {"learning_rate": 100.0, "weight_decay": 0.0, "lr_decay": 1.0},
        {"variant": "resnet152"},
        {"augment": "strong"},
        {"augment": "none"},
    ],
    ids=repr,
)
def test_a_search_begins_with_known_good_trials_each_once(
    flags: dict[str, Any], config: Callable[..., TuneConfig]
) -> None:
    wanted = config(**flags)
    starts = studies.known_good_starts(wanted)
    assert len({tuple(sorted(start.items())) for start in starts}) == len(starts)
    assert {start["optimizer"] for start in starts} == set(space_of(wanted).choices("optimizer"))
    assert {start["variant"] for start in starts} == set(VARIANTS)
    study = studies.open_study(wanted, "digest")
    tried = []
    for _ in range(len(starts) + 1):
        for _ in range(2):
            studies.enqueue_start(study, wanted)
        tried.append(studies.suggest(study.ask(), wanted))
    for trained in tried:
        _assert_in_the_search_space(trained, wanted)
    assert len({trained.model_dump_json() for trained in tried}) == len(starts) + 1
    assert [trial.system_attrs.get("fixed_params") for trial in study.get_trials()] == [*starts, None]


def test_an_interrupted_trial_goes_on_before_another_begins(config: Callable[..., TuneConfig]) -> None:
    study = studies.open_study(config(), "digest")
    studies.enqueue_start(study, config())
    interrupted = study.ask()
    params = studies.suggest(interrupted, config())
    recovery.enqueue_again(study, interrupted)
    study.tell(interrupted, state=TrialState.FAIL)
    studies.enqueue_start(study, config())
    assert studies.suggest(study.ask(), config()) == params


def test_the_first_trial_is_what_the_flags_say(config: Callable[..., TuneConfig]) -> None:
    wanted = config(optimizer="sgd", learning_rate=0.05, lr_schedule="step", lr_decay=0.02, variant="resnet50_vd")
    trained = studies.suggest(optuna.trial.FixedTrial(studies.known_good_starts(wanted)[0]), wanted)
    asked_for = wanted.train_config(weight_decay=trained.weight_decay)
    assert trained.model_dump(exclude={"learning_rate"}) == asked_for.model_dump(exclude={"learning_rate"})
    assert trained.learning_rate == pytest.approx(0.05)


def _owner_that_is_gone() -> str:
    code = "from pipeline.processes import owner_mark; print(owner_mark())"
    return subprocess.run([sys.executable, "-c", code], stdout=subprocess.PIPE, text=True, check=True).stdout.strip()


def _no_run(run_id: str) -> None:
    raise AssertionError(f"no trial has a result, and so no run to close, got {run_id}")


def test_a_trial_that_had_come_to_its_end_is_finished_with_what_it_had(config: Callable[..., TuneConfig]) -> None:
    study = studies.open_study(config(), "digest")
    gone, closed = _owner_that_is_gone(), []
    for result in ({"value": 0.7, "pruned": False}, {"value": 0.5, "pruned": True}):
        trial = study.ask()
        studies.suggest(trial, config())
        trial.report(0.5, 1)
        for name, value in {
            OWNER: gone,
            RUN_ID: f"run{trial.number}",
            RESULT: result,
        }.items():
            trial.set_user_attr(name, value)
    assert len(recovery.settle_trials(study, closed.append)) == 2
    assert closed == ["run0", "run1"]
    assert [trial.state for trial in study.trials] == [TrialState.COMPLETE, TrialState.PRUNED]
    assert study.best_value == 0.7


def test_a_trial_of_a_silent_host_is_finished_with_what_it_had(
    config: Callable[..., TuneConfig], monkeypatch: pytest.MonkeyPatch
) -> None:
    study = studies.open_study(config(), "digest")
    closed: list[str] = []
    for number, result in enumerate([{"value": 0.7, "pruned": False}, {"value": 0.5, "pruned": True}]):
        trial = study.ask()
        studies.suggest(trial, config())
        trial.report(0.5, 1)
        about = {
            OWNER: "elsewhere.example 1 0.00",
            RUN_ID: f"run{number}",
            RESULT: result,
        }
        for name, value in about.items():
            trial.set_user_attr(name, value)

    def fail_all(study: optuna.Study) -> None:  # as after two minutes of silence
        for trial in study.get_trials(states=(TrialState.RUNNING,)):
            study.tell(trial.number, state=TrialState.FAIL)

    monkeypatch.setattr(optuna.storages, "fail_stale_trials", fail_all)
    recovery.settle_trials(study, closed.append)
    assert closed == ["run0", "run1"]
    states = [TrialState.FAIL, TrialState.FAIL, TrialState.COMPLETE, TrialState.PRUNED]
    assert [trial.state for trial in study.trials] == states
    assert studies.trial_counts(study) == (2, 0, 0)
    assert recovery.settle_trials(study, closed.append) == []


def test_a_trial_that_was_lined_up_and_died_at_once_is_lined_up_again(config: Callable[..., TuneConfig]) -> None:
    wanted = config()
    study = studies.open_study(wanted, "digest")
    start = studies.known_good_starts(wanted)[0]
    study.enqueue_trial(start)
    study.ask().set_user_attr(OWNER, _owner_that_is_gone())  # nothing suggested yet
    recovery.settle_trials(study, _no_run)
    (again,) = study.get_trials(states=(TrialState.WAITING,))
    assert again.system_attrs["fixed_params"] == start
    assert again.user_attrs[RETRY_OF] == 0


def test_a_point_that_nobody_has_tried_is_found_until_there_is_none(config: Callable[..., TuneConfig]) -> None:
    fixed = dict.fromkeys(("learning_rate_factor", "weight_decay_factor", "lr_decay"), 0.1)
    wanted = config(n_trials=99, space=json.dumps(fixed | {"lr_schedule": "cosine", "augment": "light"}))
    study = studies.open_study(wanted, "digest")
    assert studies.trial_goal(wanted) == 6  # three optimizers, two variants
    tried: list[str] = []
    while point := studies.draw_untried_point(
        study, wanted, {}, lambda training: training.model_dump_json() not in tried
    ):
        study.enqueue_trial(point)
        tried.append(studies.suggest(study.ask(), wanted).model_dump_json())
    assert len(set(tried)) == len(tried) == 6


def test_only_trials_of_processes_that_are_gone_are_failed(config: Callable[..., TuneConfig]) -> None:
    study = studies.open_study(config(), "digest")
    owners = {
        "this process": owner_mark(),
        "another host": "elsewhere.example 1 0.00",
        "a process that has ended": _owner_that_is_gone(),
        "an earlier process of the same number": f"{socket.gethostname()} {os.getpid()} 1@0",
    }
    numbers = {}
    for who, owner in owners.items():
        trial = study.ask()
        trial.set_user_attr(OWNER, owner)
        numbers[who] = trial.number
    complete = study.ask()
    complete.set_user_attr(OWNER, owners["a process that has ended"])
    study.tell(complete, 0.5)
    gone = [numbers["a process that has ended"], numbers["an earlier process of the same number"]]
    assert [trial.number for trial in recovery.settle_trials(study, _no_run)] == gone
    states = [trial.state for trial in study.get_trials()]
    running = [numbers["this process"], numbers["another host"]]
    assert [number for number, state in enumerate(states) if state == TrialState.FAIL] == gone
    assert [number for number, state in enumerate(states) if state == TrialState.RUNNING] == running
    assert studies.trial_counts(study) == (1, 2, 2)
    assert recovery.settle_trials(study, _no_run) == []


def test_a_trial_that_ends_as_it_is_looked_at_is_nobodys_orphan(
    config: Callable[..., TuneConfig], monkeypatch: pytest.MonkeyPatch
) -> None:
    study = studies.open_study(config(), "digest")
    trial = study.ask()
    trial.set_user_attr(OWNER, owner_mark())
    trial.set_user_attr(RESULT, {"value": 0.7, "pruned": False})

    def ends_now(_: str) -> bool:
        study.tell(trial, 0.7)
        return True

    monkeypatch.setattr(recovery, "is_gone", ends_now)
    assert recovery.settle_trials(study, _no_run) == []
    assert [trial.state for trial in study.get_trials()] == [TrialState.COMPLETE]


def test_a_trial_that_died_is_tried_again_but_not_for_ever(config: Callable[..., TuneConfig]) -> None:
    study = studies.open_study(config(), "digest")
    wanted, gone = config(), _owner_that_is_gone()
    tried = []
    for _ in range(1 + recovery.MOST_RETRIES):
        trial = study.ask()
        tried.append(studies.suggest(trial, wanted))
        trial.set_user_attr(OWNER, gone)
        assert len(recovery.settle_trials(study, _no_run)) == 1
    assert tried[1:] == tried[:-1]
    assert [trial.user_attrs.get(RETRY_OF) for trial in study.get_trials()] == [None, 0, 1]
    assert studies.trial_counts(study) == (0, 0, 1)  # the others are continued by the next one
    assert study.get_trials(states=(TrialState.WAITING,)) == []


def test_counts_and_ranks(config: Callable[..., TuneConfig]) -> None:
    study = studies.open_study(config(), "digest")
    for value in (0.5, 0.9, 0.7, 0.9):
        study.tell(study.ask(), value)
    study.tell(study.ask(), state=TrialState.PRUNED)
    study.tell(study.ask(), state=TrialState.FAIL)
    study.ask()
    assert studies.trial_counts(study) == (5, 1, 1)
    assert [trial.number for trial in studies.ranked(study)] == [1, 3, 2, 0]


def test_a_loss_is_minimised_and_only_a_higher_one_is_stopped(config: Callable[..., TuneConfig]) -> None:
    wanted = config(objective="val_loss", epochs=6)
    study = studies.open_study(wanted, "digest")
    for value in (0.5, 0.4, 0.6, 0.3):
        trial = study.ask()
        for epoch in range(1, 7):
            trial.report(value, epoch)
        study.tell(trial, value)
    assert [trial.value for trial in studies.ranked(study)] == [0.3, 0.4, 0.5, 0.6]
    for value, stops in ((0.2, False), (0.9, True)):
        trial = study.ask()
        trial.report(value, 5)
        assert trial.should_prune() == stops
    assert studies.open_second_study(wanted, study).direction == study.direction


def test_another_objective_is_another_search_and_that_of_before_keeps_its_name(
    config: Callable[..., TuneConfig],
) -> None:
    names = {objective: studies.study_name(config(objective=objective), "digest") for objective in OBJECTIVES}
    assert len(set(names.values())) == len(OBJECTIVES)
    assert names["val_accuracy"] == studies.study_name(config(), "digest")
    assert "objective" not in studies.fixed_flags(config())


@pytest.mark.parametrize(
    "storage", ["optuna.db", "sqlite:////no/such/folder/optuna.db", "nosuchdb://host/name", "sqlite:///."], ids=repr
)
def test_a_storage_that_cannot_be_opened_is_the_users_mistake(storage: str) -> None:
    with pytest.raises(UserError, match="storage must be a database URL") as error:
        studies.open_study(TuneConfig(weights="none", storage=storage), "digest")
    assert repr(storage) in str(error.value)
    assert len(str(error.value).splitlines()) == 1


def test_a_password_in_a_storage_address_is_not_printed() -> None:
    with pytest.raises(UserError) as error:
        studies.open_study(TuneConfig(weights="none", storage="nosuchdb://optuna:secret@db.example/optuna"), "digest")
    assert "secret" not in str(error.value)


def test_the_default_storage_needs_no_folder_made_by_hand(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    assert studies.trial_counts(studies.open_study(TuneConfig(weights="none"), "digest")) == (0, 0, 0)
    assert (tmp_path / "mlruns" / "optuna.db").is_file()


def _finish_trial(study: Study) -> None:
    study.add_trial(optuna.trial.create_trial(value=0.5))


@pytest.mark.parametrize("start", ["none", "resnet18=data/weights/resnet18#sha256=" + "0" * 64])
def test_a_study_knows_what_auto_came_to_when_it_began(start: str, tmp_path: Path) -> None:
    typed = TuneConfig(storage=f"sqlite:///{tmp_path}/optuna.db", n_trials=1)
    assert studies.recorded_start(typed, "digest") == ("", 0)
    resolved = typed.model_copy(update={"weights": start})
    study = studies.open_study(resolved, "digest")
    studies.record_start(study, typed, resolved, "digest")
    _finish_trial(study)
    more = typed.model_copy(update={"n_trials": 5, "workers": 3})
    assert studies.recorded_start(more, "digest") == (start, 0)
    assert studies.recorded_start(more, "other") == ("", 0)
    assert studies.recorded_start(typed.model_copy(update={"epochs": 5}), "digest") == ("", 0)
    studies.record_start(study, typed, typed, "digest")
    assert studies.recorded_start(typed, "digest") == (start, 0)


@pytest.mark.parametrize("weights", ["none", "auto"])
def test_a_study_knows_the_epochs_that_its_time_came_to(weights: str, tmp_path: Path) -> None:
    typed = TuneConfig(weights=weights, storage=f"sqlite:///{tmp_path}/optuna.db", timeout_s=600)
    assert typed.epochs == 0
    resolved = TuneConfig(**typed.model_dump() | {"weights": "none", "image_size": 64, "epochs": 7, "head_epochs": 0})
    study = studies.open_study(resolved, "digest")
    studies.record_start(study, typed, resolved, "digest")
    begun = ("none" if weights == "auto" else "", 7)
    assert studies.recorded_start(typed.model_copy(update={"timeout_s": 1200}), "digest") == begun
    assert studies.recorded_start(typed.model_copy(update={"timeout_s": 0}), "digest") == ("", 0)
    assert studies.recorded_start(typed.model_copy(update={"epochs": 9}), "digest") == ("", 0)


def test_an_unfinished_study_of_the_former_default_goes_on(tmp_path: Path) -> None:
    former = TuneConfig(weights="none", storage=f"sqlite:///{tmp_path}/optuna.db", n_trials=2)
    study = studies.open_study(former, "digest")
    typed = TuneConfig(storage=former.storage, n_trials=2)
    assert studies.recorded_start(typed, "digest") == ("none", 0)
    for _ in range(2):
        _finish_trial(study)
    assert studies.recorded_start(typed, "digest") == ("", 0)  # it has ended: what begins now is new
    assert studies.recorded_start(typed.model_copy(update={"n_trials": 3}), "digest") == ("none", 0)


def test_a_stopped_trial_that_another_one_continues_has_not_failed() -> None:
    study = optuna.create_study()
    for _ in range(2):
        study.tell(study.ask(), state=TrialState.FAIL)
    assert studies.trial_counts(study) == (0, 0, 2)
    study.enqueue_trial({"augment": "light"}, user_attrs={RETRY_OF: 0})
    assert studies.trial_counts(study) == (0, 0, 1)
