"""The report on a data set as a user of the commands meets it: counted, logged, and with ``strict`` an error."""

from __future__ import annotations

import shutil
from pathlib import Path

import pandas as pd
import pytest
from mlflow import MlflowClient

from tests.conftest import RunIn

pytestmark = pytest.mark.slow


@pytest.fixture
def photos(photo_folder: Path, tmp_path: Path) -> Path:
    folder = tmp_path / "photos"
    shutil.copytree(photo_folder, folder)
    (folder / "red" / "page.jpg").write_text("<html></html>")
    (folder / "blue" / "empty.jpg").touch()
    (folder / "blue" / "Thumbs.db").touch()
    return folder


def test_files_that_cannot_be_used_are_counted_logged_and_with_strict_an_error(
    project: Path, photos: Path, fork_in: RunIn
) -> None:
    preprocess = ("preprocess", f"--data={photos}", "--image_size=32")
    client = MlflowClient(f"sqlite:///{project / 'mlflow.db'}")
    lax = fork_in(project, *preprocess)
    assert "  quarantined: 1 (not an image)" in lax.stdout
    assert "  quarantined: 1 (empty file)" in lax.stdout
    assert "  ignored: 1 (left by a system)" in lax.stdout
    strict = fork_in(project, *preprocess, "--strict=true", exit_code=2)
    (line,) = strict.stderr.strip().splitlines()[-1:]
    assert line.startswith("error: strict=true")
    assert "got 2 in" in line
    assert "Traceback" not in strict.stderr
    page = Path(line.partition("(see ")[2].partition(";")[0])
    assert (project / page).read_text().count("<li>") == 2
    for run in client.search_runs(["0"]):
        assert {"data_report.csv", "data_report.html"} <= {file.path for file in client.list_artifacts(run.info.run_id)}
    assert sorted(run.info.status for run in client.search_runs(["0"])) == ["FAILED", "FINISHED"]

    table = pd.read_csv(project / page.with_name("data_report.csv"), keep_default_na=False)
    assert table["outcome"].value_counts().to_dict() == {"accepted": 30, "quarantined": 2, "ignored": 1}
    for path in table.loc[table["outcome"] == "quarantined", "path"]:
        (photos / path).unlink()
    assert "already prepared" not in fork_in(project, *preprocess, "--strict=true").stdout
    train = ("train", f"--data={photos}", "--image_size=32", "--epochs=1")
    (photos / "red" / "empty.jpg").touch()
    assert "epoch" not in fork_in(project, *train, "--strict=true", "--warmup_epochs=0", exit_code=2).stdout


def test_preprocess_finds_bit_rot_and_says_where(project: Path, photos: Path, fork_in: RunIn) -> None:
    preprocess = ("preprocess", f"--data={photos}", "--image_size=32")
    fork_in(project, *preprocess)
    (train,) = (project / "data" / "prepared").glob("*/train.npy")
    content = bytearray(train.read_bytes())
    content[len(content) // 2] ^= 4
    train.write_bytes(content)
    printed = fork_in(project, *preprocess).stdout
    assert "were damaged (train.npy): prepared again" in printed
    assert "already prepared" in fork_in(project, *preprocess).stdout
