"""Commands that are stopped and given again: one run per training, no gap, no double, the truth about how it ended."""

from __future__ import annotations

import os
import signal
import subprocess
from pathlib import Path

import optuna
import pytest
from mlflow import MlflowClient
from mlflow.entities import Run

from pipeline import tracking
from pipeline.config import TrainConfig
from tests.conftest import TINY, RunIn, paused, wait_while_running
from tests.forks import Forks
from tests.small_net import SMALL

EPOCHS = 40  # of a small network: enough to be caught at
TRIALS = 2
PER_EPOCH = ("train_loss", "val_accuracy", "learning_rate", "images_per_second")


@pytest.fixture
def flags(photo_folder: Path) -> list[str]:
    return [f"--data={photo_folder}", f"--epochs={EPOCHS}", "--augment=light", *TINY]


@pytest.fixture
def environment(environment: dict[str, str]) -> dict[str, str]:
    return environment | SMALL


@pytest.fixture
def client(project: Path) -> MlflowClient:
    return MlflowClient(f"sqlite:///{project / 'mlflow.db'}")


def _stage(client: MlflowClient, stage: str) -> list[Run]:
    return [run for run in client.search_runs(["0"]) if run.data.tags.get("stage") == stage]


def _epochs_logged(client: MlflowClient, stage: str = "train") -> int:
    running = [run for run in _stage(client, stage) if run.info.status == "RUNNING"]
    return max((len(client.get_metric_history(run.info.run_id, "val_accuracy")) for run in running), default=0)


@pytest.mark.slow
@pytest.mark.parametrize(
    ("number", "code", "status"),
    [("SIGKILL", -9, "RUNNING"), ("SIGTERM", 130, "KILLED")],
)
def test_a_training_that_was_stopped_goes_on_in_its_run(
    project: Path,
    client: MlflowClient,
    flags: list[str],
    environment: dict[str, str],
    forks: Forks,
    fork_in: RunIn,
    number: str,
    code: int,
    status: str,
) -> None:
    stopped = forks.start(project, environment, "train", *flags)
    wait_while_running(lambda: _epochs_logged(client) >= 3, stopped)
    stopped.send_signal(getattr(signal, number))
    stopped.communicate(timeout=60)
    assert stopped.returncode == code
    (run,) = _stage(client, "train")
    assert run.info.status == status
    done = fork_in(project, "train", *flags, **SMALL)
    assert ("continuing in epoch" in done.stdout) == (number == "SIGTERM")  # it had not run long enough to be saved
    (again,) = _stage(client, "train")
    assert again.info.run_id == run.info.run_id
    assert again.info.status == "FINISHED"
    for name in PER_EPOCH:
        steps = [metric.step for metric in client.get_metric_history(run.info.run_id, name)]
        assert steps == list(range(1, EPOCHS + 1)), name
    assert not list((project / "mlruns/checkpoints").rglob("*.npz"))


def test_resume_never_begins_a_run_of_its_own(tracking_store: MlflowClient) -> None:
    def ids(resume: str) -> str:
        with tracking.run("train", "name", TrainConfig(resume=resume), training="key") as run_id:
            return run_id

    def stop() -> str:
        with tracking.run("train", "name", TrainConfig(), training="key") as run_id:
            stopped.append(run_id)
            raise KeyboardInterrupt

    stopped: list[str] = []
    with pytest.raises(KeyboardInterrupt):
        stop()
    assert ids("never") not in stopped
    assert ids("auto") in stopped
    assert ids("auto") not in stopped  # it has ended by now


@pytest.mark.slow
def test_mlflow_run_goes_on_in_the_run_that_was_stopped(
    project: Path, client: MlflowClient, flags: list[str], environment: dict[str, str], run_in: RunIn
) -> None:
    parameters = [word for flag in flags for word in ("-P", flag.removeprefix("--"))]
    command = ("mlflow", "run", ".", "-e", "train", "--env-manager", "local", *parameters)
    pipes = {"stdout": subprocess.PIPE, "stderr": subprocess.PIPE}
    first = subprocess.Popen(command, cwd=project, env=environment, text=True, start_new_session=True, **pipes)
    wait_while_running(lambda: _epochs_logged(client) >= 2, first)
    os.killpg(first.pid, signal.SIGINT)  # as Ctrl-C does
    first.communicate(timeout=60)
    (run,) = _stage(client, "train")
    run_in(project, *command)
    (again,) = _stage(client, "train")
    assert again.info.run_id == run.info.run_id
    assert again.info.status == "FINISHED"
    (opened,) = [other for other in client.search_runs(["0"]) if other.info.run_id != run.info.run_id]
    assert opened.data.tags["continued_in"] == run.info.run_id
    assert opened.info.status == "FINISHED"


@pytest.mark.slow
def test_the_same_training_runs_once_at_a_time(
    project: Path, client: MlflowClient, flags: list[str], environment: dict[str, str], forks: Forks, fork_in: RunIn
) -> None:
    first = forks.start(project, environment, "train", *flags)
    wait_while_running(lambda: _epochs_logged(client) >= 1, first)
    with paused(first, project / "mlflow.db"):
        refused = fork_in(project, "train", *flags, exit_code=2, **SMALL)
    assert len(refused.stderr.splitlines()) == 1
    assert "another process that runs it" in refused.stderr
    first.communicate(timeout=200)
    assert first.returncode == 0
    assert sorted(run.info.status for run in _stage(client, "train")) == ["FAILED", "FINISHED"]


@pytest.mark.slow
@pytest.mark.parametrize("whom", ["all", "worker"])
def test_a_search_that_was_killed_ends_with_its_trials(
    project: Path,
    client: MlflowClient,
    flags: list[str],
    environment: dict[str, str],
    forks: Forks,
    fork_in: RunIn,
    whom: str,
) -> None:
    search = ["tune", *flags, f"--n_trials={TRIALS}", "--variants=resnet18", "--confirm_top_k=0", "--pruner=none"]
    stopped = forks.start(project, environment, *search)
    wait_while_running(lambda: _epochs_logged(client, "trial") >= 2, stopped)
    if whom == "all":
        stopped.kill()
        stopped.communicate(timeout=60)
        fork_in(project, *search, **SMALL)
    else:
        (trial,) = [run for run in _stage(client, "trial") if run.info.status == "RUNNING"]
        _, pid, *_ = trial.data.tags["photo_pipeline.process"].split()
        subprocess.run(["kill", "-9", pid], check=True)
        stopped.communicate(timeout=300)
        assert stopped.returncode == 0
    study = optuna.load_study(study_name=None, storage=f"sqlite:///{project / 'mlruns/optuna.db'}")
    states = [trial.state.name for trial in study.trials]
    assert sorted(states) == [*["COMPLETE"] * TRIALS, "FAIL"]
    retried = [trial for trial in study.trials if "retry_of" in trial.user_attrs]
    assert [trial.params for trial in retried] == [trial.params for trial in study.trials if trial.state.name == "FAIL"]
    runs = client.search_runs(["0"])
    assert {run.info.status for run in runs} == {"FINISHED"}
    assert len(_stage(client, "trial")) == TRIALS
    (parent,) = _stage(client, "tune")
    assert {run.data.tags["mlflow.parentRunId"] for run in _stage(client, "trial")} == {parent.info.run_id}
    for run in _stage(client, "trial"):
        steps = [metric.step for metric in client.get_metric_history(run.info.run_id, "val_accuracy")]
        assert steps == list(range(1, EPOCHS + 1))
