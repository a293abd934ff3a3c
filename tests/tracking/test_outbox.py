"""What a run says while its server is away: it waits on disk, in order, and arrives once."""

from __future__ import annotations

import shutil
import time
from contextlib import ExitStack
from pathlib import Path

import mlflow
import pandas as pd
import pytest
from mlflow import MlflowClient

from pipeline import tracking
from pipeline.config import TrainConfig
from pipeline.tracking import outbox
from tests.servers import free_port, mlflow_server

CONFIG = TrainConfig(data="photos")


def _metrics(client: MlflowClient, run_id: str) -> list[tuple[int, float]]:
    return [(metric.step, metric.value) for metric in client.get_metric_history(run_id, "val_accuracy")]


@pytest.mark.slow
def test_an_outage_in_a_run_loses_and_doubles_nothing(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, environment: dict[str, str], capsys: pytest.CaptureFixture[str]
) -> None:
    port = free_port()
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("MLFLOW_TRACKING_URI", f"http://127.0.0.1:{port}")
    monkeypatch.setenv("MLFLOW_HTTP_REQUEST_MAX_RETRIES", "0")
    client = MlflowClient()

    def epoch(number: int) -> None:
        tracking.log_metrics({"val_accuracy": number / 10}, step=number)

    server = ExitStack()
    server.enter_context(mlflow_server(tmp_path, port, environment))
    with server, tracking.run("trial", "trial-000", CONFIG, training="key") as run_id:
        epoch(1)
        server.close()
        epoch(2)
        tracking.set_tags({"trial_state": "complete"})
        tracking.log_table(pd.DataFrame({"a": [1]}), "tables/history.csv")
        pictures = tmp_path / "shown" / "pictures"
        pictures.mkdir(parents=True)
        (pictures / "samples.png").touch()
        tracking.log_folder(pictures.parent)
        assert tracking.count_unsent_runs() == 1
        with mlflow_server(tmp_path, port, environment):
            epoch(3)
            assert tracking.count_unsent_runs() == 0
            assert _metrics(client, run_id) == [(1, 0.1), (2, 0.2), (3, 0.3)]
        epoch(4)
    assert mlflow.active_run() is None
    assert "wait in mlruns/unsent" in capsys.readouterr().out
    shutil.copytree(outbox.UNSENT, tmp_path / "copy")
    away_until_ms = time.time() * 1000
    with mlflow_server(tmp_path, port, environment):
        for _ in range(2):  # the second as if a process had died after sending and before noting it
            tracking.connect()
            assert tracking.count_unsent_runs() == 0
            assert _metrics(client, run_id) == [(1, 0.1), (2, 0.2), (3, 0.3), (4, 0.4)]
            run = client.get_run(run_id)
            assert run.info.status == "FINISHED"
            assert run.info.end_time < away_until_ms
            assert run.data.tags.items() >= {"trial_state": "complete", "stopped": "false"}.items()
            assert [file.path for file in client.list_artifacts(run_id, "tables")] == ["tables/history.csv"]
            assert [file.path for file in client.list_artifacts(run_id, "pictures")] == ["pictures/samples.png"]
            shutil.copytree(tmp_path / "copy", outbox.UNSENT, dirs_exist_ok=True)
        client.delete_run(run_id)
        shutil.rmtree(outbox.UNSENT)


def test_what_a_local_store_refuses_does_not_wait(
    tracking_store: MlflowClient, monkeypatch: pytest.MonkeyPatch
) -> None:
    def refuse(*_: object, **__: object) -> None:
        raise mlflow.MlflowException("attempt to write a readonly database")

    def logs() -> None:
        with tracking.run("trial", "trial-000", CONFIG):
            monkeypatch.setattr(MlflowClient, "log_batch", refuse)
            tracking.log_metrics({"val_accuracy": 0.5}, step=1)

    with pytest.raises(tracking.StoreGone, match="readonly"):
        logs()
    assert tracking.count_unsent_runs() == 0


def test_what_another_store_waits_for_is_left(tracking_store: MlflowClient, capsys: pytest.CaptureFixture[str]) -> None:
    run_id = tracking_store.create_run("0").info.run_id
    outbox.put(run_id, "tags", {"a": "b"})
    entry = next(outbox.UNSENT.glob("*/*.json"))
    here = entry.read_text()
    entry.write_text(here.replace("sqlite", "elsewhere"))
    assert outbox.send_all() == 1
    assert "a" not in tracking_store.get_run(run_id).data.tags
    entry.write_text(here)
    assert outbox.send_all() == 0
    assert tracking_store.get_run(run_id).data.tags["a"] == "b"
    outbox.put("0" * 32, "tags", {"a": "b"})
    assert outbox.send_all() == 1
    assert "remove mlruns/unsent/000" in capsys.readouterr().out
