"""``python -m pipeline`` as users meet it: usage, help, and one line for every mistake, in a process of its own."""

from __future__ import annotations

import errno
import importlib
import os
import shlex
import shutil
import signal
import sqlite3
import subprocess
import sys
import tempfile
from collections.abc import Callable
from pathlib import Path

import pytest

import pipeline
import pipeline.__main__ as command_line
from pipeline.commands import doctor
from pipeline.config import TuneConfig
from pipeline.config.command_line import parse_flags

ROOT = Path(__file__).parents[1]
COMMANDS = sorted(path.stem for path in (ROOT / "pipeline" / "commands").glob("*.py") if path.stem != "__init__")
GROUPS = {
    "preprocess": ["recipe", "data", "intake"],
    "train": ["recipe", "data", "intake", "training", "structure", "timelimit", "registry"],
    "tune": ["recipe", "data", "intake", "training", "structure", "search", "workers", "registry"],
    "evaluate": ["candidate", "modeldata", "report", "promotion"],
    "ablate": ["recipe", "data", "intake", "training", "structure", "timelimit", "ablation", "workers", "registry"],
    "predict": ["prediction", "model"],
    "serve": ["address", "limits", "model"],
    "export": ["exportformats", "model", "modelphotos"],
    "demo": ["pageaddress", "model", "modelphotos"],
    "rollback": ["registry"],
    "suspects": ["data", "intake", "suspect"],
    "main": ["recipe", "data", "intake", "training", "structure", "search", "workers", "registry", "promotion"],
    "weights": ["weights"],
    "doctor": ["prune"],
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


def test_commands_are_listed_in_the_order_of_work(tmp_path: Path) -> None:
    usage = _run("--help", folder=tmp_path).stdout
    listed = [line.split()[0] for line in usage.splitlines() if line.startswith("  ")]
    assert listed[:5] == ["main", "preprocess", "train", "tune", "evaluate"]
    assert set(command_line.ORDER_OF_WORK) <= set(listed)


def test_the_version_is_told(tmp_path: Path) -> None:
    done = _run("--version", folder=tmp_path)
    assert (done.returncode, done.stdout) == (0, f"photo-pipeline {pipeline.__version__}\n")


def test_a_shell_completes_commands_and_flags(tmp_path: Path) -> None:
    script = _run("--completion", "bash", folder=tmp_path).stdout
    complete = "; ".join(
        f'COMP_WORDS=(x {words}); COMP_CWORD={place}; _tyro_photo_pipeline; echo "${{COMPREPLY[@]}}"'
        for words, place in (("tu", 1), ("tune --lear", 2), ("train --lr_sch", 2))
    )
    done = subprocess.run(["bash", "-c", f"{script}\n{complete}"], capture_output=True, text=True, check=True)
    assert done.stdout.split() == ["tune", "--learning_rate", "--lr_schedule"]
    assert "bash, zsh, tcsh, got 'fish'" in _assert_one_error_line(_run("--completion", "fish", folder=tmp_path))


def test_help_has_no_colours_where_the_user_wants_none(tmp_path: Path) -> None:
    if not shutil.which("script"):
        pytest.skip("a terminal needs the program script")
    for no_color, coloured in (("", True), ("1", False)):
        command = ["script", "-qc", f"{shlex.quote(sys.executable)} -m pipeline doctor --help", "/dev/null"]
        variables = os.environ | {"NO_COLOR": no_color, "PYTHONPATH": str(ROOT), "TERM": "xterm"}
        done = subprocess.run(command, cwd=tmp_path, env=variables, capture_output=True, text=True, check=True)
        assert ("\x1b[" in done.stdout) == coloured


def test_help_of_a_command_may_come_before_it(tmp_path: Path) -> None:
    assert _run("help", "rollback", folder=tmp_path).stdout == _run("rollback", "--help", folder=tmp_path).stdout
    assert _run("help", folder=tmp_path).stdout == _run("--help", folder=tmp_path).stdout


def test_help_ends_in_silence_where_its_reader_has_enough(tmp_path: Path) -> None:
    command = f"{shlex.quote(sys.executable)} -m pipeline train --help | head -1"
    done = subprocess.run(
        ["bash", "-o", "pipefail", "-c", command],
        cwd=tmp_path, env=os.environ | {"PYTHONPATH": str(ROOT)}, capture_output=True, text=True,
    )  # fmt: skip
    assert (done.returncode, done.stderr) == (0, "")


@pytest.mark.parametrize(
    ("arguments", "strict"),
    [
        (["--strict"], True),
        (["--strict=false"], False),
        (["--strict", "false"], False),
        (["--strict", "--seed=3"], True),
    ],
    ids=repr,
)
def test_a_switch_may_stand_alone(arguments: list[str], strict: bool) -> None:
    assert parse_flags(TuneConfig, "tune", arguments).strict is strict


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
        (["tarin"], ["'tarin'", "did you mean train?", *COMMANDS]),
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


def _raised(error: Exception, cause: Exception | None = None) -> Exception:
    error.__cause__ = cause
    return error


def _read_only(folder: Path) -> sqlite3.Error:
    """What SQLite raises for a file that may not be written."""
    sqlite3.connect(folder / "file.db").execute("CREATE TABLE t (a)")
    with pytest.raises(sqlite3.Error) as error:
        sqlite3.connect(f"file:{folder}/file.db?mode=ro", uri=True).execute("INSERT INTO t VALUES (1)")
    return error.value


@pytest.mark.parametrize("number", [errno.EACCES, errno.ENOSPC, errno.EROFS])
def test_an_error_of_the_disk_gets_advice_about_disks(
    number: int, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    of_system = OSError(number, os.strerror(number), "file")
    of_many_files = shutil.Error([("a", "b", str(of_system))])
    wrapped = _raised(RuntimeError("a library's words"), _raised(ValueError("another's"), of_system))
    of_sqlite = _raised(RuntimeError("the store's words"), _read_only(tmp_path))
    monkeypatch.setattr(tempfile, "_candidate_tempdir_list", lambda: ["/proc/1/nowhere"])
    with pytest.raises(FileNotFoundError) as nowhere:
        tempfile._get_default_tempdir()
    monkeypatch.undo()
    for error in (of_system, of_many_files, wrapped, of_sqlite, nowhere.value):
        monkeypatch.setattr(command_line, "_run", _raising(error))
        assert command_line.main([]) == 2
        assert capsys.readouterr().err.startswith("error: the disk must have free space")


@pytest.mark.parametrize(
    "error",
    [
        RuntimeError("Permission denied: this user may not run models"),
        OSError(errno.ECONNREFUSED, "Permission denied"),
        sqlite3.OperationalError("no such table: Permission denied"),
    ],
    ids=repr,
)
def test_another_error_is_shown_as_it_is_whatever_its_words(error: Exception, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(command_line, "_run", _raising(error))
    with pytest.raises(type(error)):
        command_line.main([])


def test_windows_itself_is_refused_in_one_line(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setattr(sys, "platform", "win32")
    assert command_line.main(["doctor"]) == 2
    assert capsys.readouterr().err.startswith("error: the system must be Linux or macOS, got Windows")


def test_what_a_library_made_of_an_interrupt_ends_as_one(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    def run(config: object) -> None:
        try:
            signal.raise_signal(signal.SIGTERM)
        except BaseException as error:
            raise RuntimeError("a library's words") from error

    monkeypatch.setattr(doctor, "run", run)
    assert command_line.main(["doctor"]) == 130
    assert capsys.readouterr().err.startswith("interrupted: ")


@pytest.mark.parametrize(
    ("command", "said"),
    [
        *((name, "all progress is saved") for name in ("main", "preprocess", "train", "tune", "ablate")),
        *((name, "starts from the beginning") for name in ("evaluate", "export", "suspects", "doctor")),
        ("train --resume=never", "starts from the beginning"),
        *((name, "stopped") for name in ("serve", "demo")),
        ("predict", "the table has only the photos so far"),
        ("weights", "what was fetched completely is kept"),
        ("rollback", "which version is champion"),
    ],
)
def test_who_is_interrupted_promises_what_is_true(
    command: str, said: str, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    module = importlib.import_module(f"pipeline.commands.{command.split()[0]}")
    monkeypatch.setattr(module, "run", lambda config: signal.raise_signal(signal.SIGTERM))
    assert command_line.main(command.split()) == 130
    (line,) = capsys.readouterr().err.splitlines()
    assert said in line
    assert ("saved" in line) == (said == "all progress is saved")


def _raising(error: Exception) -> Callable[..., int]:
    def run(arguments: object) -> int:
        raise error

    return run
