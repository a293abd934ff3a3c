"""Runs of other containers on one server: alive while their lease is renewed, dead when it has run out."""

from __future__ import annotations

import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path

import mlflow
import pytest
from mlflow import MlflowClient

from pipeline import tracking
from pipeline.config import TrainConfig
from pipeline.tracking import lease
from tests.conftest import ROOT, wait_while_running
from tests.processes.test_owners import CONTAINER
from tests.servers import free_port, mlflow_server

CONFIG = TrainConfig(weights="none", epochs=1, head_epochs=0, image_size=32, unfreeze_lr_factor=0.1)
OPEN_RUN = """
import time
from pipeline import tracking
from pipeline.tracking import lease
from tests.tracking.test_lease import CONFIG
lease.RENEWAL_S = 0.2
with tracking.run("train", "elsewhere", CONFIG):
    time.sleep(1000)
"""


@pytest.fixture
def server(
    tmp_path: Path, environment: dict[str, str], monkeypatch: pytest.MonkeyPatch, tracking_store: MlflowClient
) -> Iterator[MlflowClient]:
    """A client of an MLflow server, which this process uses, too."""
    port = free_port()
    environment["MLFLOW_TRACKING_URI"] = f"http://127.0.0.1:{port}"
    environment["PYTHONPATH"] = str(ROOT)
    monkeypatch.setenv("MLFLOW_TRACKING_URI", environment["MLFLOW_TRACKING_URI"])
    (tmp_path / "server").mkdir()
    with mlflow_server(tmp_path / "server", port, environment):
        yield MlflowClient(environment["MLFLOW_TRACKING_URI"])
        while mlflow.active_run():
            mlflow.end_run("KILLED")


@pytest.mark.slow
def test_a_container_of_the_same_name_is_alive_while_it_renews_and_dead_when_it_does_not(
    server: MlflowClient, environment: dict[str, str], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    elsewhere = tmp_path / "elsewhere"
    elsewhere.mkdir()
    command = [*CONTAINER, sys.executable, "-c", OPEN_RUN]
    container = subprocess.Popen(command, cwd=elsewhere, env=environment, text=True)

    def renewed() -> float:
        return float(next((run.data.tags.get(lease.RENEWED, 0) for run in server.search_runs(["0"])), 0))

    wait_while_running(lambda: renewed() > 0, container)
    begun = renewed()
    wait_while_running(lambda: renewed() > begun, container)
    assert tracking.connect() == 0  # another folder, another process namespace: what lives is left alone
    container.kill()
    container.wait()
    assert tracking.connect() == 0  # it may sleep
    (run,) = server.search_runs(["0"])
    assert (run.info.status, tracking.open_elsewhere()) == ("RUNNING", ["elsewhere"])
    monkeypatch.setattr(lease, "LEASE_S", -1)
    assert tracking.connect() == 1
    (run,) = server.search_runs(["0"])
    assert (run.info.status, run.data.tags["stopped"]) == ("KILLED", "true")


@pytest.mark.slow
def test_a_run_that_was_taken_for_dead_ends_as_if_nothing_had_happened(server: MlflowClient) -> None:
    with tracking.run("train", "asleep", CONFIG, training="a") as run_id:
        server.set_tag(run_id, "stopped", "true")  # as another folder does
        server.set_terminated(run_id, "KILLED")
    run = server.get_run(run_id)
    assert (run.info.status, run.data.tags["stopped"]) == ("FINISHED", "false")


def test_what_is_no_lease_has_not_run_out(tracking_store: MlflowClient) -> None:
    assert lease.lease_tag() == {}  # in a file, which is of one folder
    now = time.time()
    for text, over in ((f"{now:.0f}", False), (f"{now - 2 * lease.LEASE_S:.0f}", True), ("a stranger's", False)):
        assert lease.has_run_out({lease.RENEWED: text}) == over
    assert not lease.has_run_out({})
