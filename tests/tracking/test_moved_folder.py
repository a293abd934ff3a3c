"""Which folder a store in a file follows, and which it leaves alone."""

from __future__ import annotations

from pathlib import Path

import mlflow
import pytest
from mlflow import MlflowClient

from pipeline import tracking
from pipeline.config import TrainConfig, UserError
from pipeline.tracking.moved_folder import follow_moved_folder


@pytest.fixture
def store_of_a_run(tracking_store: MlflowClient, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """The folder of a store with one run, which has artifacts."""
    with tracking.run("train", "name", TrainConfig()):
        pass
    return tmp_path


def _move(folder: Path, monkeypatch: pytest.MonkeyPatch, name: str = "moved") -> Path:
    """Move database and artifacts into a folder of another name, and work there."""
    moved = folder / name
    moved.mkdir()
    for part in ("mlflow.db", "mlruns"):
        (folder / part).rename(moved / part)
    monkeypatch.chdir(moved)
    monkeypatch.setenv("MLFLOW_TRACKING_URI", f"sqlite:///{moved}/mlflow.db")
    return moved


def _places() -> set[str]:
    runs = MlflowClient().search_runs(["0"])
    return {MlflowClient().get_experiment("0").artifact_location, *(run.info.artifact_uri for run in runs)}


@pytest.mark.parametrize("name", ["moved", "my photos", "50% off", "a#b"])
def test_artifacts_are_found_in_the_moved_folder(
    store_of_a_run: Path, monkeypatch: pytest.MonkeyPatch, name: str
) -> None:
    moved = _move(store_of_a_run, monkeypatch, name)
    (line,) = follow_moved_folder()
    assert line.startswith(f"the folder of the runs has moved from {store_of_a_run}/mlruns to {moved}/mlruns")
    assert list(follow_moved_folder()) == []
    (run,) = MlflowClient().search_runs(["0"])
    assert [file.path for file in MlflowClient().list_artifacts(run.info.run_id)] == ["config.json"]
    assert all(place.startswith(f"{moved}/mlruns/0") for place in _places())


def test_only_whole_names_of_folders_are_followed(store_of_a_run: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """The artifacts of another experiment, which a user has put somewhere, stay there; so do those in a server."""
    for name, place in (("own", f"{store_of_a_run}/mlruns2/7"), ("away", "s3://photos/mlruns/8")):
        mlflow.create_experiment(name, place)
    moved = _move(store_of_a_run, monkeypatch)
    assert len(list(follow_moved_folder())) == 1
    of_others = {experiment.artifact_location for experiment in MlflowClient().search_experiments()}
    assert of_others == {f"{moved}/mlruns/0", f"{store_of_a_run}/mlruns2/7", "s3://photos/mlruns/8"}


def test_artifacts_that_a_database_elsewhere_has_are_left_alone(
    store_of_a_run: Path, tmp_path_factory: pytest.TempPathFactory, monkeypatch: pytest.MonkeyPatch
) -> None:
    elsewhere = tmp_path_factory.mktemp("databases")
    (store_of_a_run / "mlflow.db").rename(elsewhere / "mlflow.db")
    monkeypatch.setenv("MLFLOW_TRACKING_URI", f"sqlite:///{elsewhere}/mlflow.db")
    before = _places()
    assert list(follow_moved_folder()) == []
    assert _places() == before
    moved = store_of_a_run.rename(store_of_a_run.with_name(f"{store_of_a_run.name}-moved"))
    monkeypatch.chdir(moved)
    assert len(list(follow_moved_folder())) == 1
    assert all(place.startswith(f"{moved}/mlruns/0") for place in _places())


def test_a_new_database_elsewhere_leaves_the_artifacts_in_the_working_folder(
    tracking_store: MlflowClient,
    tmp_path: Path,
    tmp_path_factory: pytest.TempPathFactory,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    elsewhere = tmp_path_factory.mktemp("databases")
    (tmp_path / "mlflow.db").rename(elsewhere / "mlflow.db")
    monkeypatch.setenv("MLFLOW_TRACKING_URI", f"sqlite:///{elsewhere}/mlflow.db")
    assert list(follow_moved_folder()) == []
    assert _places() == {f"{tmp_path}/mlruns/0"}
    moved = tmp_path.rename(tmp_path.with_name(f"{tmp_path.name}-moved"))
    monkeypatch.chdir(moved)
    assert len(list(follow_moved_folder())) == 1
    assert _places() == {f"{moved}/mlruns/0"}


def test_artifacts_that_are_nowhere_are_missed_before_anything_is_written(
    store_of_a_run: Path, tmp_path_factory: pytest.TempPathFactory, monkeypatch: pytest.MonkeyPatch
) -> None:
    elsewhere = tmp_path_factory.mktemp("without artifacts")
    (store_of_a_run / "mlflow.db").rename(elsewhere / "mlflow.db")
    monkeypatch.chdir(elsewhere)
    monkeypatch.setenv("MLFLOW_TRACKING_URI", f"sqlite:///{elsewhere}/mlflow.db")
    store_of_a_run.rename(store_of_a_run.with_name(f"{store_of_a_run.name}-gone"))
    before = _places()
    with pytest.raises(UserError, match=r"the artifacts of the runs must be in .* got neither") as error:
        tracking.connect()
    assert "\n" not in str(error.value)
    assert _places() == before


def test_a_store_without_runs_is_of_the_folder_in_which_it_lies(
    tracking_store: MlflowClient, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "mlruns").mkdir()
    moved = _move(tmp_path, monkeypatch)
    assert len(list(follow_moved_folder())) == 1
    assert _places() == {f"{moved}/mlruns/0"}
