"""What a command needs goes away while it runs: the server, the disk, the right to write, the photos, the time."""

from __future__ import annotations

import os
import resource
import shutil
import sys
from pathlib import Path
from typing import NamedTuple

import optuna
import pytest
from mlflow import MlflowClient
from mlflow.entities import Run

from tests.conftest import TINY, Process, paused, start_under, wait_while_running
from tests.forks import Forks
from tests.servers import free_port, mlflow_server
from tests.small_net import SMALL

EPOCHS = 60  # of a tiny network: enough to be caught at
MIB = 2**20

pytestmark = pytest.mark.slow


class Server(NamedTuple):
    """Where an MLflow server is to answer, and a client of it."""

    port: int
    uri: str
    client: MlflowClient


@pytest.fixture
def train(photo_folder: Path) -> list[str]:
    return ["train", f"--data={photo_folder}", f"--epochs={EPOCHS}", "--augment=light", *TINY]


@pytest.fixture
def client(project: Path) -> MlflowClient:
    return MlflowClient(f"sqlite:///{project / 'mlflow.db'}")


@pytest.fixture
def server(environment: dict[str, str]) -> Server:
    """An address that commands of the test's environment log to; `mlflow_server` makes a server answer there."""
    port = free_port()
    uri = f"http://127.0.0.1:{port}"
    environment |= {"MLFLOW_TRACKING_URI": uri, "MLFLOW_HTTP_REQUEST_MAX_RETRIES": "1"} | SMALL
    return Server(port, uri, MlflowClient(uri))


def _runs(client: MlflowClient) -> list[Run]:
    return [run for run in client.search_runs(["0"]) if run.data.tags.get("stage") == "train"]


def _steps(client: MlflowClient, run: Run) -> list[int]:
    return [metric.step for metric in client.get_metric_history(run.info.run_id, "val_accuracy")]


def _has_begun(client: MlflowClient) -> bool:
    return any(_steps(client, run) for run in _runs(client))


def _ended(process: Process, exit_code: int) -> str:
    """Wait, check how the process ended, and return what it said of errors, which is one line or none."""
    printed, said = process.communicate(timeout=300)
    assert process.returncode == exit_code, f"{printed}\n{said}"
    errors = [line for line in said.splitlines() if line.strip()]
    assert "Traceback" not in said
    assert len([line for line in errors if line.startswith("error:")]) == (exit_code == 2), said
    return next((line for line in errors if line.startswith("error:")), "")


def test_the_tracking_server_goes_away_and_comes_back(
    project: Path, train: list[str], environment: dict[str, str], server: Server, forks: Forks
) -> None:
    """The training ends all the same, but cannot register its model; the same command does only that."""
    port, uri, client = server
    with mlflow_server(project, port, environment):
        training = forks.start(project, environment, *train)
        wait_while_running(lambda: any(len(_steps(client, run)) > 2 for run in _runs(client)), training)
    error = _ended(training, 2)
    assert "the MLflow store must answer" in error
    assert "wait in mlruns/unsent" in error
    assert uri in error
    with mlflow_server(project, port, environment):
        _ended(forks.start(project, environment, *train), 0)
        (run,) = _runs(client)
        assert run.info.status == "FINISHED"
        assert _steps(client, run) == list(range(1, EPOCHS + 1))
        assert len(client.search_logged_models(["0"])) == 1


def test_the_tracking_server_goes_away_under_a_search(
    project: Path, train: list[str], environment: dict[str, str], server: Server, forks: Forks
) -> None:
    port, _, client = server
    search = ["tune", *train[1:], "--n_trials=2", "--variants=resnet18", "--confirm_top_k=0", "--pruner=none"]

    def trials() -> list[Run]:
        return [run for run in client.search_runs(["0"]) if run.data.tags.get("stage") == "trial"]

    with mlflow_server(project, port, environment):
        first = forks.start(project, environment, *search)
        wait_while_running(lambda: any(len(_steps(client, run)) > 2 for run in trials()), first)
    assert "wait in mlruns/unsent and are sent then" in _ended(first, 2)
    storage = f"sqlite:///{project / 'mlruns/optuna.db'}"
    assert optuna.load_study(study_name=None, storage=storage).trials[0].state.name == "COMPLETE"
    with mlflow_server(project, port, environment):
        _ended(forks.start(project, environment, *search), 0)
        runs = trials()
        assert {run.info.status for run in runs} == {"FINISHED"}
        assert sorted(run.data.tags["trial_state"] for run in runs) == ["complete", "complete"]
        assert all(_steps(client, run) == list(range(1, EPOCHS + 1)) for run in runs)
        pictures = {file.path for file in client.list_artifacts(runs[-1].info.run_id)}
        assert pictures >= {"confusion_matrix.png", "history.png", "config.json"}
        assert client.get_model_version_by_alias("flower-classifier", "challenger")
    states = [trial.state for trial in optuna.load_study(study_name=None, storage=storage).trials]
    assert [state.name for state in states if state.is_finished() and state.name != "FAIL"] == ["COMPLETE"] * 2


def test_the_disk_is_full_where_the_model_goes(
    project: Path, train: list[str], client: MlflowClient, environment: dict[str, str], forks: Forks
) -> None:
    """By a limit on the size of a file, which the system reports like a full disk: the model has 11 MB."""
    train += ["--width=0.5", "--epochs=3"]

    training = forks.start(project, environment, *train)
    resource.prlimit(training.pid, resource.RLIMIT_FSIZE, (8 * MIB, 8 * MIB))
    error = _ended(training, 2)
    assert "free space" in error
    (failed,) = _runs(client)
    assert failed.info.status == "FAILED"
    assert _steps(client, failed)
    assert "error.txt" in [artifact.path for artifact in client.list_artifacts(failed.info.run_id)]
    _ended(forks.start(project, environment, *train), 0)
    assert {run.info.status for run in _runs(client)} == {"FAILED", "FINISHED"}


def test_what_cannot_be_written_is_named(
    project: Path, train: list[str], environment: dict[str, str], forks: Forks
) -> None:
    environment |= SMALL
    once = [*train, "--epochs=1", "--warmup_epochs=0"]
    changed = [*once, "--image_size=64", "--seed=1"]
    # The administrator may write anywhere, unless without the privileges that make one.
    unprivileged = ("setpriv", "--bounding-set=-all", "--inh-caps=-all") if os.geteuid() == 0 else ()
    _ended(forks.start(project, environment, *once), 0)
    for place in ("data", "mlruns", "mlflow.db"):
        paths = [project / place, *(project / place).rglob("*")]
        for path in paths:
            path.chmod(0o555 if path.is_dir() else 0o444)
        try:
            error = _ended(start_under(unprivileged, changed, project, environment), 2)
        finally:
            for path in paths:
                path.chmod(0o755 if path.is_dir() else 0o644)
        assert place in error or "readonly database" in error
    _ended(forks.start(project, environment, *changed), 0)


@pytest.mark.skipif(sys.platform != "linux", reason="elsewhere an open file cannot be removed")
def test_prepared_photos_are_deleted_under_a_training(
    project: Path, train: list[str], client: MlflowClient, environment: dict[str, str], forks: Forks
) -> None:
    environment |= SMALL
    training = forks.start(project, environment, *train)
    wait_while_running(lambda: _has_begun(client), training)
    shutil.rmtree(project / "data")
    _ended(training, 0)
    (run,) = _runs(client)
    assert _steps(client, run) == list(range(1, EPOCHS + 1))
    _ended(forks.start(project, environment, *train, "--seed=1", "--epochs=1", "--warmup_epochs=0"), 0)


@pytest.mark.skipif(not shutil.which("faketime"), reason="needs faketime")
def test_the_clock_is_set_back(
    project: Path, train: list[str], client: MlflowClient, environment: dict[str, str], forks: Forks
) -> None:
    """A training that is alive is not taken for a dead one, and one that was killed goes on."""
    days_ago = ("faketime", "-f", "-2d")
    training = forks.start(project, environment, *train)
    wait_while_running(lambda: _has_begun(client), training)
    other = [*train, "--seed=1", "--epochs=1", "--warmup_epochs=0"]
    with paused(training, project / "mlflow.db"):
        _ended(start_under(days_ago, other, project, environment), 0)
        statuses = {run.data.params["seed"]: run.info.status for run in _runs(client)}
        assert statuses == {"0": "RUNNING", "1": "FINISHED"}, "a living run was closed"
        training.kill()
    training.communicate()
    _ended(start_under(days_ago, train, project, environment), 0)
    (run,) = [run for run in _runs(client) if run.data.params["seed"] == "0"]
    assert run.info.status == "FINISHED"
    assert sorted(_steps(client, run)) == list(range(1, EPOCHS + 1))
