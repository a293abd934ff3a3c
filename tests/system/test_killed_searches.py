"""Searches whose parent and workers are killed for real, again and again, and end with exactly the trials asked for."""

from __future__ import annotations

import json
import os
import random
import re
import subprocess
import sys
import time
from collections import Counter
from collections.abc import Callable, Iterator
from pathlib import Path

import optuna
import pytest
from mlflow import MlflowClient
from mlflow.entities import Run
from optuna.trial import TrialState

ROOT = Path(__file__).parents[2]
N_TRIALS, EPOCHS, SEEDS = 3, 2, 1
KILLS = 8
MANY_TRIALS = 10  # which take several times as long as the moments of KILLS are apart
CONFIRM_EPOCHS = 3
MOST_LIVES = 30
LONG = 5000  # epochs of a trial that does not end by itself

Live = Callable[..., dict[str, int]]

pytestmark = [
    pytest.mark.slow,
    pytest.mark.skipif(sys.platform != "linux", reason="elsewhere trials do not fork"),
]


@pytest.fixture(scope="module")
def driver() -> Iterator[subprocess.Popen[str]]:
    """A process that has imported everything, once for all searches."""
    command = [sys.executable, "-m", "tests.system.searches_to_kill"]
    variables = os.environ | {"PYTHONPATH": str(ROOT), "PYTHONWARNINGS": "ignore"}
    pipes = {"stdin": subprocess.PIPE, "stdout": subprocess.PIPE}
    with subprocess.Popen(command, cwd=ROOT, env=variables, text=True, **pipes) as process:  # type: ignore[call-overload]
        assert process.stdout is not None
        assert process.stdout.readline() == "ready\n"
        yield process
        process.stdin.close()


@pytest.fixture
def live(driver: subprocess.Popen[str], tracking_store: MlflowClient, photo_folder: Path, tmp_path: Path) -> Live:
    """A function that runs a search while kills happen, and returns its exit code and how many did."""
    flags = {
        "data": photo_folder, "image_size": 32, "val_fraction": 0.3, "epochs": EPOCHS, "warmup_epochs": 0.5,
        "batch_size": 8, "variants": "resnet18", "n_trials": N_TRIALS, "workers": 2, "pruner": "none",
        "confirm_top_k": 1, "confirm_seeds": SEEDS, "confirm_epochs_factor": CONFIRM_EPOCHS / EPOCHS,
    }  # fmt: skip
    what = {"folder": str(tmp_path), "variables": {"MLFLOW_TRACKING_URI": f"sqlite:///{tmp_path / 'mlflow.db'}"}}

    def run(kills: list[tuple[float, str]], seed: int = 0, command: str = "tune", **changes: object) -> dict[str, int]:
        given = (flags if command == "tune" else {}) | changes
        words = [f"--{name}={value}" for name, value in given.items()]
        assert driver.stdin is not None
        assert driver.stdout is not None
        driver.stdin.write(
            json.dumps({"kills": kills, "seed": seed, "command": command, "flags": words, **what}) + "\n"
        )
        driver.stdin.flush()
        return dict(json.loads(driver.stdout.readline()))

    return run


def _check_that_all_is_done_once(client: MlflowClient, folder: Path, n_trials: int = N_TRIALS) -> None:
    storage = f"sqlite:///{folder / 'mlruns/optuna.db'}"
    names = sorted(optuna.get_all_study_names(storage))
    search, again = (optuna.load_study(study_name=name, storage=storage) for name in names)
    runs = [run for run in client.search_runs(["0"]) if run.data.tags["stage"] != "tune"]
    assert "RUNNING" not in {run.info.status for run in client.search_runs(["0"])}
    for study, stage, count in ((search, "trial", n_trials), (again, "confirm", SEEDS)):
        states = Counter(trial.state for trial in study.trials)
        assert states[TrialState.RUNNING] == 0
        assert states[TrialState.COMPLETE] + states[TrialState.PRUNED] == count, states
        finished = [trial for trial in study.trials if trial.state in (TrialState.COMPLETE, TrialState.PRUNED)]
        ended = [run for run in runs if run.data.tags["stage"] == stage and run.info.status == "FINISHED"]
        assert {trial.user_attrs["run_id"] for trial in finished} == {run.info.run_id for run in ended}
        assert len(ended) == count
        for trial in finished:
            _check_run(client, client.get_run(trial.user_attrs["run_id"]), trial)
    assert len({json.dumps(trial.user_attrs["config"]) for trial in search.trials if trial.value is not None}) == len(
        [trial for trial in search.trials if trial.value is not None]
    )


def _check_run(client: MlflowClient, run: Run, trial: optuna.trial.FrozenTrial) -> None:
    """Its metrics have no gap and no double, and a retry is visible in its tags."""
    steps = [metric.step for metric in client.get_metric_history(run.info.run_id, "val_accuracy")]
    assert steps == list(range(1, len(steps) + 1))
    assert len(steps) == len(trial.intermediate_values)
    if run.data.tags["stage"] == "trial":
        assert run.data.tags["trial"] == str(trial.number)
    if retried := trial.user_attrs.get("retry_of"):
        assert run.data.tags["retry_of"] == str(retried)
    assert run.data.tags["stopped"] == "false"
    assert run.data.tags["mlflow.parentRunId"]


def _seconds_of_a_short_search(live: Live) -> float:
    began = time.monotonic()
    assert live([], n_trials=1, confirm_top_k=0)["code"] == 0
    return time.monotonic() - began


def test_killed_at_random_moments_a_search_ends_with_its_trials(
    live: Live, tracking_store: MlflowClient, tmp_path: Path
) -> None:
    rng, killed, ended = random.Random(0), 0, False
    usual_s = _seconds_of_a_short_search(live)
    for _ in range(MOST_LIVES):
        victims = [*rng.choices(["worker"], k=rng.randint(0, 2)), "parent"]
        kills = [(usual_s * rng.random() ** 3, victim) for victim in victims] if killed < KILLS else []
        life = live(kills, seed=killed, n_trials=MANY_TRIALS)
        killed += life["killed"]
        ended = life["code"] == 0
        if ended:
            break
    assert ended, (tmp_path / "printed.txt").read_text()[-3000:]
    assert killed >= 3, "the search was too quick to be killed"
    _check_that_all_is_done_once(tracking_store, tmp_path, MANY_TRIALS)


TOLD = ("process", "training", "config", "run_id", "model_uri", "result")  # to the study, of a trial
POINTS = [
    *(f"{when} {what}" for what in TOLD for when in ("before", "after")),
    "run closed",
]


def test_killed_at_every_point_of_a_trial_it_ends_with_its_trials(
    live: Live, tracking_store: MlflowClient, tmp_path: Path
) -> None:
    """Before it has recorded anything, too, and between its result, the end of its run, and the study's knowing."""
    fuses = tmp_path / "fuses.json"
    fuses.write_text(json.dumps(POINTS))
    for _ in range(MOST_LIVES):
        if live([], workers=1, n_trials=1, confirm_top_k=0)["code"] == 0:  # the only trial is the last
            break
    fuses.write_text(json.dumps(POINTS))
    for _ in range(MOST_LIVES):
        if live([])["code"] == 0:
            break
    assert json.loads(fuses.read_text()) == []
    _check_that_all_is_done_once(tracking_store, tmp_path)


def test_a_finished_search_has_read_no_test_photo_has_nothing_left_to_do_and_the_same_winner(
    live: Live, tracking_store: MlflowClient, tmp_path: Path
) -> None:
    winners = []
    for _ in range(2):
        assert live([])["code"] == 0
        runs = tracking_store.search_runs(["0"])
        (newest, *_) = [run for run in runs if run.data.tags["stage"] == "tune"]
        winners.append((newest.data.tags["best_trial"], newest.data.metrics["confirmed_val_accuracy"]))
    assert winners[0] == winners[1]
    assert len([run for run in runs if run.data.tags["stage"] != "tune"]) == N_TRIALS + SEEDS
    assert len(tracking_store.search_model_versions("name='flower-classifier'")) == 1
    # All this without the test split, whose files no process of this test could open: evaluate cannot either.
    assert live([], command="evaluate")["code"] == 2
    assert "the test split is not to be read" in (tmp_path / "printed.txt").read_text()


def test_time_that_is_up_stops_in_mid_trial_and_the_same_command_goes_on(
    live: Live, tracking_store: MlflowClient, tmp_path: Path
) -> None:
    timeout_s, epochs, trial_runs = round(_seconds_of_a_short_search(live)), [0], set()
    for _ in range(6):
        assert live([], epochs=LONG, workers=1, timeout_s=timeout_s)["code"] == 2  # no trial is complete
        before = epochs[-1]
        for run in _trials_that_were_stopped(tracking_store):
            trial_runs.add(run.info.run_id)
            epochs.append(_epochs_without_gap_or_double(tracking_store, run))
        if before and epochs[-1] > before:
            break
        timeout_s *= 1 if epochs[-1] > before else 2  # what else the machine does has left it too little
    assert len(set(epochs)) >= 3, "one search begins the trial, another goes on with it"
    assert epochs == sorted(epochs)
    assert len(trial_runs) == 1
    times_up = re.findall(f"the time for trials is up: 0/{N_TRIALS} trials", (tmp_path / "printed.txt").read_text())
    assert len(times_up) >= 2


def _trials_that_were_stopped(client: MlflowClient) -> list[Run]:
    runs = [run for run in client.search_runs(["0"], f"params.epochs = '{LONG}'") if "trial" in run.data.tags]
    assert {run.info.status for run in runs} <= {"KILLED"}
    return runs


def _epochs_without_gap_or_double(client: MlflowClient, run: Run) -> int:
    steps = [metric.step for metric in client.get_metric_history(run.info.run_id, "val_accuracy")]
    assert steps == list(range(1, len(steps) + 1))
    return len(steps)


def test_ctrl_c_marks_the_runs_says_the_best_and_can_be_gone_on_with(
    live: Live, tracking_store: MlflowClient, tmp_path: Path
) -> None:
    assert live([(1, "Ctrl-C")], epochs=LONG)["code"] == 130
    runs = tracking_store.search_runs(["0"])
    assert {run.info.status for run in runs} <= {"KILLED", "FINISHED"}
    assert [run.info.status for run in runs if run.data.tags["stage"] == "tune"] == ["KILLED"]
    assert "interrupted: " in (tmp_path / "printed.txt").read_text()


def test_a_search_by_time_alone_confirms_in_time_and_more_time_goes_on_with_it(
    live: Live, tracking_store: MlflowClient, tmp_path: Path
) -> None:
    timeout_s = 6 * _seconds_of_a_short_search(live)
    trials = []
    for _ in range(2):
        assert live([], workers=1, n_trials=0, epochs=0, timeout_s=timeout_s)["code"] == 0
        runs = tracking_store.search_runs(["0"], order_by=["attributes.start_time"])
        stages = Counter(run.data.tags["stage"] for run in runs if run.info.status == "FINISHED")
        trials.append(stages["trial"])
    assert trials[1] > trials[0] > 1
    assert stages["confirm"] >= 1
    assert stages["tune"] == 2  # the short one, and the other, which went on in its run
    studies = optuna.get_all_study_names(f"sqlite:///{tmp_path / 'mlruns/optuna.db'}")
    assert len(studies) == 3, "the short one, that by time, and its confirmations"
    assert "px (as many as fit), then" in (tmp_path / "printed.txt").read_text()
