"""Seconds from a command to its words: ``--help``, a user's mistake, and what `train` says first and after an epoch.

`train` finds its photos prepared and MLflow's database made; its epoch is one of seven small steps.
"""

from __future__ import annotations

import os
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable
from pathlib import Path

import pandas as pd

from benchmarks.measure import in_turns

ROOT = Path(__file__).parents[1]
PIPELINE = [sys.executable, "-m", "pipeline"]
TRAIN = [*PIPELINE, "train", "--data=synthetic", "--weights=none", "--image_size=32", "--epochs=1", "--warmup_epochs=0"]


def run(data: str, quick: bool) -> pd.DataFrame:
    """Measure each command beside importing what its work needs; ``quick`` only what trains nothing.

    ``data`` is not used.
    """
    with tempfile.TemporaryDirectory() as folder:
        contenders = {
            "tune --help": _seconds(folder, [*PIPELINE, "tune", "--help"]),
            "tune --n_trials=x (a mistake)": _seconds(folder, [*PIPELINE, "tune", "--n_trials=x"]),
            "import mlflow": _seconds(folder, [sys.executable, "-c", "import mlflow"]),
            "import tensorflow": _seconds(folder, [sys.executable, "-c", "import tensorflow"]),
        }
        if not quick:
            subprocess.run(TRAIN, cwd=folder, env=_environment(), stdout=subprocess.DEVNULL, check=True)
            contenders |= {
                "train, first line": _seconds(folder, TRAIN, until="prepared"),
                "train, first epoch": _seconds(folder, TRAIN, until="epoch"),
                "import keras_hub": _seconds(folder, [sys.executable, "-c", "import keras_hub"]),
            }
        return in_turns("from the command on", "seconds", contenders, rounds=1 if quick else 7)


def _seconds(folder: str, command: list[str], until: str = "") -> Callable[[], float]:
    """Measure until the command ends, or says a line with this word."""

    def measure() -> float:
        start = time.perf_counter()
        with subprocess.Popen(
            command, cwd=folder, env=_environment(), stdout=subprocess.PIPE, stderr=subprocess.DEVNULL, text=True
        ) as process:
            assert process.stdout is not None
            found = any(until and until in line for line in process.stdout)
            seconds = time.perf_counter() - start
            process.terminate()
            process.communicate()
        if until and not found:
            raise RuntimeError(f"{command} must print {until!r}")
        return seconds

    return measure


def _environment() -> dict[str, str]:
    return os.environ | {"PYTHONPATH": str(ROOT), "TF_CPP_MIN_LOG_LEVEL": "3"}
