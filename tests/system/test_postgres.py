"""A study and its runs on a real PostgreSQL server, searched by two containers at once."""

from __future__ import annotations

import shutil
from pathlib import Path

import optuna
import pytest
from mlflow import MlflowClient

from tests.conftest import start_under
from tests.processes.test_owners import CONTAINER
from tests.servers import PASSWORD, Postgres, free_port, mlflow_server

TRIALS = 4
CHANGES = {"n_trials": TRIALS, "confirm_top_k": 0, "width": 0.01, "precision": "float32"}


def _with_password(url: str) -> str:
    return url.replace("optuna@", "optuna:${STUDY_PASSWORD}@")


@pytest.mark.slow
def test_two_containers_share_the_trials_of_a_search_and_keep_the_password(
    project: Path,
    postgres: Postgres,
    tune_flags: dict[str, object],
    environment: dict[str, str],
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """They have one host name, and folders and process numbers of their own: neither may end what the other runs."""
    study_url, runs_url, port = postgres.new_database("study"), postgres.new_database("runs"), free_port()
    environment |= {"PGPASSWORD": PASSWORD, "STUDY_PASSWORD": PASSWORD}
    environment["MLFLOW_TRACKING_URI"] = f"http://127.0.0.1:{port}"
    flags = [f"--{name}={value}" for name, value in (tune_flags | CHANGES).items()]
    search = ["tune", *flags, f"--storage={_with_password(study_url)}"]
    with mlflow_server(project, port, environment, runs_url):
        folders = [project, Path(shutil.copytree(project, project.with_name("other")))]
        searches = [start_under(CONTAINER, search, folder, environment) for folder in folders]
        printed = ["".join(command.communicate(timeout=540)) for command in searches]
        assert [command.returncode for command in searches] == [0, 0], printed
        client = MlflowClient(environment["MLFLOW_TRACKING_URI"])
        runs = client.search_runs(["0"])
        configs = [Path(client.download_artifacts(run.info.run_id, "config.json")).read_text() for run in runs]
    monkeypatch.setenv("PGPASSWORD", PASSWORD)
    study = optuna.load_study(study_name=None, storage=study_url)
    assert [trial.state.name for trial in study.trials if trial.state.is_finished()] == ["COMPLETE"] * TRIALS
    assert not [trial for trial in study.trials if trial.state.name == "RUNNING"]
    of_trials = [run for run in runs if run.data.tags["stage"] == "trial"]
    assert sorted(int(run.data.tags["trial"]) for run in of_trials) == list(range(TRIALS))
    assert {run.info.status for run in runs} == {"FINISHED"}
    assert len({run.data.tags["mlflow.parentRunId"] for run in of_trials}) == 2, "one of the two did all the work"
    (storage,) = {run.data.params["storage"] for run in runs if run.data.tags["stage"] == "tune"}
    assert storage == _with_password(study_url) != study_url
    assert not [text for text in (*printed, *configs) if PASSWORD in text]


@pytest.mark.slow
def test_a_password_that_is_wrong_is_not_repeated(postgres: Postgres, monkeypatch: pytest.MonkeyPatch) -> None:
    from pipeline.config import TuneConfig, UserError
    from pipeline.search import study as studies

    url = postgres.new_database("refused").replace("optuna@", "optuna:wrong-sesame@")
    monkeypatch.delenv("PGPASSWORD", raising=False)
    with pytest.raises(UserError, match="password authentication failed") as error:
        studies.open_study(TuneConfig(storage=url), "digest")
    assert "wrong-sesame" not in str(error.value)
    assert "\n" not in str(error.value)
