"""Commands in surroundings that are not ours: another's Keras settings, closed streams, readers that leave."""

from __future__ import annotations

import json
import shlex
import subprocess
from pathlib import Path

import pytest
from mlflow import MlflowClient

from tests.conftest import PIPELINE, ROOT, TINY

OTHERS_KERAS = {"floatx": "float16", "epsilon": 1e-07, "backend": "torch", "image_data_format": "channels_first"}


@pytest.mark.slow
def test_a_training_is_the_same_whatever_surrounds_it(
    project: Path, photo_folder: Path, environment: dict[str, str], tmp_path: Path
) -> None:
    """Keras set up for something else, standard error closed, and nobody who reads what is printed."""
    settings = tmp_path / "home" / ".keras" / "keras.json"
    settings.parent.mkdir(parents=True)
    settings.write_text(json.dumps(OTHERS_KERAS))
    words = [*PIPELINE, "train", f"--data={photo_folder}", "--weights=none", "--epochs=2", "--resume=never", *TINY]
    command = shlex.join(map(str, words))
    hostile = {"HOME": str(tmp_path / "home"), "KERAS_BACKEND": "torch", "PYTHONPATH": str(ROOT)}
    losses = []
    for shell, variables in ((command, {}), (f"{command} 2>&- | head -c 1 >/dev/null", hostile)):
        done = subprocess.run(
            ["bash", "-o", "pipefail", "-c", shell],
            cwd=project,
            env=environment | variables,
            capture_output=True,
            text=True,
            timeout=300,
        )
        assert done.returncode == 0, done.stderr
        assert "Traceback" not in done.stderr
        (run,) = MlflowClient(f"sqlite:///{project / 'mlflow.db'}").search_runs(["0"], max_results=1)
        assert run.info.status == "FINISHED"
        losses.append((run.data.metrics["train_loss"], run.data.metrics["best_val_loss"], run.info.run_id))
    assert losses[0][:2] == losses[1][:2]
    assert losses[0][2] != losses[1][2]


@pytest.mark.slow
def test_a_machine_without_git_is_no_reason_to_warn(
    project: Path, photo_folder: Path, environment: dict[str, str]
) -> None:
    done = subprocess.run(
        [*PIPELINE, "preprocess", f"--data={photo_folder}"],
        cwd=project,
        env=environment | {"PATH": str(project)},
        capture_output=True,
        text=True,
        timeout=300,
    )
    assert done.returncode == 0, done.stderr
    assert "git" not in done.stderr.lower()
