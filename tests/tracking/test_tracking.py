"""Runs in a real store: how they end, what they log, and what they do with a run that is already there."""

from __future__ import annotations

import contextlib
import json
import os
import socket
import sqlite3
import subprocess
import sys
import threading
import time
from http.server import BaseHTTPRequestHandler, HTTPServer
from pathlib import Path

import mlflow
import numpy as np
import pandas as pd
import pytest
from matplotlib.figure import Figure
from mlflow import MlflowClient
from mlflow.exceptions import MlflowException

from pipeline import tracking
from pipeline.config import DamagedModel, PreprocessConfig, TrainConfig, TuneConfig, UserError
from pipeline.config.text import config_text
from pipeline.processes import owner_mark
from pipeline.tracking import runs, store
from pipeline.tracking.store import database_file
from tests.conftest import ROOT

CONFIG = TrainConfig(
    data="photos", classes=("daisy", "roses"), learning_rate=3e-4, freeze_backbone=True, image_size=64, epochs=16,
    head_epochs=0, unfreeze_lr_factor=0.1,
)  # fmt: skip


def test_a_run_ends_finished_with_params_tags_and_config(tracking_store: MlflowClient) -> None:
    with tracking.run("train", "train resnet18", CONFIG, {"trial": "7"}) as run_id:
        tracking.log_metrics({"val_accuracy": 0.5, "roc_auc": float("nan")}, step=1)
        tracking.log_metrics({"val_accuracy": 0.75}, step=2)
    run = tracking_store.get_run(run_id)
    assert run.info.status == "FINISHED"
    assert run.info.run_name == "train resnet18"
    assert run.data.params == config_text(CONFIG)
    assert run.data.params["classes"] == "daisy,roses"
    assert run.data.params["freeze_backbone"] == "true"
    assert run.data.tags.items() >= {"stage": "train", "trial": "7"}.items()
    assert run.data.metrics == {"val_accuracy": 0.75}
    history = [(point.step, point.value) for point in tracking_store.get_metric_history(run_id, "val_accuracy")]
    assert history == [(1, 0.5), (2, 0.75)]
    config_file = Path(tracking_store.download_artifacts(run_id, "config.json"))
    assert TrainConfig(**json.loads(config_file.read_text())) == CONFIG


@pytest.mark.parametrize(
    ("error", "status", "message"),
    [
        (DamagedModel("rule, got x"), "FAILED", "rule, got x"),
        (ValueError("first line\nsecond line"), "FAILED", "first line"),
        (RuntimeError(), "FAILED", "RuntimeError"),
        (SystemExit(3), "FAILED", "3"),
        (KeyboardInterrupt(), "KILLED", None),
    ],
)
def test_a_run_that_raises_says_so(
    tracking_store: MlflowClient, error: BaseException, status: str, message: str | None
) -> None:
    with pytest.raises(type(error)), tracking.run("train", "outer", CONFIG) as outer:  # noqa: SIM117
        with tracking.run("trial", "inner", CONFIG) as inner:
            raise error
    for run_id in (outer, inner):
        run = tracking_store.get_run(run_id)
        assert run.info.status == status
        assert run.info.end_time
        assert run.data.tags.get("error") == message
        files = [artifact.path for artifact in tracking_store.list_artifacts(run_id)]
        assert ("error.txt" in files) == (status == "FAILED")
    assert mlflow.active_run() is None


def test_a_mistake_that_is_found_before_any_work_leaves_no_run(
    tracking_store: MlflowClient, monkeypatch: pytest.MonkeyPatch
) -> None:
    with pytest.raises(UserError), tracking.run("main", "main", CONFIG), tracking.run("preprocess", "below", CONFIG):
        raise UserError("data must be there, got a typo")
    assert tracking_store.search_runs(["0"]) == []
    for log in (lambda: tracking.log_metrics({"val_accuracy": 0.5}), lambda: tracking.log_text("x", "report.html")):
        with pytest.raises(UserError), tracking.run("train", "train", CONFIG) as worked:  # noqa: PT012
            log()
            raise UserError("what came later, got x")
        assert tracking_store.get_run(worked).data.tags["error"] == "what came later, got x"
    parent, opened = (tracking_store.create_run("0").info.run_id for _ in range(2))
    with pytest.raises(UserError), tracking.run("trial", "trial", CONFIG, parent=parent) as trial:
        raise UserError("a trial's, which its search counts")
    monkeypatch.setenv("MLFLOW_RUN_ID", opened)
    with pytest.raises(UserError), tracking.run("train", "train", CONFIG):
        raise UserError("what `mlflow run` will see")
    assert {tracking_store.get_run(run_id).info.status for run_id in (worked, trial, opened)} == {"FAILED"}
    assert len(tracking_store.search_runs(["0"])) == 5
    assert mlflow.active_run() is None


def test_a_store_that_gives_up_is_a_mistake_of_one_line(tracking_store: MlflowClient) -> None:
    rule = pytest.raises(tracking.StoreGone, match=r"must answer.*database is locked.*sqlite:///.*same command")
    with rule as error, tracking.run("train", "train", CONFIG):
        raise MlflowException("database is locked\nand more")
    assert "\n" not in str(error.value)
    assert mlflow.active_run() is None


def test_a_run_inside_a_run_nests_under_it(tracking_store: MlflowClient) -> None:
    with tracking.run("main", "main", PreprocessConfig()) as top:
        with tracking.run("tune", "tune", CONFIG) as middle, tracking.run("trial", "trial-000", CONFIG) as bottom:
            pass
        with tracking.run("evaluate", "evaluate", CONFIG) as sibling:
            pass
    parents = {
        run_id: tracking_store.get_run(run_id).data.tags.get("mlflow.parentRunId")
        for run_id in (top, middle, bottom, sibling)
    }
    assert parents == {top: None, middle: top, bottom: middle, sibling: top}


def test_a_run_nests_under_a_run_of_another_process(tracking_store: MlflowClient) -> None:
    parent = tracking_store.create_run("0").info.run_id
    with tracking.run("trial", "trial-001", CONFIG, parent=parent) as run_id:
        pass
    assert tracking_store.get_run(run_id).data.tags["mlflow.parentRunId"] == parent
    assert tracking_store.get_run(parent).info.status == "RUNNING"


def test_a_run_that_was_opened_for_the_command_is_adopted(
    tracking_store: MlflowClient, monkeypatch: pytest.MonkeyPatch
) -> None:
    opened = tracking_store.create_run("0", run_name="painted-carp-1").info.run_id
    tracking_store.log_param(opened, "learning_rate", "3e-4")  # another spelling of what the config holds
    tracking_store.log_param(opened, "classes", "'daisy,roses'")
    monkeypatch.setenv("MLFLOW_RUN_ID", opened)
    with tracking.run("train", "train resnet18", CONFIG) as run_id, tracking.run("trial", "inner", CONFIG) as inner:
        pass
    assert run_id == opened != inner
    run = tracking_store.get_run(opened)
    assert run.info.status == "FINISHED"
    assert run.info.run_name == "train resnet18"
    assert run.data.tags["stage"] == "train"
    assert run.data.params == config_text(CONFIG) | {"learning_rate": "3e-4", "classes": "'daisy,roses'"}
    assert len(tracking_store.search_runs(["0"])) == 2


def test_runs_go_to_an_experiment_of_our_own_unless_the_user_has_chosen_one(
    tracking_store: MlflowClient, monkeypatch: pytest.MonkeyPatch
) -> None:
    def experiment_of_new_run(parent: str | None = None) -> str:
        with tracking.run("train", "train", CONFIG, parent=parent) as run_id, tracking.run("trial", "below", CONFIG):
            inner = mlflow.active_run()
        assert inner is not None
        experiment = tracking_store.get_run(run_id).info.experiment_id
        assert inner.info.experiment_id == experiment
        return str(tracking_store.get_experiment(experiment).name)

    elsewhere = tracking_store.create_run(tracking_store.create_experiment("trials")).info
    assert experiment_of_new_run() == "Default"  # chosen for all tests
    monkeypatch.delenv("MLFLOW_EXPERIMENT_NAME")
    assert [experiment_of_new_run(), experiment_of_new_run()] == [runs.EXPERIMENT] * 2
    assert experiment_of_new_run(elsewhere.run_id) == "trials"
    monkeypatch.setenv("MLFLOW_EXPERIMENT_ID", elsewhere.experiment_id)  # as `mlflow.set_experiment` does
    assert experiment_of_new_run() == "trials"
    monkeypatch.delenv("MLFLOW_EXPERIMENT_ID")
    own = tracking_store.get_experiment_by_name(runs.EXPERIMENT)
    assert own is not None
    tracking_store.delete_experiment(own.experiment_id)
    with pytest.raises(UserError, match=f"restore --experiment-id {own.experiment_id}"):
        experiment_of_new_run()


def test_a_stopped_run_of_another_experiment_goes_on(
    tracking_store: MlflowClient, monkeypatch: pytest.MonkeyPatch
) -> None:
    with contextlib.suppress(KeyboardInterrupt), tracking.run("train", "first", CONFIG, training="a") as stopped:
        raise KeyboardInterrupt
    monkeypatch.delenv("MLFLOW_EXPERIMENT_NAME")
    with tracking.run("train", "again", CONFIG, training="a") as run_id:
        assert run_id == stopped


def test_a_name_that_the_user_gave_stays(tracking_store: MlflowClient, monkeypatch: pytest.MonkeyPatch) -> None:
    opened = tracking_store.create_run("0", run_name="before the holidays").info.run_id
    monkeypatch.setenv("MLFLOW_RUN_ID", opened)
    with pytest.raises(KeyboardInterrupt), tracking.run("evaluate", "evaluate", CONFIG, training="key"):
        raise KeyboardInterrupt
    with tracking.run("evaluate", "evaluate", CONFIG, training="key") as went_on:
        tracking.rename("evaluate m version 3")
    assert went_on == opened
    assert tracking_store.get_run(opened).info.run_name == "before the holidays"


def test_a_run_that_has_ended_is_not_written_over(
    tracking_store: MlflowClient, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    ended = tracking_store.create_run("0").info.run_id
    tracking_store.set_terminated(ended, "FINISHED")
    monkeypatch.setenv("MLFLOW_RUN_ID", ended)
    with tracking.run("train", "train", CONFIG) as run_id:
        pass
    assert run_id != ended
    assert f"names a run that is FINISHED, {ended}: a new one is opened" in capsys.readouterr().out
    assert "stage" not in tracking_store.get_run(ended).data.tags


def test_tables_figures_and_texts_are_read_back(tracking_store: MlflowClient) -> None:
    table = pd.DataFrame([[2, 1], [0, 3]], index=["a", "b"], columns=["a", "b"])
    with tracking.run("train", "tables", CONFIG) as source:
        tracking.log_table(table, "confusion_matrix.json")
        tracking.log_table(table, "history.csv")
        tracking.log_figure(Figure(), "history.png")
        tracking.log_text("layers", "model_summary.txt")
    with tracking.run("train", "copies", CONFIG) as target:
        tracking.copy_artifacts(source, tracking.RUN_PICTURES)
    stored = json.loads(Path(tracking_store.download_artifacts(target, "confusion_matrix.json")).read_text())
    pd.testing.assert_frame_equal(pd.DataFrame(stored["data"], stored["index"], stored["columns"]), table)
    pd.testing.assert_frame_equal(
        pd.read_csv(tracking_store.download_artifacts(source, "history.csv")), table.reset_index(drop=True)
    )
    assert Path(tracking_store.download_artifacts(target, "history.png")).read_bytes().startswith(b"\x89PNG")
    assert Path(tracking_store.download_artifacts(source, "model_summary.txt")).read_text() == "layers"
    assert {artifact.path for artifact in tracking_store.list_artifacts(target)} == {
        "config.json",
        "confusion_matrix.json",  # of the three pictures, those that the source has
        "history.png",
    }


def test_predictions_of_many_classes_are_read_back_from_few_bytes(tracking_store: MlflowClient) -> None:
    probabilities = np.random.default_rng(0).dirichlet(np.full(100, 0.1), 2000)
    table = pd.DataFrame(probabilities, columns=[f"class {number}" for number in range(100)])
    table.insert(0, "path", [f"a/{number}.jpg" for number in range(len(table))])
    with tracking.run("train", "predictions", CONFIG) as run_id:
        tracking.log_table(table, tracking.VAL_PREDICTIONS)
    read = tracking.read_val_predictions(run_id)
    assert read is not None
    assert list(read["path"]) == list(table["path"])
    np.testing.assert_allclose(read[table.columns[1:]], probabilities, rtol=1e-6, atol=1e-30)
    size = Path(tracking_store.download_artifacts(run_id, tracking.VAL_PREDICTIONS)).stat().st_size
    assert size < 4.5 * probabilities.size  # bytes; twice that as pandas writes it


def test_the_data_set_is_named(tracking_store: MlflowClient, tmp_path: Path) -> None:
    manifest = pd.DataFrame({"path": ["a/1.jpg"], "label": ["a"], "split": ["train"], "sha256": ["0" * 64], "row": [0]})
    digest = "0123456789abcdef" * 4
    with tracking.run("train", "data", CONFIG) as run_id:
        tracking.log_data(manifest, tmp_path / "flowers", digest, context="training")
    run = tracking_store.get_run(run_id)
    assert run.data.tags["data_digest"] == digest
    (used,) = run.inputs.dataset_inputs
    assert used.dataset.name == "flowers"
    assert used.dataset.digest == digest[:16]
    assert {tag.value for tag in used.tags} == {"training"}


def test_a_server_that_is_not_there_is_named_within_seconds(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("MLFLOW_TRACKING_URI", "http://127.0.0.1:9")  # nothing listens on the discard port
    started = time.monotonic()
    with pytest.raises(UserError, match=r"http://127\.0\.0\.1:9") as caught:
        tracking.connect()
    assert time.monotonic() - started < 10
    assert "\n" not in str(caught.value)
    assert "MLFLOW_TRACKING_URI" in str(caught.value)


def test_a_server_that_is_no_mlflow_is_named(monkeypatch: pytest.MonkeyPatch) -> None:
    server = HTTPServer(("127.0.0.1", 0), BaseHTTPRequestHandler)  # which answers 501 to everything
    thread = threading.Thread(target=server.serve_forever)
    thread.start()
    monkeypatch.setenv("MLFLOW_TRACKING_URI", f"http://127.0.0.1:{server.server_port}/")
    try:
        with pytest.raises(UserError, match="must be reachable, got HTTPError"):
            tracking.connect()
    finally:
        server.shutdown()
        server.server_close()
        thread.join()


@pytest.mark.parametrize("variable", ["MLFLOW_TRACKING_URI", "MLFLOW_REGISTRY_URI"])
@pytest.mark.parametrize("uri", ["gibberish://x", "no-database-but-a-folder"])
def test_a_store_of_another_kind_is_named_in_one_line(
    tracking_store: MlflowClient, monkeypatch: pytest.MonkeyPatch, variable: str, uri: str
) -> None:
    monkeypatch.setenv(variable, uri)
    with pytest.raises(UserError, match=uri) as caught:
        tracking.connect()
    assert "\n" not in str(caught.value)


def test_a_local_store_needs_no_server(tracking_store: MlflowClient) -> None:
    tracking.connect()


def test_a_store_that_is_locked_for_a_while_is_waited_for(
    tracking_store: MlflowClient, capsys: pytest.CaptureFixture[str]
) -> None:
    database = database_file(mlflow.get_tracking_uri())
    assert database is not None
    with contextlib.closing(sqlite3.connect(database, check_same_thread=False)) as other:
        other.execute("BEGIN EXCLUSIVE")
        release = threading.Timer(3, other.rollback)
        release.start()
        tracking.connect()
        release.join()
    assert "waiting for the MLflow store" in capsys.readouterr().out


def test_a_store_that_stays_locked_is_a_mistake_of_one_line(
    tracking_store: MlflowClient, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(store, "LOCKED_FOR_S", 1)
    database = database_file(mlflow.get_tracking_uri())
    assert database is not None
    with contextlib.closing(sqlite3.connect(database)) as other:
        other.execute("BEGIN EXCLUSIVE")
        with pytest.raises(UserError, match=r"free within 1 s, got .*mlflow\.db.*fuser"):
            tracking.connect()


def test_a_store_that_cannot_be_made_is_told_at_once(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(os, "access", lambda *_: False)  # who runs the tests may write anywhere
    monkeypatch.setenv("MLFLOW_TRACKING_URI", f"sqlite:///{tmp_path / 'new.db'}")
    with pytest.raises(UserError, match=r"folder of the MLflow store must be writable"):
        tracking.connect()


def test_the_ui_command_names_a_store_that_is_not_the_default(
    tracking_store: MlflowClient, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    assert tracking.ui_command() == "mlflow ui"
    monkeypatch.setenv("MLFLOW_TRACKING_URI", f"sqlite:///{tmp_path / 'other.db'}")
    assert tracking.ui_command() == f"mlflow ui --backend-store-uri sqlite:///{tmp_path / 'other.db'}"


def test_the_page_of_the_runs_is_that_of_the_store(
    tracking_store: MlflowClient, monkeypatch: pytest.MonkeyPatch
) -> None:
    page = "/#/experiments/0/runs?workflowType=machine_learning&viewStateShareKey=photos"
    assert tracking.runs_page("0") == f"mlflow ui, then http://127.0.0.1:5000{page}"
    shared = json.loads(tracking_store.get_experiment("0").tags["mlflow.sharedViewState.photos"])
    assert "metrics.`best_val_accuracy`" in shared["selectedColumns"]
    monkeypatch.setattr(MlflowClient, "set_experiment_tag", lambda *_: None)  # there is no such server
    monkeypatch.setenv("MLFLOW_TRACKING_URI", "https://someone:secret@mlflow.example/team/")
    assert tracking.runs_page("0").endswith(f"mlflow.example/team{page}")
    assert "secret" not in tracking.runs_page("0")


def test_a_store_in_a_file_is_refused_to_many_machines(tracking_store: MlflowClient) -> None:
    with pytest.raises(UserError, match=r"must be a server or its database .*got sqlite:.*MLFLOW_TRACKING_URI"):
        tracking.connect(many_machines=True)


def test_a_password_in_an_address_is_not_logged(tracking_store: MlflowClient) -> None:
    storage = "postgresql://optuna:sesame@db.example/optuna"
    with pytest.raises(ValueError, match="sesame"), tracking.run("tune", "tune", TuneConfig(storage=storage)) as run_id:
        raise ValueError(f"cannot open {storage}")
    run = tracking_store.get_run(run_id)
    assert run.data.params["storage"] == "postgresql://optuna:***@db.example/optuna"
    assert run.data.tags["error"] == "cannot open postgresql://optuna:***@db.example/optuna"
    for file in ("config.json", "error.txt"):
        text = Path(tracking_store.download_artifacts(run_id, file)).read_text()
        assert "***" in text
        assert "sesame@" not in text


def test_what_other_hosts_left_open_below_a_run_is_closed(tracking_store: MlflowClient) -> None:
    with tracking.run("tune", "tune", CONFIG) as parent:
        hosts = {"elsewhere.example 1 0": "KILLED", owner_mark(): "RUNNING"}
        below = {
            tracking_store.create_run("0", tags={"mlflow.parentRunId": parent, "process": host}).info.run_id: status
            for host, status in hosts.items()
        }
        other = tracking_store.create_run("0", tags={"process": "elsewhere.example 1 0"}).info.run_id
        tracking.end_children(parent)
    assert {run_id: tracking_store.get_run(run_id).info.status for run_id in below} == below
    assert tracking_store.get_run(other).info.status == "RUNNING"


@pytest.mark.parametrize("name", ["process", "photo_pipeline.process"])
@pytest.mark.parametrize("mark", ["", "etl", "nightly batch 7", f"{socket.gethostname()} 1 x y"])
def test_a_strangers_run_with_our_tag_is_left_alone(tracking_store: MlflowClient, name: str, mark: str) -> None:
    run_id = tracking_store.create_run("0", tags={name: mark, "stage": "train", "stopped": "true"}).info.run_id
    assert tracking.connect() == 0
    assert tracking.tags_of_stopped_run("train", "stage", "train") is None
    assert tracking_store.get_run(run_id).info.status == "RUNNING"
    assert tracking.open_elsewhere() == []


def test_a_run_goes_on_under_another_host_name(tracking_store: MlflowClient, monkeypatch: pytest.MonkeyPatch) -> None:
    code = "from pipeline.processes import owner_mark; print(owner_mark())"
    environment = os.environ | {"PYTHONPATH": str(ROOT)}
    done = subprocess.run([sys.executable, "-c", code], env=environment, capture_output=True, text=True, check=True)
    tags = {"stage": "train", "training": "key", "photo_pipeline.process": done.stdout.strip()}
    run_id = tracking_store.create_run("0", tags=tags).info.run_id
    monkeypatch.setattr(socket, "gethostname", lambda: "pod-2")
    assert tracking.connect() == 1
    with tracking.run("train", "name", TrainConfig(), training="key") as went_on:
        assert went_on == run_id


def test_a_run_that_ends_as_it_is_looked_at_is_not_killed(
    tracking_store: MlflowClient, monkeypatch: pytest.MonkeyPatch
) -> None:
    run_id = tracking_store.create_run("0", tags={"process": owner_mark()}).info.run_id

    def ends_now(_: str) -> bool:
        tracking_store.set_terminated(run_id, "FINISHED")
        return True

    monkeypatch.setattr(runs, "is_gone", ends_now)
    assert tracking.connect() == 0
    assert tracking_store.get_run(run_id).info.status == "FINISHED"
