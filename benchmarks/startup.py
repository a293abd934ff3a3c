"""Seconds from the command to its first words: ``--help``, a user's mistake, and the first epoch of `train`."""

from __future__ import annotations

import subprocess
import sys
import tempfile
import time
from collections.abc import Callable
from pathlib import Path

import pandas as pd

from benchmarks.measure import in_turns

ROOT = Path(__file__).parents[1]


def run(data: str, quick: bool) -> pd.DataFrame:
    """Measure each command against importing what its work needs."""
    commands = {
        "python -m pipeline tune --help": [sys.executable, "-m", "pipeline", "tune", "--help"],
        "python -m pipeline tune --n_trials=x": [sys.executable, "-m", "pipeline", "tune", "--n_trials=x"],
        "python -c 'import mlflow'": [sys.executable, "-c", "import mlflow"],
        "python -c 'import tensorflow'": [sys.executable, "-c", "import tensorflow"],
        "python -c 'import keras_hub'": [sys.executable, "-c", "import keras_hub"],
    }
    contenders = {name: _seconds(command) for name, command in commands.items()}
    return in_turns("from start to end", "seconds", contenders, rounds=3 if quick else 7)


def _seconds(command: list[str]) -> Callable[[], float]:
    def measure() -> float:
        with tempfile.TemporaryDirectory() as folder:
            start = time.perf_counter()
            subprocess.run(command, cwd=folder, env=_environment(), capture_output=True, check=False)
            return time.perf_counter() - start

    return measure


def _environment() -> dict[str, str]:
    import os

    return os.environ | {"PYTHONPATH": str(ROOT)}
