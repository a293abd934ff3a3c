"""Tasks on a Ray cluster of several nodes: surroundings, restarts, interruption, and a search that loses a node."""

from __future__ import annotations

import signal
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import optuna
import pytest
from mlflow import MlflowClient

from pipeline.config import UserError
from pipeline.processes.pool import Outcome, run_tasks
from pipeline.processes.ray_pool import resources_per_task
from tests.conftest import wait_while_running
from tests.servers import PASSWORD, Postgres, free_port, mlflow_server

TRIALS, EPOCHS = 3, 40

# What the workers run; see tests/processes/test_pool.py.
TASKS = """
import os, signal, time
from pathlib import Path

from pipeline.config import UserError


def surroundings(folder, number):
    names = ("OMP_NUM_THREADS", "TF_NUM_INTRAOP_THREADS", "MLFLOW_OF_THE_TEST", "NAMED", "SOMETHING_ELSE")
    return number, os.getcwd(), [os.environ.get(name) for name in names]


def dies_once(folder, number):
    mark = Path(folder, f"died {number}")
    if number == 1 and not mark.exists():
        mark.touch()
        os.kill(os.getpid(), signal.SIGKILL)
    return number


def fails(folder, number):
    raise UserError(f"number must be even, got {number}")


def sleeps(folder, number):
    Path(folder, f"began {number}").touch()
    try:
        for _ in range(600):  # Ray's interruption waits for the end of a call
            time.sleep(0.1)
    except KeyboardInterrupt:
        Path(folder, f"closed {number}").touch()
        raise
"""


@pytest.mark.parametrize(
    ("nodes", "workers", "cpus"),
    [
        ([{"CPU": 8}], 1, 8),
        ([{"CPU": 8}], 3, 2),
        ([{"CPU": 3}, {"CPU": 3}], 3, 1),  # with two each, only one task would fit on a node
        ([{"CPU": 16}, {"CPU": 4}, {}], 5, 4),
        ([{"CPU": 2}], 9, 1),
        ([{}], 1, 1),
    ],
)
def test_processors_are_divided_so_that_all_workers_fit(nodes: list[dict[str, float]], workers: int, cpus: int) -> None:
    assert resources_per_task(nodes, workers, gpus=1) == (cpus, 0)


def test_gpus_are_asked_for_where_there_are_any() -> None:
    assert resources_per_task([{"CPU": 4}, {"CPU": 4, "GPU": 2}], 2, gpus=2) == (4, 2)
    with pytest.raises(UserError, match=r"devices must be at most .*got 3"):
        resources_per_task([{"CPU": 4, "GPU": 2}], 1, gpus=3)


@pytest.fixture(scope="module")
def cluster() -> Iterator[Any]:
    """A head without processors, and two nodes with one each; all of them on this machine."""
    pytest.importorskip("ray", reason="needs the extra ray")
    from ray.cluster_utils import Cluster

    cluster = Cluster(initialize_head=True, head_node_args={"num_cpus": 0, "include_dashboard": False})
    for _ in range(2):
        cluster.add_node(num_cpus=1)
    yield cluster
    cluster.shutdown()


@pytest.fixture
def tasks(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Any]:
    (tmp_path / "tasks_of_ray.py").write_text(TASKS)
    monkeypatch.syspath_prepend(tmp_path)
    monkeypatch.chdir(tmp_path)
    import tasks_of_ray

    yield tasks_of_ray
    del sys.modules["tasks_of_ray"]


@pytest.mark.slow
def test_tasks_have_this_process_s_surroundings_and_survive_a_death(
    cluster: Any, tasks: Any, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def outcomes(task: Any) -> list[Outcome]:
        jobs = [(str(tmp_path), number) for number in range(3)]
        return list(run_tasks(task, jobs, 2, cluster.address, variables=("NAMED",)))

    monkeypatch.setenv("MLFLOW_OF_THE_TEST", "here")
    monkeypatch.setenv("NAMED", "too")
    monkeypatch.setenv("SOMETHING_ELSE", "not")
    monkeypatch.delenv("OMP_NUM_THREADS", raising=False)
    before = signal.getsignal(signal.SIGTERM)
    values = sorted(outcome.value for outcome in outcomes(tasks.surroundings))
    assert values == [(number, str(tmp_path), ["1", "1", "here", "too", None]) for number in range(3)]
    assert signal.getsignal(signal.SIGTERM) is before
    assert sorted(outcome.value for outcome in outcomes(tasks.dies_once)) == [0, 1, 2]
    assert (tmp_path / "died 1").exists()
    assert {outcome.kind for outcome in outcomes(tasks.fails)} == {"UserError"}
    assert {outcome.error for outcome in outcomes(tasks.fails)} == {
        f"number must be even, got {number}" for number in range(3)
    }


@pytest.mark.slow
def test_an_interruption_lets_tasks_on_nodes_close(cluster: Any, tasks: Any, tmp_path: Path) -> None:
    def interrupt_once_both_run(*_: object) -> None:
        if len(list(tmp_path.glob("began *"))) == 2:
            signal.setitimer(signal.ITIMER_REAL, 0)
            raise KeyboardInterrupt

    before = signal.signal(signal.SIGALRM, interrupt_once_both_run)
    signal.setitimer(signal.ITIMER_REAL, 0.1, 0.1)
    try:
        with pytest.raises(KeyboardInterrupt):
            list(run_tasks(tasks.sleeps, [(str(tmp_path), number) for number in range(3)], 2, cluster.address))
    finally:
        signal.setitimer(signal.ITIMER_REAL, 0)
        signal.signal(signal.SIGALRM, before)
    assert len(list(tmp_path.glob("closed *"))) == 2


def test_a_cluster_that_is_not_there_is_named(tasks: Any) -> None:
    pytest.importorskip("ray", reason="needs the extra ray")
    with pytest.raises(UserError, match=r"ray_address must be local or a running cluster, got '127.0.0.1:9'") as error:
        list(run_tasks(tasks.surroundings, [], 1, "127.0.0.1:9"))
    assert "\n" not in str(error.value)


@pytest.mark.slow
def test_a_search_that_loses_a_node_ends_with_its_trials(
    cluster: Any,
    postgres: Postgres,
    project: Path,
    tune_flags: dict[str, object],
    environment: dict[str, str],
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    study_url, runs_url, port = postgres.new_database("ray_study"), postgres.new_database("ray_runs"), free_port()
    tracking_uri = f"http://127.0.0.1:{port}"
    environment |= {"PGPASSWORD": PASSWORD, "MLFLOW_TRACKING_URI": tracking_uri}
    monkeypatch.setenv("PGPASSWORD", PASSWORD)
    flags = tune_flags | {"n_trials": TRIALS, "epochs": EPOCHS, "pruner": "none", "confirm_top_k": 0, "workers": 2}
    flags |= {"width": 0.01, "precision": "float32"}
    flags |= {"storage": study_url, "ray_address": cluster.address}
    command = [sys.executable, "-m", "pipeline", "tune", *(f"--{name}={value}" for name, value in flags.items())]
    client = MlflowClient(tracking_uri)

    def trials(status: str = "") -> list[Any]:
        runs = [run for run in client.search_runs(["0"]) if run.data.tags.get("stage") == "trial"]
        return [run for run in runs if status in run.info.status]

    with mlflow_server(project, port, environment, runs_url):
        with subprocess.Popen(
            command, cwd=project, env=environment, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True
        ) as search:
            wait_while_running(lambda: len([r for r in trials("RUNNING") if "val_loss" in r.data.metrics]) == 2, search)
            cluster.remove_node(cluster.list_all_nodes()[-1], allow_graceful=False)
            printed = search.communicate(timeout=400)[0]
        assert search.returncode == 0, printed
        runs, of_trials = client.search_runs(["0"]), trials()
        steps = {run.info.run_id: client.get_metric_history(run.info.run_id, "val_accuracy") for run in of_trials}
    study = optuna.load_study(study_name=None, storage=study_url)
    states = sorted(trial.state.name for trial in study.trials)
    assert states == ["COMPLETE"] * TRIALS + ["FAIL"], printed
    assert {run.info.status for run in runs} == {"FINISHED"}
    assert len(of_trials) == TRIALS, "a trial that was taken up again goes on in its run"
    assert "retry_of" in {tag for run in of_trials for tag in run.data.tags}
    assert all([metric.step for metric in history] == list(range(1, EPOCHS + 1)) for history in steps.values())
