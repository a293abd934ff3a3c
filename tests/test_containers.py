"""The Dockerfile and compose.yaml: linted, true to the project's files and flags, and safe. No engine is needed."""

from __future__ import annotations

import re
import subprocess
import sys
from fnmatch import fnmatch
from pathlib import Path
from typing import Any

import pytest
import yaml

from pipeline.config import EvaluateConfig, ServeConfig, TuneConfig
from pipeline.config.command_line import parse_flags
from tests.conftest import ROOT

DOCKERFILE = (ROOT / "Dockerfile").read_text()
SERVICES: dict[str, Any] = yaml.safe_load((ROOT / "compose.yaml").read_text())["services"]
CONFIGS = {"tune": TuneConfig, "evaluate": EvaluateConfig, "serve": ServeConfig}
OURS = [name for name, service in SERVICES.items() if "build" in service]


def test_the_dockerfile_passes_its_linter() -> None:
    ignored = "--ignore=DL3008"  # Debian drops the versions that could be pinned
    done = subprocess.run(
        [Path(sys.executable).with_name("hadolint"), ignored, "Dockerfile"], cwd=ROOT, capture_output=True, text=True
    )
    assert (done.returncode, done.stdout) == (0, "")


def test_what_is_copied_is_there_and_nothing_else_gets_in() -> None:
    copied = [word for line in re.findall(r"^COPY (.*) \S+$", DOCKERFILE, re.MULTILINE) for word in line.split()]
    let_in = [line[1:] for line in (ROOT / ".dockerignore").read_text().splitlines() if line.startswith("!")]
    assert sorted(copied) == sorted(let_in)
    assert all((ROOT / name).exists() for name in copied)
    declared = re.findall(r'file = \["?([^"\]]+)', (ROOT / "pyproject.toml").read_text())
    assert all(any(fnmatch(name, each) for each in copied) for name in declared)  # what the build reads


def test_it_runs_without_rights_in_a_folder_that_is_a_volume() -> None:
    user, entry = DOCKERFILE.index("\nUSER 10001"), DOCKERFILE.index("\nENTRYPOINT")
    assert user < entry
    assert not re.search(r"^(RUN|COPY)", DOCKERFILE[user:], re.MULTILINE)
    assert "VOLUME /project" in DOCKERFILE


@pytest.mark.parametrize("name", OURS)
def test_services_can_write_their_volumes_alone(name: str) -> None:
    service = SERVICES[name]
    assert service["read_only"]
    assert service["cap_drop"] == ["ALL"]
    assert service["security_opt"] == ["no-new-privileges:true"]
    assert all(port.startswith("127.0.0.1:") for port in service.get("ports", ()))
    assert all(volume.endswith(":ro") for volume in service.get("volumes", ()) if volume.startswith("./"))


@pytest.mark.parametrize("name", [name for name in OURS if "entrypoint" not in SERVICES[name]])
def test_commands_are_those_of_the_project(name: str, monkeypatch: pytest.MonkeyPatch) -> None:
    command, *flags = (word.replace("$$", "$") for word in SERVICES[name]["command"])
    config = parse_flags(CONFIGS[command], command, flags)
    assert config.model_dump().items() >= {flag[2:].split("=")[0]: _value(flag) for flag in flags}.items()


def _value(flag: str) -> object:
    text = flag.partition("=")[2]
    return int(text) if text.isdigit() else text


def test_the_documentation_names_what_compose_has() -> None:
    page, head = (ROOT / "docs" / "containers.md").read_text(), (ROOT / "compose.yaml").read_text()
    named = set(re.findall(r"docker compose (?:up --detach|run --rm) (\w+)", page + head))
    assert named == set(SERVICES) - {"database"}
