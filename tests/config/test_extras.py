"""The command that installs what is missing."""

from __future__ import annotations

import shlex
from pathlib import Path

import pytest

from pipeline.config import extras, install_command


def test_the_command_works_in_every_folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(extras.PROJECT)
    assert install_command("ray") == "pip install -c constraints.txt -e '.[ray]'"
    assert install_command() == "pip install -c constraints.txt -e ."
    monkeypatch.chdir(tmp_path)
    *_, constraints, _, project = shlex.split(install_command("ray"))
    assert Path(constraints).is_file()
    assert Path(project.removesuffix("[ray]"), "pyproject.toml").is_file()


def test_without_the_project_it_is_not_installed_from_a_folder_that_is_not_there(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(extras, "PROJECT", tmp_path)
    assert install_command("ray").startswith("install the project again")
