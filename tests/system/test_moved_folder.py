"""A project whose folder is renamed or copied: models, photos and searches are found, and nothing goes elsewhere."""

from __future__ import annotations

import contextlib
import shutil
import sqlite3
import sys
from pathlib import Path
from typing import TYPE_CHECKING

import pytest
import requests
from mlflow import MlflowClient

from tests.conftest import PIPELINE, TINY
from tests.servers import free_port, running_server
from tests.small_net import SMALL

if TYPE_CHECKING:
    from tests.conftest import RunIn

FLAGS = ("--data=photos", "--epochs=1", "--weights=none", *TINY)
SEARCH = (*FLAGS, "--variants=resnet18", "--study_name=mine", "--confirm_top_k=0")
NO_JOBS = {"MLFLOW_SERVER_ENABLE_JOB_EXECUTION": "false"}  # 8 processes more

pytestmark = pytest.mark.slow


@pytest.fixture
def used(project: Path, photo_folder: Path, fork_in: RunIn) -> Path:
    """A project with photos in its folder, a champion, and a search under a name of its own."""
    shutil.copytree(photo_folder, project / "photos")
    fork_in(project, "train", *FLAGS, **SMALL)
    fork_in(project, "evaluate", "--corruption_photos=0", "--promotion=always")
    fork_in(project, "tune", *SEARCH, "--n_trials=1", **SMALL)
    return project


def _files(folder: Path) -> dict[Path, int]:
    return {path: path.stat().st_mtime_ns for path in (folder / "mlruns").rglob("*")}


def _paths_recorded(folder: Path) -> list[str]:
    """Return where the store looks for artifacts, but for addresses within MLflow."""
    query = """SELECT artifact_location FROM experiments UNION ALL SELECT artifact_uri FROM runs UNION ALL
        SELECT artifact_location FROM logged_models UNION ALL SELECT storage_location FROM model_versions"""
    with contextlib.closing(sqlite3.connect(folder / "mlflow.db")) as database:
        return [path for (path,) in database.execute(query)]


def test_a_renamed_project_goes_on_with_all_that_it_had(
    used: Path, run_in: RunIn, fork_in: RunIn, environment: dict[str, str]
) -> None:
    renamed = used.rename(used.with_name("Fotos ä 2"))
    printed = run_in(
        renamed, "mlflow", "run", ".", "-e", "predict", "--env-manager", "local", "-P", "photos=photos"
    ).stdout
    assert f"the folder of the runs has moved from {used}/mlruns to {renamed}/mlruns" in printed
    assert "30 photos by flower-classifier version 1, 0 of them unusable" in printed
    printed = fork_in(renamed, "evaluate", "--corruption_photos=0").stdout
    assert "the folder of the runs" not in printed
    assert "already prepared: 30 photos" in printed
    assert "version 2 does not become champion" in printed
    printed = fork_in(renamed, "tune", *SEARCH, "--n_trials=2", **SMALL).stdout
    assert "study mine: 1 of 2 trials are finished" in printed
    assert "registered flower-classifier version" in fork_in(renamed, "train", *FLAGS, "--seed=1", **SMALL).stdout
    assert all(path.startswith(f"{renamed}/mlruns/0") for path in _paths_recorded(renamed))
    assert not used.exists()
    load = (
        "import mlflow; print(mlflow.pyfunc.load_model('models:/flower-classifier@champion').predict(['{}']).label[0])"
    )
    photo = next((renamed / "photos" / "red").iterdir())
    assert run_in(renamed, sys.executable, "-c", load.format(photo)).stdout.strip() in ("blue", "green", "red")
    _check_that_the_pages_have_pictures(renamed, environment)


def _check_that_the_pages_have_pictures(folder: Path, environment: dict[str, str]) -> None:
    client, port = MlflowClient(f"sqlite:///{folder}/mlflow.db"), free_port()
    address = f"http://127.0.0.1:{port}"
    command = [sys.executable, "-m", "mlflow", "ui", f"--port={port}", "--workers=1"]
    trained = [run.info.run_id for run in client.search_runs(["0"]) if run.data.tags.get("stage") in ("train", "trial")]
    assert len(trained) == 4
    with running_server(command, folder, environment | NO_JOBS, f"{address}/health"):
        for run_id in trained:
            query = {"path": "confusion_matrix.png", "run_uuid": run_id}
            answer = requests.get(f"{address}/get-artifact", params=query, timeout=60)
            assert answer.content.startswith(b"\x89PNG"), answer.text


def test_a_copied_project_leaves_the_original_alone(used: Path, run_in: RunIn, fork_in: RunIn) -> None:
    before = _files(used)
    copy = used.with_name("copy")
    shutil.copytree(used, copy)
    assert (
        f"repaired  places       the folder of the runs has moved from {used}/mlruns" in fork_in(copy, "doctor").stdout
    )
    assert "version 3 as challenger" in fork_in(copy, "train", *FLAGS, "--seed=1", **SMALL).stdout
    run_in(copy, *PIPELINE, "predict", "--photos=photos")
    assert _files(used) == before
    assert all(path.startswith(f"{copy}/mlruns/0") for path in _paths_recorded(copy))
    assert all(path.startswith(f"{used}/mlruns/0") for path in _paths_recorded(used))
    shutil.rmtree(copy)
    assert "places       the MLflow store has the right paths of its artifacts" in fork_in(used, "doctor").stdout
    fork_in(used, "predict", "--photos=photos")
