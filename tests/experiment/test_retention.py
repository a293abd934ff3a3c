"""What ``doctor --prune`` shows and deletes; and everything that it must leave alone."""

from __future__ import annotations

import os
import time
from pathlib import Path

import mlflow
import pytest
from filelock import FileLock
from mlflow import MlflowClient
from mlflow.entities import LoggedModelStatus

from pipeline import tracking
from pipeline.commands import doctor
from pipeline.config import DoctorConfig, TrainConfig
from pipeline.experiment import retention
from pipeline.tracking import unreferenced

NAME = "flower-classifier"


@pytest.fixture(autouse=True)
def _all_is_old(tracking_store: MlflowClient, monkeypatch: pytest.MonkeyPatch) -> None:
    """Let everything be older than what was used lately."""
    for module in (retention, unreferenced):
        monkeypatch.setattr(module, "RECENT_S", -1)


def _run(
    stage: str = "train", name: str = "name", digest: str = "", error: BaseException | None = None,
    parent: str | None = None, **flags: object,
) -> str:  # fmt: skip
    """Leave a run of the project that ends with the error, if any."""
    run_id = ""
    try:
        with tracking.run(stage, name, TrainConfig(**flags), parent=parent) as run_id:
            if digest:
                tracking.set_tags({"data_digest": digest})
            if error:
                raise error
    except (OSError, KeyboardInterrupt):
        pass
    return run_id


def _model(run_id: str, registered: bool = False) -> str:
    """Leave a logged model of a run, with a file of a megabyte."""
    model = mlflow.initialize_logged_model(name="model", source_run_id=run_id)
    mlflow.finalize_logged_model(model.model_id, LoggedModelStatus.READY)
    folder = Path(model.artifact_location)
    folder.mkdir(parents=True)
    (folder / "model.keras").write_bytes(b"0" * 10**6)
    if registered:
        if not MlflowClient().search_registered_models():
            MlflowClient().create_registered_model(NAME)
        MlflowClient().create_model_version(NAME, f"models:/{model.model_id}", run_id)
    return str(model.model_id)


def _store(letter: str) -> Path:
    """Leave prepared photos with their report and pictures."""
    for name in (f"prepared/{letter * 64}", f"reports/{letter * 12}", f"pictures/{letter * 12}-train-validation"):
        (Path("data") / name).mkdir(parents=True)
        (Path("data") / name / "file").write_bytes(b"0" * 10**6)
    return Path("data/prepared") / (letter * 64)


def _shown(capsys: pytest.CaptureFixture[str], **flags: bool) -> str:
    capsys.readouterr()
    doctor.run(DoctorConfig(prune=True, **flags))
    return capsys.readouterr().out


def test_photos_that_nothing_refers_to_are_shown_and_then_deleted(capsys: pytest.CaptureFixture[str]) -> None:
    unneeded, of_version, of_stopped = _store("a"), _store("b"), _store("c")
    _run(digest="a" * 64)
    _model(_run(digest="b" * 64), registered=True)
    _run(digest="c" * 64, error=KeyboardInterrupt())
    mine = Path("data/prepared/my own folder")
    mine.mkdir()
    draft = _store("d").rename(f"data/prepared/{'d' * 64}.part")
    shown = _shown(capsys)
    assert f"unneeded       1.0 MB  prepared photos {unneeded}" in shown
    assert "5.0 MB are not needed (python -m pipeline doctor --prune --free deletes them)" in shown
    assert unneeded.is_dir()
    assert "5.0 MB freed" in _shown(capsys, free=True)
    assert not unneeded.exists()
    assert sorted(path.name[0] for path in Path("data/reports").iterdir()) == ["b", "c"]
    assert sorted(path.name[0] for path in Path("data/pictures").iterdir()) == ["b", "c"]
    assert all(path.is_dir() for path in (of_version, of_stopped, mine, draft))
    assert _shown(capsys) == "there is nothing to delete\n"


def test_photos_of_lately_and_those_that_are_being_made_are_left_alone(
    capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    store = _store("a")
    with FileLock(store.with_name(f".{store.name}.lock")):
        assert f"kept     prepared photos {store}: in use" in _shown(capsys, free=True)
    assert store.is_dir()
    for module in (retention, unreferenced):
        monkeypatch.setattr(module, "RECENT_S", 3600)
    assert "nothing to delete" in _shown(capsys)  # just prepared
    day_before = time.time() - 24 * 3600
    os.utime(store, (day_before, day_before))
    assert str(store) in _shown(capsys)
    with tracking.run("train", "name", TrainConfig()):
        assert str(store) not in _shown(capsys)  # it may be about to read these
        tracking.set_tags({"data_digest": "b" * 64})
        assert str(store) in _shown(capsys)
    _run(digest=store.name)
    assert str(store) not in _shown(capsys)


def test_models_that_nothing_refers_to_go_and_all_others_stay(capsys: pytest.CaptureFixture[str]) -> None:
    trial = _run("tune", "finished")
    unneeded = [_model(_run("train", "never registered")), _model(_run("trial", "a trial", parent=trial))]
    stopped = _run("tune", error=KeyboardInterrupt())
    start = _model(_run())
    needed = [
        _model(_run(), registered=True),
        _model(_run("confirm", parent=trial)),  # which a study that goes on may choose
        _model(_run("trial", parent=stopped)),
        _model(_run(error=KeyboardInterrupt())),
        start,
    ]
    _run(weights=f"models:/{start}")
    with mlflow.start_run():  # of another program in the same store
        needed.append(_model(mlflow.active_run().info.run_id))
    shown = _shown(capsys)
    assert all(f"1.0 MB  model {model} (of " in shown for model in unneeded)
    assert "2.0 MB are not needed" in shown
    _shown(capsys, free=True)
    left = {model.model_id for model in MlflowClient().search_logged_models(["0"])}
    assert left == set(needed)
    folders = {model.artifact_location for model in MlflowClient().search_logged_models(["0"])}
    assert all(Path(folder, "model.keras").is_file() for folder in folders)
    assert {path.name for path in Path("mlruns/0/models").iterdir()} == left
    assert "nothing to delete" in _shown(capsys)


def test_a_run_that_goes_on_keeps_its_model(capsys: pytest.CaptureFixture[str]) -> None:
    with tracking.run("train", "name", TrainConfig()) as run_id:
        model = _model(run_id)
        assert "nothing to delete" in _shown(capsys)
    assert model in _shown(capsys)


def test_failed_and_deleted_runs_go_and_results_stay(capsys: pytest.CaptureFixture[str]) -> None:
    failed, finished, deleted = _run(error=OSError("full")), _run(), _run()
    parent = _run("tune", error=OSError("full"))
    child = _run("trial", parent=parent)
    of_version = _run()
    _model(of_version, registered=True)
    for run_id in (deleted, of_version):
        MlflowClient().delete_run(run_id)
    shown = _shown(capsys)
    assert f"run {failed} (failed: name)" in shown
    assert f"run {deleted} (deleted in MLflow: name)" in shown
    _shown(capsys, free=True)
    assert {run.info.run_id for run in MlflowClient().search_runs(["0"])} == {finished, parent, child}
    left = {path.name for path in Path("mlruns/0").iterdir()} - {"models"}
    assert left == {finished, parent, child, of_version}
    assert "nothing to delete" in _shown(capsys)


def test_nothing_is_freed_that_was_not_shown() -> None:
    with pytest.raises(ValueError, match="free needs prune"):
        DoctorConfig(free=True)
