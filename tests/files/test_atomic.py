"""Tests that a folder under its final name is whole, whatever happened."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import pytest

from pipeline.files import atomic_folder

REPOSITORY = Path(__file__).parents[2]


def test_folder_appears_only_at_the_end(tmp_path: Path) -> None:
    """What a killed process leaves is what lies there while it works."""
    with atomic_folder(tmp_path / "set") as unfinished:
        (unfinished / "photo.jpg").write_bytes(b"x")
        assert not (tmp_path / "set").exists()
        assert unfinished.name.endswith(".part")
    assert [path.name for path in tmp_path.iterdir()] == ["set"]


def break_off(folder: Path) -> None:
    with atomic_folder(folder) as unfinished:
        (unfinished / "photo.jpg").write_bytes(b"x")
        raise KeyboardInterrupt


def test_failure_leaves_nothing(tmp_path: Path) -> None:
    with pytest.raises(KeyboardInterrupt):
        break_off(tmp_path / "set")
    assert list(tmp_path.iterdir()) == []


def test_killed_process_leaves_no_folder_under_the_final_name(tmp_path: Path) -> None:
    program = (
        "import os, sys, pathlib; from pipeline.files import atomic_folder\n"
        "with atomic_folder(pathlib.Path(sys.argv[1])) as folder:\n"
        "    (folder / 'photo.jpg').touch(); os.kill(os.getpid(), 9)"
    )
    result = subprocess.run([sys.executable, "-c", program, str(tmp_path / "set")], check=False, cwd=REPOSITORY)
    assert result.returncode == -9
    assert not (tmp_path / "set").exists()
    assert [path.suffix for path in tmp_path.iterdir()] == [".part"]


def test_full_folder_is_never_replaced(tmp_path: Path) -> None:
    (tmp_path / "set").mkdir()
    (tmp_path / "set" / "mine.jpg").touch()
    with pytest.raises(FileExistsError, match="new or empty"), atomic_folder(tmp_path / "set"):
        pass
    assert [path.name for path in tmp_path.rglob("*")] == ["set", "mine.jpg"]
