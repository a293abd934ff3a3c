"""The documentation: every flag it names exists, and the site builds with no link that leads nowhere."""

from __future__ import annotations

import importlib
import re
import subprocess
import sys
from pathlib import Path

import pytest

from pipeline.config.text import fields_of
from pipeline.mlproject import ENTRY_POINTS

ROOT = Path(__file__).parents[1]
PAGES = [ROOT / "README.md", ROOT / "CONTRIBUTING.md", *sorted((ROOT / "docs").glob("*.md"))]
COMMAND = re.compile(r"(?:python -m pipeline|mlflow run \. -e) (\w+)((?:[^\n`]|\\\n)*)")
FLAG = re.compile(r"(?:-P |--)([a-z]\w*)=")


@pytest.mark.parametrize("page", PAGES, ids=lambda page: page.name)
def test_every_flag_of_every_command_exists(page: Path) -> None:
    wrong = [
        (name, flag)
        for name, rest in COMMAND.findall(page.read_text())
        if name in ENTRY_POINTS
        for flag in FLAG.findall(rest)
        if flag not in fields_of(importlib.import_module(f"pipeline.commands.{name}").CONFIG)
    ]
    assert wrong == []


def test_the_site_builds_without_a_warning(tmp_path: Path) -> None:
    pytest.importorskip("mkdocs", reason="the site needs the extra docs (pip install '.[docs]')")
    command = [sys.executable, "-m", "mkdocs", "build", "--strict", "--site-dir", str(tmp_path)]
    built = subprocess.run(command, cwd=ROOT, capture_output=True, text=True, check=False)
    assert built.returncode == 0, built.stderr
    assert "<code>learning_rate</code>" in (tmp_path / "flags" / "index.html").read_text()
    assert (tmp_path / "images" / "imports.svg").stat().st_size > 1000
