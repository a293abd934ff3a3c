"""Parity: a registered version must answer in a fresh process, from raw bytes, as it did in its evaluation.

The process is MLflow's own ``mlflow models predict``: it loads the model and the code that was logged with it, as a
server does, and knows nothing of this process, its checkout, or its prepared pixels.
"""

from __future__ import annotations

import base64
import json
import os
import subprocess
import sys
import tempfile
from collections.abc import Mapping, Sequence
from pathlib import Path

import numpy as np

from pipeline.config import DamagedModel, UserError
from pipeline.data.class_columns import class_columns

PHOTOS = 64  # spread over the test split
TOLERANCE = 1e-3  # of a probability
TIMEOUT_S = 900


def served_probabilities(
    model_uri: str, files: Sequence[Path], class_names: Sequence[str], environment: Mapping[str, str]
) -> np.ndarray:
    """Return float64 (n, classes) that a fresh process gives for the bytes of the files.

    Args:
        model_uri: what the process loads.
        files: the photos.
        class_names: of the model, in the order of the result.
        environment: variables that tell it where the registry is.

    Raises:
        UserError: a file cannot be read.
        DamagedModel: the process does not load the model, or does not answer every photo.
    """
    try:
        photos = [base64.b64encode(file.read_bytes()).decode() for file in files]
    except OSError as error:
        raise UserError(
            f"the test photos must still be where they were, got {error} (give their place with data=...)"
        ) from None
    with tempfile.TemporaryDirectory() as scratch:
        question, answer = Path(scratch, "question.json"), Path(scratch, "answer.json")
        question.write_text(json.dumps({"inputs": photos}))
        _predict(model_uri, question, answer, environment)
        rows = json.loads(answer.read_text())["predictions"]
    refused = [f"{file}: {row['error']}" for file, row in zip(files, rows, strict=True) if row["error"]]
    if refused:
        raise DamagedModel(f"a loaded model must answer every test photo, got {refused[0]} from {model_uri}")
    return np.array([[row[name] for name in class_columns(class_names)] for row in rows], dtype=np.float64)


def check_parity(
    model_uri: str,
    files: Sequence[Path],
    probabilities: np.ndarray,
    class_names: Sequence[str],
    environment: Mapping[str, str],
) -> float:
    """Return the largest difference of a probability between a fresh load and ``probabilities`` (n, classes).

    At most `PHOTOS` of the files are asked, spread over all of them.

    Raises:
        DamagedModel: a difference is above `TOLERANCE`, or the model does not load.
    """
    asked = np.unique(np.linspace(0, len(files) - 1, min(PHOTOS, len(files))).round().astype(int))
    served = served_probabilities(model_uri, [files[index] for index in asked], class_names, environment)
    differences = np.abs(served - probabilities[asked]).max(axis=1)
    if not differences.max() <= TOLERANCE:  # NaN is no parity either
        worst = int(differences.argmax())
        raise DamagedModel(
            f"a loaded model must give the probabilities of its evaluation, to {TOLERANCE}, got a difference of "
            f"{differences[worst]:.3g} for {files[asked[worst]]} from {model_uri}"
        )
    return float(differences.max())


def _predict(model_uri: str, question: Path, answer: Path, environment: Mapping[str, str]) -> None:
    arguments = [
        "models",
        "predict",
        "-m",
        model_uri,
        "-i",
        question,
        "-o",
        answer,
        "-t",
        "json",
        "--env-manager",
        "local",
    ]
    dropped = ("MLFLOW_RUN_ID", "PYTHONPATH")  # the model brings its own code
    kept = {name: text for name, text in os.environ.items() if name not in dropped}
    settings = {
        "MLFLOW_ALLOW_PICKLE_DESERIALIZATION": "false",
        "CUDA_VISIBLE_DEVICES": "-1",
    }  # this process has the GPU
    done = subprocess.run(
        [sys.executable, "-m", "mlflow", *map(str, arguments)],
        env=kept | settings | dict(environment),
        capture_output=True,
        text=True,
        timeout=TIMEOUT_S,
    )
    if done.returncode or not answer.exists():
        last = (done.stderr.strip().splitlines() or ["no error message"])[-1]
        raise DamagedModel(f"a model must load in a process of its own, got {last[:300]} from {model_uri}")
