"""`doctor` on projects with something wrong: it says so, mends what loses nothing, and leaves alone what is in use."""

from __future__ import annotations

from pathlib import Path
from types import SimpleNamespace

import numpy as np
import pytest
from filelock import FileLock
from mlflow import MlflowClient

from pipeline import tracking
from pipeline.commands import doctor
from pipeline.config import TrainConfig, TuneConfig
from pipeline.data.store.store import prepared_store
from pipeline.experiment.training_run import CHECKPOINTS
from tests.conftest import PIPELINE, TINY, RunIn, wait_while_running
from tests.forks import Forks
from tests.small_net import SMALL


@pytest.fixture
def store(photo_folder: Path, tracking_store: MlflowClient) -> Path:
    """A prepared store under the test's working directory."""
    return prepared_store(TrainConfig(data=str(photo_folder), image_size=32, val_fraction=0.3)).folder


def _states(check: object) -> list[str]:
    return [finding.state for finding in check()]  # type: ignore[operator]


def test_all_is_well_in_an_environment_that_runs_the_tests(run_in: RunIn, project: Path) -> None:
    printed = run_in(project, *PIPELINE, "doctor").stdout
    assert "wrong" not in printed
    assert "ok        opencv       imports" in printed
    assert "GPUs" in printed
    assert "GB free" in printed


def test_a_package_of_another_version_is_named(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(doctor, "_installed", lambda name: {"keras": "2.0", "optuna": ""}.get(name, "") or "")
    wrong = [finding.text for finding in doctor.packages() if finding.state == "wrong"]
    assert any(text.startswith("keras must be") and "got 2.0" in text for text in wrong)
    assert any(text.startswith("optuna must be") and "got none" in text for text in wrong)


def test_what_cannot_be_imported_comes_with_a_remedy(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(doctor, "IMPORTS", {"opencv": ("import no_such_module", "apt-get install libgl1")})
    (finding,) = doctor.imports()
    assert finding.state == "wrong"
    assert "No module named 'no_such_module'" in finding.text
    assert "libgl1" in finding.text


def test_little_room_on_the_disk_is_noted(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    for free, state in ((10**10, "ok"), (10**9, "note"), (10**8, "wrong")):
        usage = SimpleNamespace(free=free)
        monkeypatch.setattr(doctor.shutil, "disk_usage", lambda _, usage=usage: usage)
        assert set(_states(doctor.disk)) == {state}


def test_a_whole_store_stays_and_a_damaged_one_goes(store: Path) -> None:
    draft = store.with_name(f"{store.name}.part")
    draft.mkdir()
    mine = store.with_name("backup of my photos")
    mine.mkdir()
    assert _states(doctor.prepared) == ["note", "ok"]
    assert store.is_dir()
    assert mine.is_dir()
    assert draft.is_dir()
    draft.rmdir()
    np.save(store / "train.npy", np.load(store / "train.npy")[:-1])
    assert _states(doctor.prepared) == ["repaired", "ok"]
    assert not store.exists()


def test_a_store_in_the_making_is_left_alone(store: Path) -> None:
    (store / "manifest.parquet").unlink()
    with FileLock(store.with_name(f".{store.name}.lock")):
        assert _states(doctor.prepared) == ["note", "ok"]
    assert store.is_dir()


def test_checkpoints_go_with_their_training(tracking_store: MlflowClient) -> None:
    for key in ("ended", "stopped", "unknown", "busy", "failed", "running"):
        (CHECKPOINTS / key).mkdir(parents=True)
        (CHECKPOINTS / key / "000001-000000001-0.npz").write_bytes(b"0" * 10**6)
    with tracking.run("train", "name", TrainConfig(), training="ended"):
        pass
    with (
        pytest.raises(KeyboardInterrupt),
        tracking.run("tune", "tune flowers", TuneConfig()),
        tracking.run("trial", "trial-003", TrainConfig(), training="stopped") as stopped,
    ):
        raise KeyboardInterrupt
    failing = tracking.run("train", "name", TrainConfig(), training="failed")
    with pytest.raises(OSError, match="full"), failing as failed:
        raise OSError("the disk is full")
    elsewhere = {"training": "running", "process": "elsewhere.example 1 1@0"}
    far = tracking_store.create_run("0", tags=elsewhere, run_name="far away")
    assert [finding.text for finding in doctor.runs() if finding.state == "note"] == [
        "of other folders, still running or killed: far away (run doctor in their folder)"
    ]
    with FileLock(CHECKPOINTS / "busy.lock"):
        found = list(doctor.checkpoints())
    assert [finding.state for finding in found] == ["ok", "repaired", "note", "note", "note", "note"]
    again = "again with the same flags to continue, or delete the folder"
    assert [finding.text.partition(" MB) is kept for ")[2] for finding in found[2:]] == [
        f"'name' (run {failed}), failed: run its command, train, {again}",
        f"'far away' (run {far.info.run_id}), running elsewhere",
        f"'trial-003' of 'tune flowers' (run {stopped}), stopped: run its command, tune, {again}",
        "a training that this MLflow store does not know (delete the folder if nobody continues it)",
    ]
    assert {folder.name for folder in CHECKPOINTS.glob("*") if folder.is_dir()} == {
        "stopped", "unknown", "busy", "failed", "running",
    }  # fmt: skip


@pytest.mark.slow
def test_a_killed_command_is_marked(
    project: Path, photo_folder: Path, environment: dict[str, str], forks: Forks, fork_in: RunIn
) -> None:
    flags = [f"--data={photo_folder}", "--epochs=2000", *TINY]
    client = MlflowClient(f"sqlite:///{project / 'mlflow.db'}")
    training = forks.start(project, environment | SMALL, "train", *flags)
    wait_while_running(lambda: [run for run in client.search_runs(["0"]) if run.data.metrics], training)
    training.kill()
    training.communicate()
    assert "marked 1 as KILLED" in fork_in(project, "doctor").stdout
    assert "marked" not in fork_in(project, "doctor").stdout


@pytest.mark.slow
@pytest.mark.parametrize("package", ["optuna", "cv2", "mlflow"])
def test_a_package_that_is_missing_is_a_finding(run_in: RunIn, project: Path, tmp_path: Path, package: str) -> None:
    (tmp_path / "broken").mkdir()
    (tmp_path / "broken" / f"{package}.py").write_text(f"raise ImportError('no {package} here')")
    done = run_in(project, *PIPELINE, "doctor", exit_code=2, PYTHONPATH=str(tmp_path / "broken"))
    assert any(line.startswith("wrong") and f"no {package} here" in line for line in done.stdout.splitlines())
    assert "Traceback" not in done.stderr


@pytest.mark.slow
def test_what_is_wrong_ends_with_exit_code_2(run_in: RunIn, project: Path) -> None:
    done = run_in(project, *PIPELINE, "doctor", exit_code=2, MLFLOW_TRACKING_URI="http://127.0.0.1:1")
    assert "wrong     runs" in done.stdout
    assert done.stderr.strip().splitlines()[-1].startswith("error: all checks must pass, got 1")
