"""``python -m pipeline`` as users meet it: usage, help, and one line for every mistake, in a process of its own."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import pytest

from pipeline.config import TuneConfig

ROOT = Path(__file__).parents[2]
COMMANDS = sorted(path.stem for path in (ROOT / "pipeline" / "commands").glob("*.py") if path.stem != "__init__")
GROUPS = {
    "preprocess": ["recipe", "data", "intake"],
    "train": ["recipe", "data", "intake", "training", "structure", "registry"],
    "tune": ["recipe", "data", "intake", "training", "structure", "search", "workers", "registry"],
    "evaluate": ["model", "modeldata", "report", "promotion"],
    "ablate": ["recipe", "data", "intake", "training", "structure", "ablation", "workers", "registry"],
    "predict": ["prediction", "model"],
    "serve": ["address", "limits", "servedmodel"],
    "export": ["exportformats", "servedmodel", "modelphotos"],
    "demo": ["address", "servedmodel", "modelphotos"],
    "rollback": ["registry"],
    "suspects": ["data", "intake", "suspect"],
    "main": ["recipe", "data", "intake", "training", "structure", "search", "workers", "registry", "promotion"],
    "doctor": [],
}
HEAVY = {"tensorflow", "keras", "keras_hub", "mlflow", "optuna", "cv2", "sklearn", "matplotlib"}


def _run(
    *arguments: str, folder: Path, python_flags: tuple[str, ...] = (), python_path: tuple[Path, ...] = ()
) -> subprocess.CompletedProcess[str]:
    path = os.pathsep.join(str(place) for place in (*python_path, ROOT))
    return subprocess.run(
        [sys.executable, *python_flags, "-m", "pipeline", *arguments],
        cwd=folder,
        env=os.environ | {"PYTHONPATH": path, "COLUMNS": "120"},
        capture_output=True,
        text=True,
        timeout=120,
    )


def _assert_one_error_line(done: subprocess.CompletedProcess[str]) -> str:
    lines = done.stderr.splitlines()
    assert (done.returncode, done.stdout, len(lines)) == (2, "", 1), done.stderr
    assert lines[0].startswith("error: ")
    return lines[0]


def _listed(usage: str) -> list[str]:
    """The commands that a usage text names: the first words of its indented lines."""
    return sorted(line.split()[0] for line in usage.splitlines() if line.startswith("  "))


@pytest.mark.parametrize("arguments", [[], ["--help"], ["-h"]], ids=repr)
def test_usage_lists_the_modules_of_the_commands_folder(arguments: list[str], tmp_path: Path) -> None:
    done = _run(*arguments, folder=tmp_path)
    assert (done.returncode, done.stderr) == (0, "")
    assert done.stdout.startswith("usage: python -m pipeline COMMAND")
    assert _listed(done.stdout) == COMMANDS
    assert list(tmp_path.iterdir()) == []


def test_every_command_has_its_groups_written_down_here() -> None:
    assert sorted(GROUPS) == COMMANDS


@pytest.mark.parametrize("command", GROUPS)
def test_help_groups_the_flags_and_imports_nothing_heavy(command: str, tmp_path: Path) -> None:
    done = _run(command, "--help", folder=tmp_path, python_flags=("-X", "importtime"))
    assert done.returncode == 0
    assert done.stdout.startswith(f"usage: python -m pipeline {command}")
    titles = [line.split()[1] for line in done.stdout.splitlines() if line.startswith("╭─") and " options ─" in line]
    assert [title for title in titles if title != "options"] == GROUPS[command]
    imported = {line.rpartition("|")[2].strip().partition(".")[0] for line in done.stderr.splitlines()}
    assert {"pydantic", "tyro"} <= imported  # else this reads something other than the list of imports
    assert imported & HEAVY == set()
    assert list(tmp_path.iterdir()) == []


def test_help_tells_every_flag_with_its_choices_and_its_default(tmp_path: Path) -> None:
    text = " ".join(_run("tune", "--help", folder=tmp_path).stdout.replace("│", " ").split())
    rate = TuneConfig.model_fields["learning_rate"]
    assert f"--learning_rate NUMBER {rate.description} (default: {rate.default})" in text
    assert "--resize {stretch,pad,crop}" in text
    assert "--variants A,B" in text
    assert f"(default: {','.join(TuneConfig().variants)})" in text


@pytest.mark.parametrize(
    ("arguments", "named"),
    [
        (["tarin"], ["'tarin'", *COMMANDS]),
        (["--epochs=3"], ["'--epochs=3'", *COMMANDS]),
        (["train", "--epoch=3"], ["'--epoch=3'", "did you mean --epochs?"]),
        (["train", "--epochs"], ["--epochs", "--name=value"]),
        (["train", "--epochs=few"], ["epochs", "'few'"]),
        (["tune", "--image_size=100"], ["image_size", "100", "96 or 128"]),
    ],
    ids=repr,
)
def test_a_mistake_ends_with_one_line_and_exit_code_2(arguments: list[str], named: list[str], tmp_path: Path) -> None:
    line = _assert_one_error_line(_run(*arguments, folder=tmp_path))
    assert [words for words in named if words not in line] == []


def test_an_opencv_without_its_system_library_says_what_to_install(tmp_path: Path) -> None:
    missing = "libGL.so.1: cannot open shared object file: No such file or directory"
    broken = tmp_path / "broken"
    broken.mkdir()
    (broken / "cv2.py").write_text(f"raise ImportError({missing!r})")
    done = _run("preprocess", "--data=synthetic", folder=tmp_path, python_path=(broken,))
    line = _assert_one_error_line(done)
    assert missing in line
    assert "apt-get install libgl1" in line
