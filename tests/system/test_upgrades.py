"""What version 0.1 left is used without a word: a registered model, prepared photos, a study, a stopped training.

`tests/fixtures/project_of_0_1.tar.xz` is the project folder, without code and pictures, in which commit 90c698f ran
these commands on thirty small photos; its champion's answers are in ``predictions.csv``:

    F="--data=photos --image_size=32 --batch_size=8 --precision=float32 --warmup_epochs=0 --width=0.01"
    python -m pipeline train $F --epochs=3
    python -m pipeline evaluate --corruption_photos=0
    python -m pipeline tune $F --epochs=2 --variants=resnet18 --n_trials=3 --confirm_epochs_factor=1 --confirm_top_k=1
    python -m pipeline train $F --epochs=12 --seed=7
    python -m pipeline predict --photos=photos --model_uri=models:/flower-classifier@champion

`tune` was killed after its first trial, the second `train` stopped by SIGTERM in its fifth epoch.
"""

from __future__ import annotations

import re
import socket
import sqlite3
import sys
import tarfile
from importlib.metadata import version
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np
import optuna
import pandas as pd
import pytest
from mlflow import MlflowClient

from tests.conftest import FIXTURES

if TYPE_CHECKING:
    from tests.conftest import RunIn

FLAGS = [
    "--data=photos",
    "--image_size=32",
    "--batch_size=8",
    "--precision=float32",
    "--warmup_epochs=0",
    "--width=0.01",
]
MADE_IN, MADE_ON = "/home/user/flowers", "laptop"  # the folder and the host, which its databases still name
MADE_WITH = {"tensorflow": "2.21.", "keras": "3.15.", "numpy": "2.4."}
DIGEST = "2ffa80b257d6e5964c8179c92ca556125fc53aa15b164a9c3a38c57f25f7f542"
CLASSES = ["blue", "green", "red"]

pytestmark = pytest.mark.slow


@pytest.fixture
def earlier_project(project: Path) -> Path:
    """A project with today's code in which version 0.1 has worked, on this machine, but in another folder."""
    with tarfile.open(FIXTURES / "project_of_0_1.tar.xz") as archive:
        archive.extractall(project, filter="data")
    for file in ("mlflow.db", "mlruns/optuna.db"):
        with sqlite3.connect(project / file) as database:
            for (table,) in database.execute("SELECT name FROM sqlite_master WHERE type = 'table'").fetchall():
                for _, column, kind, *_ in database.execute(f"PRAGMA table_info('{table}')").fetchall():
                    if re.match("VARCHAR|TEXT", kind, re.IGNORECASE):
                        database.execute(
                            f'UPDATE "{table}" SET "{column}" = replace("{column}", ?, ?)',
                            (MADE_ON, socket.gethostname()),
                        )
        database.close()
    return project


def _client(project: Path) -> MlflowClient:
    return MlflowClient(f"sqlite:///{project}/mlflow.db")


def test_a_registered_model_answers_the_same_and_is_still_champion(
    earlier_project: Path, fork_in: RunIn, run_in: RunIn
) -> None:
    expected = pd.read_csv(earlier_project / "predictions.csv")
    champion = "models:/flower-classifier@champion"
    predict = ("predict", "--photos=photos", f"--model_uri={champion}", "--output=again.csv")
    printed = fork_in(earlier_project, *predict).stdout
    assert f"the folder of the runs has moved from {MADE_IN}/mlruns to {earlier_project}/mlruns" in printed
    again = pd.read_csv(earlier_project / "again.csv")
    assert again["path"].tolist() == expected["path"].tolist()
    np.testing.assert_allclose(again[CLASSES], expected[CLASSES], atol=1e-6)
    code = (
        f"import mlflow, pandas; paths = pandas.read_csv('predictions.csv')['path'].tolist()\n"
        f"mlflow.pyfunc.load_model('{champion}').predict(paths).to_csv('loaded.csv', index=False)"
    )
    for before in ("", "import pipeline.serving\n"):  # in a process that knows MLflow alone, and beside today's code
        run_in(earlier_project, sys.executable, "-c", before + code)
        np.testing.assert_allclose(pd.read_csv(earlier_project / "loaded.csv")[CLASSES], expected[CLASSES], atol=1e-6)
    printed = fork_in(earlier_project, "evaluate", f"--model_uri={champion}", "--corruption_photos=0").stdout
    assert (
        f"already prepared: 30 photos of 3 classes (22 train, 4 validation, 4 test) in data/prepared/{DIGEST}"
        in printed
    )
    assert "is the champion already" in printed


@pytest.mark.skipif(
    any(not version(name).startswith(made) for name, made in MADE_WITH.items()),
    reason="a training resumes exactly with the versions of TensorFlow, Keras and NumPy that it began with",
)
def test_a_stopped_training_goes_on_in_its_run(earlier_project: Path, fork_in: RunIn) -> None:
    client = _client(earlier_project)
    (stopped,) = client.search_runs(["0"], "tags.stage = 'train' and tags.stopped = 'true'")
    printed = fork_in(earlier_project, "train", *FLAGS, "--epochs=12", "--seed=7").stdout
    assert "continuing in epoch 5, after 1 of 2 steps" in printed
    assert client.get_run(stopped.info.run_id).info.status == "FINISHED"
    accuracies = client.get_metric_history(stopped.info.run_id, "val_accuracy")
    assert [metric.step for metric in accuracies] == list(range(1, 13))
    assert len(client.search_runs(["0"], "tags.stage = 'train'")) == 2


def test_a_killed_search_ends_with_its_trials(earlier_project: Path, fork_in: RunIn) -> None:
    storage = optuna.storages.RDBStorage(f"sqlite:///{earlier_project}/mlruns/optuna.db")
    (before,) = optuna.get_all_study_summaries(storage)
    search = ("--variants=resnet18", "--n_trials=3", "--confirm_epochs_factor=1", "--confirm_top_k=1")
    printed = fork_in(earlier_project, "tune", *FLAGS, "--epochs=2", *search).stdout
    assert f"study {before.study_name}: 1 of 3 trials are finished" in printed
    states = [trial.state.name for trial in optuna.load_study(study_name=before.study_name, storage=storage).trials]
    assert states.count("COMPLETE") + states.count("PRUNED") == 3
    runs = _client(earlier_project).search_runs(["0"], "tags.stage = 'tune'")
    assert [run.info.status for run in runs] == ["FINISHED"]
    assert "registered flower-classifier version 2 as challenger" in printed
