"""The main job end to end, started as a user starts it: what a search leaves, and what every other command does.

The search and those commands that start in a way of their own run as processes, others as forks; those that must fail
before any training run in this process.
"""

from __future__ import annotations

import base64
import json
import re
import shlex
import shutil
import signal
import sys
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import TYPE_CHECKING, NamedTuple

import cv2
import numpy as np
import pandas as pd
import pytest
import requests
from mlflow import MlflowClient
from mlflow.entities import Run

from pipeline.__main__ import main
from pipeline.config import OBJECTIVES, TrainConfig, TuneConfig
from pipeline.config.text import config_text
from pipeline.evaluation import PICTURES, TABLES
from tests.conftest import PIPELINE
from tests.servers import free_port, running_server
from tests.small_net import SMALL

if TYPE_CHECKING:
    from tests.conftest import RunIn, Tuned

CLASSES = ["blue", "green", "red"]
CHALLENGER, CHAMPION = "models:/flower-classifier@challenger", "models:/flower-classifier@champion"
EPOCHS = {"trial": 2, "confirm": 5}  # a confirmation is two and a half times as long
EPOCH_METRICS = {
    *("train_loss", "train_accuracy", "val_loss", "val_accuracy", "val_balanced_accuracy", "val_macro_f1"),
    *("learning_rate", "images_per_second"),
}
END_METRICS = {"best_epoch", *(f"best_{name}" for name in OBJECTIVES)}
TEST_METRICS = {
    *("test_accuracy", "test_accuracy_ci_low", "test_accuracy_ci_high", "test_balanced_accuracy", "test_macro_f1"),
    *("test_accuracy_tta", "test_log_loss", "test_roc_auc", "test_ece", *(f"test_recall_{name}" for name in CLASSES)),
}
RUN_ARTIFACTS = {"confusion_matrix.json", "confusion_matrix.png", "history.png", "config.json", "augmented.jpg"}
STUDY_PICTURES = {f"optuna_{name}.png" for name in ("history", "parallel_coordinates", "slice", "timeline")}

READ_IN_A_PROCESS = r"""
import json, re, sys
import mlflow
import pandas as pd

model = mlflow.pyfunc.load_model(sys.argv[1])
path, pixels = sys.argv[2], pd.read_pickle(sys.argv[3])
with open(path, "rb") as file:
    data = file.read()
forms = {"bytes": [data], "path": [path], "array": pixels, "list of arrays": [pixels]}
forms |= {"frame of bytes": pd.DataFrame({"image": [data]}), "frame of paths": pd.DataFrame({"image": [path]})}
tables = {name: json.loads(model.predict(form).to_json(orient="records")) for name, form in forms.items()}
(carried,) = (name for name in sys.modules if re.fullmatch(r"photo_pipeline_\w+", name))
assert "pipeline" not in sys.modules
print(json.dumps({"pipeline": sys.modules[carried].__file__, "tables": tables}))
"""


class Jobs(NamedTuple):
    """What every command printed that ran on the finished search, and the photo that some of them classified."""

    printed: dict[str, str]
    photo: Path
    scratch: Path


class Evaluated(NamedTuple):
    """What the evaluation of the challenger left: its run, and its table of predictions."""

    run: Run
    predictions: pd.DataFrame


def _flags(**flags: object) -> list[str]:
    return [f"--{name}={value}" for name, value in flags.items()]


def _stage(runs: list[Run], stage: str) -> list[Run]:
    return [run for run in runs if run.data.tags["stage"] == stage]


def _new_runs(project: Tuned, known: list[Run]) -> list[Run]:
    old = {run.info.run_id for run in known}
    return [run for run in project.client.search_runs(["0"]) if run.info.run_id not in old]


def _artifacts(client: MlflowClient, run: Run) -> set[str]:
    return {artifact.path for artifact in client.list_artifacts(run.info.run_id)}


def _text(client: MlflowClient, run: Run, file: str) -> str:
    return Path(client.download_artifacts(run.info.run_id, file)).read_text()


def _table(client: MlflowClient, run: Run, file: str) -> pd.DataFrame:
    return pd.read_csv(client.download_artifacts(run.info.run_id, file))


def _matrix_accuracy(client: MlflowClient, run: Run) -> float:
    matrix = json.loads(_text(client, run, "confusion_matrix.json"))
    assert matrix["index"] == matrix["columns"] == CLASSES
    return float(np.trace(matrix["data"]) / np.sum(matrix["data"]))


# ---- what a search leaves


def test_one_run_stands_for_the_search(tuned_project: Tuned) -> None:
    tops = [run for run in tuned_project.runs if "mlflow.parentRunId" not in run.data.tags]
    (parent,) = tops
    assert parent.data.tags["stage"] == "tune"
    assert {run.info.status for run in tuned_project.runs} == {"FINISHED"}
    assert {run.data.tags["mlflow.parentRunId"] for run in tuned_project.runs if run is not parent} == {
        parent.info.run_id
    }
    stages = sorted(run.data.tags["stage"] for run in tuned_project.runs)
    assert stages == ["confirm", "trial", "trial", "tune"]


def test_names_say_what_differs(tuned_project: Tuned) -> None:
    names = sorted(run.info.run_name for run in tuned_project.runs)
    assert names[0].startswith("confirm-000 seed=1 resnet18 ") or names[0].startswith("confirm-001 seed=1 resnet18 ")
    assert names[1:3] == [
        "trial-000 resnet18 medium adamw lr=1.0e-03 cosine",
        "trial-001 resnet18 light adamw lr=1.0e-03 cosine",
    ]
    assert names[3].endswith("2 trials")


def test_every_epoch_is_logged(tuned_project: Tuned) -> None:
    for run in _stage(tuned_project.runs, "trial") + _stage(tuned_project.runs, "confirm"):
        for name in EPOCH_METRICS:
            points = tuned_project.client.get_metric_history(run.info.run_id, name)
            last = EPOCHS[run.data.tags["stage"]]
            # of the best epoch, which the run shows, unless the last epoch has the same
            once_more = [last] * (name == "val_macro_f1" and len(points) > last)
            assert sorted(point.step for point in points) == [*range(1, 1 + last), *once_more], name
            assert np.isfinite([point.value for point in points]).all()
        assert run.data.metrics.keys() >= END_METRICS | {f"val_recall_{name}" for name in CLASSES}
        assert run.data.metrics["val_macro_f1"] == run.data.metrics["best_val_macro_f1"]


def test_every_run_has_its_pictures_and_its_config(tuned_project: Tuned) -> None:
    for run in tuned_project.runs:
        assert _artifacts(tuned_project.client, run) >= RUN_ARTIFACTS, run.info.run_name
        assert json.loads(_text(tuned_project.client, run, "config.json"))["image_size"] == 32
        for picture in ("confusion_matrix.png", "history.png"):
            file = tuned_project.client.download_artifacts(run.info.run_id, picture)
            assert cv2.imread(file).std() > 1, f"{picture} of {run.info.run_name} is blank"


def test_matrix_and_accuracy_of_a_run_agree_exactly(tuned_project: Tuned) -> None:
    for run in _stage(tuned_project.runs, "trial") + _stage(tuned_project.runs, "confirm"):
        accuracies = [point.value for point in tuned_project.client.get_metric_history(run.info.run_id, "val_accuracy")]
        assert _matrix_accuracy(tuned_project.client, run) == run.data.metrics["best_val_accuracy"] == max(accuracies)


def test_the_search_shows_the_matrix_of_its_winner(tuned_project: Tuned) -> None:
    (parent,) = _stage(tuned_project.runs, "tune")
    (confirmed,) = _stage(tuned_project.runs, "confirm")
    assert _matrix_accuracy(tuned_project.client, parent) == parent.data.metrics["confirmed_val_accuracy"]
    assert confirmed.data.metrics["best_val_accuracy"] == parent.data.metrics["confirmed_val_accuracy"]
    value, low, high = (parent.data.metrics[f"expected_accuracy{end}"] for end in ("", "_ci_low", "_ci_high"))
    assert low <= value <= min(high, parent.data.metrics["confirmed_val_accuracy"])
    assert "On new photos of this kind expect about" in tuned_project.printed
    assert parent.data.metrics["best_val_accuracy"] == confirmed.data.metrics["best_val_accuracy"]
    best = max(run.data.metrics["best_val_accuracy"] for run in _stage(tuned_project.runs, "trial"))
    assert parent.data.metrics["searched_val_accuracy"] == best


def test_params_are_the_flags(tuned_project: Tuned, tune_flags: dict[str, object]) -> None:
    expected = config_text(TuneConfig(**tune_flags))
    (parent,) = _stage(tuned_project.runs, "tune")
    as_given = {name: "".join(shlex.split(text)) for name, text in parent.data.params.items()}  # mlflow run quotes
    assert as_given == expected
    for run in _stage(tuned_project.runs, "trial") + _stage(tuned_project.runs, "confirm"):
        config = TrainConfig(**json.loads(_text(tuned_project.client, run, "config.json")))
        assert run.data.params == config_text(config)
        assert config.variant == "resnet18"
        assert (config.epochs, config.batch_size) == (EPOCHS[run.data.tags["stage"]], 8)


def test_runs_say_which_data_they_read(tuned_project: Tuned, photo_folder: Path) -> None:
    digests = {run.data.tags["data_digest"] for run in tuned_project.runs}
    (digest,) = digests
    assert (tuned_project.folder / "data" / "prepared" / digest / "manifest.parquet").is_file()
    for run in tuned_project.runs:
        (used,) = run.inputs.dataset_inputs
        assert used.dataset.name == photo_folder.name
        assert digest.startswith(used.dataset.digest)


def test_the_search_leaves_its_table_and_pictures(tuned_project: Tuned) -> None:
    (parent,) = _stage(tuned_project.runs, "tune")
    artifacts = _artifacts(tuned_project.client, parent)
    found = {"trials.csv", "confirmations.csv", "space.yaml", "class_counts.json", "samples.png", "report.html"}
    assert artifacts >= STUDY_PICTURES | found | {"search.html", "duplicates.csv"}
    assert "no label suspects" in tuned_project.printed, "three validation photos prove nothing"
    assert "label_suspects.csv" not in artifacts
    table = _table(tuned_project.client, parent, "trials.csv").set_index("run_id")
    trials = {run.info.run_id: run for run in _stage(tuned_project.runs, "trial")}
    assert set(table.index) == set(trials)
    assert set(table["state"]) == {"complete"}
    for run_id, row in table.iterrows():
        assert row["value"] == trials[run_id].data.metrics["best_val_accuracy"]
        assert row["learning_rate"] == pytest.approx(float(trials[run_id].data.params["learning_rate"]))


def test_the_winner_is_the_challenger(tuned_project: Tuned) -> None:
    (parent,) = _stage(tuned_project.runs, "tune")
    versions = tuned_project.client.search_model_versions("name='flower-classifier'")
    first = min(versions, key=lambda version: int(version.version))
    assert first.source == parent.data.tags["model_uri"]
    assert "registered flower-classifier version 1 as challenger" in tuned_project.printed
    (report,) = re.findall(r"read the report: +file://(/\S+)", tuned_project.printed)
    assert Path(report).parent == tuned_project.folder / "reports"
    assert Path(report).read_text() == _text(tuned_project.client, parent, "report.html")
    assert "mlflow ui" in tuned_project.printed


# ---- the commands that read the winner


@pytest.fixture(scope="module")
def jobs(
    evaluated_project: Tuned,
    tune_flags: dict[str, object],
    photo_folder: Path,
    run_in: RunIn,
    fork_in: RunIn,
    tmp_path_factory: pytest.TempPathFactory,
) -> Jobs:
    """Every other command, on the store that the search and the evaluation left."""
    folder, scratch = evaluated_project.folder, tmp_path_factory.mktemp("jobs")
    photo = photo_folder / _test_photos(evaluated_project)["path"].iloc[0]
    pd.to_pickle(cv2.cvtColor(cv2.imread(str(photo)), cv2.COLOR_BGR2RGB), scratch / "pixels.pkl")
    (scratch / "bad.jpg").write_bytes(b"<html>")
    shutil.copy(photo, scratch / "good.jpg")
    brief = {"data": photo_folder, "image_size": 32, "epochs": 1, "batch_size": 8, "model_name": "other"}
    tiny, same = brief | {"width": 0.01, "precision": "float32"}, brief | {"width": tune_flags["width"]}
    padded = {"data": photo_folder, "image_size": 64, "resize": "pad"}
    photos = {"photos": f"{scratch}/*.jpg,{photo}", "output": scratch / "table.csv", "model_uri": CHAMPION}
    done = {
        "ablate": fork_in(folder, "ablate", *_flags(**tiny, factors="optimizer=sgd", seeds=1), **SMALL),
        "train": fork_in(folder, "train", *_flags(**same, classes="blue,red", weights=CHALLENGER)),
        "first": fork_in(folder, "preprocess", *_flags(**padded)),
        "second": fork_in(folder, "preprocess", *_flags(**padded)),
        "predict": fork_in(folder, "predict", *_flags(**photos)),
        "load": run_in(folder, sys.executable, "-c", READ_IN_A_PROCESS, CHAMPION, photo, scratch / "pixels.pkl"),
    }
    return Jobs({name: command.stdout for name, command in done.items()}, photo, scratch)


def _test_photos(project: Tuned) -> pd.DataFrame:
    digest = project.runs[0].data.tags["data_digest"]
    manifest = pd.read_parquet(project.folder / "data" / "prepared" / digest / "manifest.parquet")
    return manifest[manifest["split"] == "test"].sort_values("row").reset_index()


@pytest.fixture(scope="module")
def evaluated(evaluated_project: Tuned) -> Evaluated:
    (run,) = _stage(evaluated_project.runs, "evaluate")
    return Evaluated(run, _table(evaluated_project.client, run, "predictions.csv"))


def test_evaluate_reports_on_the_test_split(tuned_project: Tuned, evaluated: Evaluated) -> None:
    client, (run, predictions) = tuned_project.client, evaluated
    assert run.info.status == "FINISHED"
    assert run.data.metrics.keys() >= TEST_METRICS
    accuracy = run.data.metrics["test_accuracy"]
    assert (predictions["label"] == predictions["predicted"]).mean() == accuracy == predictions["correct"].mean()
    assert _matrix_accuracy(client, run) == accuracy
    assert run.data.metrics["test_accuracy_ci_low"] <= accuracy <= run.data.metrics["test_accuracy_ci_high"]
    assert run.data.metrics["test_recall_red"] == predictions.loc[predictions["label"] == "red", "correct"].mean()
    assert _artifacts(client, run) >= {
        *("predictions.csv", "confusion_matrix.json", "confusion_matrix.png", "calibration.png", "grad_cam.png"),
        *("config.json", "report.html"),
    }
    of_comparison = {
        "confusion_difference.png",
        "confusion_difference.json",
        "recall_changes.csv",
    }  # there was no champion
    assert _artifacts(client, run) >= {*PICTURES, *TABLES} - of_comparison
    assert run.data.metrics["test_reads"] == 1


def test_the_model_card_is_in_the_registry(tuned_project: Tuned, evaluated: Evaluated) -> None:
    client = tuned_project.client
    card = _text(client, evaluated.run, "model_card.md")
    version = client.get_model_version("flower-classifier", "1")
    model = client.get_registered_model("flower-classifier")
    assert version.description == model.description == evaluated.run.data.tags["mlflow.note.content"] == card
    assert f"{100 * evaluated.run.data.metrics['test_accuracy']:.1f} % right" in card
    assert 'mlflow.pyfunc.load_model("models:/flower-classifier/1")' in card
    assert f"get-artifact?path=preview.png&run_uuid={evaluated.run.info.run_id}" in card
    assert version.tags["test_reads"] == model.tags["test_reads"] == "1"
    assert "is now champion: there was no champion before, and it has" in card


def test_runs_say_in_a_note_what_they_came_to(tuned_project: Tuned) -> None:
    notes = {run.data.tags["stage"]: run.data.tags["mlflow.note.content"] for run in tuned_project.runs}
    assert "won** with" in notes["tune"]
    assert "2 trials complete" in notes["tune"]
    assert all("% right** on the validation photos" in notes[stage] for stage in ("trial", "confirm"))


def test_evaluate_reads_test_photos_only(tuned_project: Tuned, evaluated: Evaluated) -> None:
    photos = _test_photos(tuned_project)
    assert evaluated.run.data.tags["data_digest"] == tuned_project.runs[0].data.tags["data_digest"]
    assert evaluated.predictions[["path", "label"]].equals(photos[["path", "label"]])


def test_the_first_evaluation_makes_the_champion(evaluated_project: Tuned) -> None:
    assert "flower-classifier version 1 is now champion" in evaluated_project.printed
    assert str(evaluated_project.client.get_model_version_by_alias("flower-classifier", "champion").version) == "1"


def test_a_process_that_knows_only_mlflow_gets_the_same_answers(
    evaluated: Evaluated, jobs: Jobs, tuned_project: Tuned
) -> None:
    answer = json.loads(jobs.printed["load"].splitlines()[-1])
    assert Path(answer["pipeline"]).is_relative_to(tuned_project.folder / "mlruns")
    expected = evaluated.predictions.iloc[0]
    for form, (row,) in answer["tables"].items():
        assert row["error"] is None, form
        assert row["label"] == expected["predicted"], form
        assert [row[name] for name in CLASSES] == pytest.approx(expected[CLASSES].tolist(), abs=1e-6), form


def test_predict_writes_a_row_per_photo(evaluated: Evaluated, jobs: Jobs) -> None:
    table = pd.read_csv(jobs.scratch / "table.csv")
    assert list(table) == ["path", "label", "probability", *CLASSES, "error", "model"]
    assert set(table["model"]) == {"models:/flower-classifier/1"}
    assert table["path"].tolist() == [str(jobs.scratch / "bad.jpg"), str(jobs.scratch / "good.jpg"), str(jobs.photo)]
    assert table.loc[0, "error"].startswith("not an image")
    assert table.loc[0, ["label", "probability", *CLASSES]].isna().all()
    expected = evaluated.predictions.iloc[0]
    for row in (1, 2):
        assert pd.isna(table.loc[row, "error"])
        assert table.loc[row, "label"] == expected["predicted"]
        assert table.loc[row, CLASSES].tolist() == pytest.approx(expected[CLASSES].tolist(), abs=1e-6)
    assert "3 photos by flower-classifier version 1, 1 of them unusable" in jobs.printed["predict"]


@pytest.fixture
def server(evaluated_project: Tuned, tmp_path: Path, environment: dict[str, str]) -> Iterator[str]:
    """Address of a scoring server for the champion."""
    port = free_port()
    environment |= {"MLFLOW_TRACKING_URI": evaluated_project.uri}
    command = ["mlflow", "models", "serve", "-m", CHAMPION, "--env-manager", "local", f"--port={port}"]
    with running_server(command, tmp_path, environment, f"http://127.0.0.1:{port}/ping"):
        yield f"http://127.0.0.1:{port}/invocations"


def test_the_server_answers_like_the_library(server: str, evaluated: Evaluated, photo_folder: Path) -> None:
    expected = evaluated.predictions.iloc[0]
    photo = photo_folder / expected["path"]
    encoded = base64.b64encode(photo.read_bytes()).decode()
    cells = [[encoded], [str(photo)], ["bm90IGEgcGhvdG8="]]
    requests_with_rows: list[tuple[dict[str, object], int]] = [
        ({"dataframe_split": {"columns": ["image"], "data": cells}}, 3),
        ({"dataframe_records": [{"image": encoded}]}, 1),
        ({"inputs": [encoded]}, 1),
        ({"inputs": {"image": [encoded]}}, 1),
        ({"instances": [encoded]}, 1),
    ]
    for body, rows in requests_with_rows:
        answer = requests.post(server, json=body, timeout=60)
        assert answer.ok, answer.text
        predictions = json.loads(answer.text, parse_constant=pytest.fail)["predictions"]  # NaN is not JSON
        assert len(predictions) == rows
        assert predictions[0]["label"] == expected["predicted"]
        assert [predictions[0][name] for name in CLASSES] == pytest.approx(expected[CLASSES].tolist(), abs=1e-3)
        for refused in predictions[1:]:  # among them a path to a photo that the server could read
            assert refused["label"] is None
            assert refused["error"]


# ---- the other commands


def test_train_registers_its_best_epoch(tuned_project: Tuned, jobs: Jobs) -> None:
    client = tuned_project.client
    assert "best epoch 1: val_accuracy" in jobs.printed["train"]
    version = client.get_model_version_by_alias("other", "challenger")
    (run,) = [run for run in _stage(client.search_runs(["0"]), "train") if run.info.status == "FINISHED"]
    assert run.info.run_name.startswith("train resnet18 medium adamw")
    assert client.get_logged_model(version.source.removeprefix("models:/")).source_run_id == run.info.run_id
    assert _artifacts(client, run) >= RUN_ARTIFACTS
    assert run.data.params["classes"] == "blue,red"
    assert run.data.metrics.keys() >= EPOCH_METRICS | END_METRICS | {"val_recall_blue", "val_recall_red"}
    assert "val_recall_green" not in run.data.metrics


def test_ablate_compares_with_the_base(tuned_project: Tuned, jobs: Jobs) -> None:
    client = tuned_project.client
    runs = [run for run in _stage(client.search_runs(["0"]), "ablate") if run.info.status == "FINISHED"]
    (parent,) = [run for run in runs if "mlflow.parentRunId" not in run.data.tags]
    children = {run.data.tags["factor"]: run for run in runs if run is not parent}
    assert set(children) == {"base", "optimizer"}
    assert {run.data.tags["mlflow.parentRunId"] for run in children.values()} == {parent.info.run_id}
    assert {name: run.data.params["optimizer"] for name, run in children.items()} == {
        "base": "adamw",
        "optimizer": "sgd",
    }
    assert all(_artifacts(client, run) >= RUN_ARTIFACTS for run in runs)
    table = _table(client, parent, "ablation.csv").set_index("factor")
    accuracies = {name: run.data.metrics["best_val_accuracy"] for name, run in children.items()}
    assert table.loc["optimizer", "val_accuracy"] == pytest.approx(accuracies["optimizer"])
    assert table.loc["optimizer", "difference"] == pytest.approx(accuracies["optimizer"] - accuracies["base"])
    assert parent.data.metrics["base_val_accuracy"] == pytest.approx(accuracies["base"])
    assert "optimizer=sgd cannot be judged with one seed" in jobs.printed["ablate"]


def test_preprocess_finds_what_it_prepared(tuned_project: Tuned, jobs: Jobs) -> None:
    first, second = jobs.printed["first"], jobs.printed["second"]
    assert re.match(r"prepared: 30 photos of 3 classes \(\d\d train, \d validation, \d test\)", first)
    assert second == f"already {first}"
    runs = _stage(tuned_project.client.search_runs(["0"]), "preprocess")
    one, other = [run for run in runs if run.info.status == "FINISHED"]
    assert (
        one.data.tags["data_digest"] == other.data.tags["data_digest"] != tuned_project.runs[0].data.tags["data_digest"]
    )
    reports = {"data_report.csv", "data_report.html"}
    assert _artifacts(tuned_project.client, one) >= {"class_counts.png", "samples.png"} | reports


def test_the_same_search_again_adds_no_trial(
    tuned_project: Tuned, jobs: Jobs, tune_flags: dict[str, object], fork_in: RunIn
) -> None:
    known = tuned_project.client.search_runs(["0"])
    done = fork_in(tuned_project.folder, "tune", *_flags(**tune_flags))
    assert "2 of 2 trials are finished" in done.stdout
    added = _new_runs(tuned_project, known)
    assert [run.data.tags["stage"] for run in added] == ["tune"]  # what was confirmed is not confirmed again
    assert {run.info.status for run in added} == {"FINISHED"}
    again, before = _stage(added, "tune")[0], _stage(tuned_project.runs, "tune")[0]
    for name in ("best_trial", "study_name"):
        assert again.data.tags[name] == before.data.tags[name]
    assert again.data.metrics == before.data.metrics
    tables = [_table(tuned_project.client, run, "trials.csv") for run in (again, before)]
    pd.testing.assert_frame_equal(*tables)


# ---- commands that must fail, in one line


@pytest.fixture
def fail(
    tuned_project: Tuned, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> Iterator[Callable[..., tuple[str, list[Run]]]]:
    """Return a function that runs a command in this process, checks that it fails as promised, and returns
    its one line and the runs that it left."""
    monkeypatch.chdir(tuned_project.folder)
    monkeypatch.setenv("MLFLOW_TRACKING_URI", tuned_project.uri)
    handler = signal.getsignal(signal.SIGTERM)

    def run_and_fail(command: str, **flags: object) -> tuple[str, list[Run]]:
        known = tuned_project.client.search_runs(["0"])
        capsys.readouterr()
        assert main([command, *_flags(**flags)]) == 2
        (line,) = capsys.readouterr().err.splitlines()
        assert line.startswith("error: ")
        return line, _new_runs(tuned_project, known)

    yield run_and_fail
    signal.signal(signal.SIGTERM, handler)


@pytest.mark.parametrize("command", ["preprocess", "train", "tune", "ablate"])
def test_photos_of_one_class_are_refused(
    fail: Callable[..., tuple[str, list[Run]]], photo_folder: Path, tmp_path: Path, command: str
) -> None:
    shutil.copytree(photo_folder / "red", tmp_path / "photos" / "red")
    line, runs = fail(command, data=tmp_path / "photos")
    assert "at least two classes" in line
    assert not runs  # nothing has begun


@pytest.mark.parametrize("model_uri", ["models:/flower-classifier@nobody", "models:/no-such-model@champion"])
def test_a_model_that_is_not_there_is_refused(
    fail: Callable[..., tuple[str, list[Run]]], photo_folder: Path, model_uri: str
) -> None:
    for command, flags in (("evaluate", {}), ("export", {}), ("predict", {"photos": photo_folder})):
        line, runs = fail(command, model_uri=model_uri, **flags)
        assert model_uri in line
        assert not runs
    line, runs = fail("train", weights=model_uri, data=photo_folder, image_size=32, epochs=1)
    assert model_uri in line
    assert not runs


@pytest.mark.parametrize(
    ("flag", "value"),
    [("split_seed", 1), ("image_size", 64), ("resize", "pad"), ("test_fraction", 0.2), ("classes", "blue,red")],
)
def test_evaluate_refuses_other_pixels_or_another_split(
    fail: Callable[..., tuple[str, list[Run]]], flag: str, value: object
) -> None:
    line, runs = fail("evaluate", **{flag: value})
    assert line.startswith(f"error: {flag} must be the model's")
    assert not runs


def test_a_search_whose_weights_are_not_there_is_refused(
    fail: Callable[..., tuple[str, list[Run]]], photo_folder: Path
) -> None:
    """Before a run begins; and a trial that meets what cannot be seen before, in one line, too."""
    flags = {"data": photo_folder, "image_size": 32, "epochs": 1, "study_name": "flowers/v1"}
    for weights in ("no/such/preset", "imagnet"):
        line, runs = fail("tune", **flags, weights=weights)
        assert f"'{weights}'" in line
        assert not runs
    line, runs = fail("tune", **flags, weights="resnet_50_imagenet")
    assert "resnet_50_imagenet" in line
    assert {run.info.status for run in runs} == {"FAILED"}


def test_a_failing_process_prints_one_line_and_ends_with_2(tuned_project: Tuned, tmp_path: Path, run_in: RunIn) -> None:
    known = tuned_project.client.search_runs(["0"])
    (tmp_path / "empty").mkdir()
    done = run_in(tuned_project.folder, *PIPELINE, "train", *_flags(data=tmp_path / "empty"), exit_code=2)
    (line,) = done.stderr.splitlines()
    assert line.startswith("error: a classifier needs at least two classes")
    assert not _new_runs(tuned_project, known)


@pytest.mark.slow
def test_a_flag_is_never_a_command_of_the_shell(tuned_project: Tuned, run_in: RunIn) -> None:
    """Through the shell that ``mlflow run`` starts, in every way in which a value could leave its quotes."""
    known = tuned_project.client.search_runs(["0"])
    hostile = {
        "study_name": "$(touch pwned1)",
        "weights": "--config=pwned.yaml",
        "data": "';touch pwned2;'",
        "classes": "`touch pwned3`",
        "exclude": '";touch pwned4;"',
        "storage": "sqlite:///x;touch pwned5 # & touch pwned6\n touch pwned7",
    }
    parameters = [word for name, value in hostile.items() for word in ("-P", f"{name}={value}")]
    command = ("mlflow", "run", ".", "-e", "tune", "--env-manager", "local", *parameters)
    done = run_in(tuned_project.folder, *command, exit_code=1)
    assert "weights must be auto, none, imagenet" in done.stderr
    assert f"got '{hostile['weights']}'" in done.stderr
    assert not list(tuned_project.folder.rglob("*pwned*"))
    (command_line,) = re.findall(r"Running command '(.*)' in run with ID", done.stderr, re.DOTALL)
    assert {f"--{name}={value}" for name, value in hostile.items()} < set(shlex.split(command_line))
    (run,) = _new_runs(tuned_project, known)
    assert run.info.status == "FAILED"


# ---- long ones


@pytest.mark.slow
def test_main_prepares_searches_and_evaluates(project: Path, fork_in: RunIn, tune_flags: dict[str, object]) -> None:
    fork_in(project, "main", *_flags(**tune_flags, promotion="better"), **SMALL)
    client = MlflowClient(f"sqlite:///{project / 'mlflow.db'}")
    runs = client.search_runs(["0"])
    assert {run.info.status for run in runs} == {"FINISHED"}
    by_stage = {run.data.tags["stage"]: run for run in runs}
    assert set(by_stage) == {"main", "preprocess", "tune", "trial", "confirm", "evaluate"}
    for stage in ("preprocess", "tune", "evaluate"):
        assert by_stage[stage].data.tags["mlflow.parentRunId"] == by_stage["main"].info.run_id
    assert by_stage["evaluate"].data.metrics.keys() >= TEST_METRICS
    aliases = client.get_registered_model("flower-classifier").aliases
    assert {alias: str(number) for alias, number in aliases.items()} == {"challenger": "1", "champion": "1"}


@pytest.mark.slow
def test_two_workers_share_a_search(project: Path, fork_in: RunIn, tune_flags: dict[str, object]) -> None:
    fork_in(project, "tune", *_flags(**tune_flags | {"workers": 2, "n_trials": 3, "confirm_top_k": 0}), **SMALL)
    runs = MlflowClient(f"sqlite:///{project / 'mlflow.db'}").search_runs(["0"])
    assert len(_stage(runs, "trial")) == 3
    assert {run.info.status for run in runs} == {"FINISHED"}
    (parent,) = _stage(runs, "tune")
    assert {run.data.tags.get("mlflow.parentRunId") for run in runs if run is not parent} == {parent.info.run_id}


@pytest.mark.slow
def test_mlflow_run_makes_the_environment_itself(
    project: Path, run_in: RunIn, photo_folder: Path, tmp_path: Path
) -> None:
    words = ["-P", f"data={photo_folder}", "-P", "image_size=32"]
    command = ("mlflow", "run", ".", "-e", "preprocess", "--env-manager", "uv", *words)
    done = run_in(project, *command, MLFLOW_ENV_ROOT=str(tmp_path / "envs"))
    assert "prepared: 30 photos" in done.stdout
