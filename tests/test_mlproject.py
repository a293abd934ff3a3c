"""MLproject, conda.yaml, requirements.txt and pyproject.toml say what the code says, and agree with each other."""

from __future__ import annotations

import ast
import importlib
import os
import pkgutil
import re
import subprocess
import sys
import tomllib
from importlib.metadata import packages_distributions
from pathlib import Path
from typing import Any

import pytest
import yaml
from packaging.requirements import Requirement
from packaging.specifiers import SpecifierSet
from packaging.utils import canonicalize_name
from setuptools import find_packages

import pipeline.commands
from pipeline.config import Config
from pipeline.config.text import as_text, fields_of, make_config

ROOT = Path(__file__).parents[1]
COMMANDS = {
    module.name: importlib.import_module(f"pipeline.commands.{module.name}").CONFIG
    for module in pkgutil.iter_modules(pipeline.commands.__path__)
}
MLPROJECT = yaml.safe_load((ROOT / "MLproject").read_text())
PYPROJECT = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]
SETUPTOOLS = tomllib.loads((ROOT / "pyproject.toml").read_text())["tool"]["setuptools"]
CORE = {canonicalize_name(need.name): need for need in map(Requirement, PYPROJECT["dependencies"])}
PINS = [line.strip() for line in (ROOT / "requirements.txt").read_text().splitlines()]
ALL_PINS = [line.strip() for line in (ROOT / "constraints.txt").read_text().splitlines()]
OPTIONAL = {
    "psycopg": "postgres",
    "sqlalchemy_dlock": "postgres",
    "ray": "ray",
    "streamlit": "demo",
    "onnxruntime": "export",
    "cleanlab": "suspects",
    "ai_edge_litert": "export",
}  # import name -> the extra that brings it

every_command = pytest.mark.parametrize(("name", "config_class"), COMMANDS.items(), ids=list(COMMANDS))


def _entry_point(name: str) -> dict[str, Any]:
    return MLPROJECT["entry_points"][name]


def test_entry_points_are_the_commands() -> None:
    assert set(MLPROJECT["entry_points"]) == set(COMMANDS)
    assert (ROOT / MLPROJECT["conda_env"]).is_file()


@every_command
def test_parameters_are_the_flags_in_name_order_and_default(name: str, config_class: type[Config]) -> None:
    parameters, fields = _entry_point(name)["parameters"], fields_of(config_class)
    assert list(parameters) == list(fields)
    for field, parameter in parameters.items():
        default = fields[field].default
        if type(default) in (int, float):
            assert (parameter["type"], parameter["default"]) == ("float", default), field
        else:
            # Text and not a YAML true, number or null: MLflow hands on Python's spelling of those.
            assert (parameter["type"], parameter["default"]) == ("string", as_text(default)), field


@every_command
def test_the_defaults_as_mlflow_hands_them_over_give_the_default_config(name: str, config_class: type[Config]) -> None:
    handed_over = {field: str(parameter["default"]) for field, parameter in _entry_point(name)["parameters"].items()}
    assert make_config(config_class, handed_over) == config_class()


@every_command
def test_the_command_uses_every_parameter_once_and_bare(name: str, config_class: type[Config]) -> None:
    command = _entry_point(name)["command"]
    flags = [f"--{field}={{{field}}}" for field in fields_of(config_class)]
    assert command.split() == ["python", "-m", "pipeline", name, *flags]
    assert re.search("[\"'`$]", command) is None


def test_the_file_is_what_the_module_writes() -> None:
    env = os.environ | {"PYTHONPATH": str(ROOT)}
    command = [sys.executable, "-m", "pipeline.mlproject"]
    written = subprocess.run(command, cwd=ROOT, env=env, capture_output=True, text=True, check=True, timeout=120)
    assert written.stdout == (ROOT / "MLproject").read_text()


@pytest.mark.parametrize("line", ALL_PINS)
def test_every_line_of_constraints_pins_one_version(line: str) -> None:
    assert "://" not in line
    assert "--" not in line
    need = Requirement(line)
    assert need.url is None
    (pin,) = need.specifier
    assert pin.operator == "=="
    assert "*" not in pin.version


@pytest.mark.parametrize("name", CORE)
def test_every_dependency_is_pinned_inside_its_range(name: str) -> None:
    pins = [pin for pin in map(Requirement, PINS) if canonicalize_name(pin.name) == name]
    assert pins
    assert [str(pin) for pin in pins if not CORE[name].specifier.contains(next(iter(pin.specifier)).version)] == []


def test_constraints_are_the_requirements_and_those_of_every_extra() -> None:
    assert {line.partition(" ;")[0] for line in PINS} <= {line.partition(" ;")[0] for line in ALL_PINS}
    pinned = {canonicalize_name(Requirement(line).name) for line in ALL_PINS}
    extras = [Requirement(line) for lines in PYPROJECT["optional-dependencies"].values() for line in lines]
    assert {canonicalize_name(need.name) for need in extras} - {"photo-pipeline"} <= pinned


def test_conda_brings_python_and_pip_and_pip_the_rest() -> None:
    python, pip, from_pip = yaml.safe_load((ROOT / "conda.yaml").read_text())["dependencies"]
    name, _, version = python.partition("=")
    assert name == "python"
    assert SpecifierSet(PYPROJECT["requires-python"]).contains(version)
    assert pip == "pip"
    assert from_pip == {"pip": ["-r requirements.txt"]}


def test_extras() -> None:
    assert {"test", "ray", "postgres", "bench", "suspects"} <= set(PYPROJECT["optional-dependencies"])


def test_setuptools_packs_every_package() -> None:
    packed = find_packages(str(ROOT), **SETUPTOOLS["packages"]["find"])
    folders = {path.parent for path in (ROOT / "pipeline").rglob("*.py")}
    assert sorted(packed) == sorted(".".join(folder.relative_to(ROOT).parts) for folder in folders)


def test_setuptools_packs_every_other_file() -> None:
    packed = {
        path
        for package, globs in SETUPTOOLS["package-data"].items()
        for glob in globs
        for path in (ROOT / package.replace(".", "/")).glob(glob)
    }
    files = {path for path in (ROOT / "pipeline").rglob("*") if path.is_file() and "__pycache__" not in path.parts}
    assert packed == {path for path in files if path.suffix != ".py"}


def _imported() -> dict[str, str]:
    """Every package that pipeline/ imports, at top level or later, with a file that does."""
    found: dict[str, str] = {}
    for path in sorted((ROOT / "pipeline").rglob("*.py")):
        for node in ast.walk(ast.parse(path.read_text())):
            names = [alias.name for alias in node.names] if isinstance(node, ast.Import) else []
            names += [node.module or ""] if isinstance(node, ast.ImportFrom) else []
            found.update({name.partition(".")[0]: str(path.relative_to(ROOT)) for name in names})
    return {name: path for name, path in found.items() if name not in {"pipeline", *sys.stdlib_module_names}}


IMPORTED = _imported()


@pytest.mark.parametrize("package", IMPORTED)
def test_every_imported_package_is_declared(package: str) -> None:
    declared = set(CORE)
    if package in OPTIONAL:
        extra = PYPROJECT["optional-dependencies"][OPTIONAL[package]]
        declared = {canonicalize_name(Requirement(need).name) for need in extra}
    distributions = packages_distributions().get(package, [package])
    assert declared & {canonicalize_name(name) for name in distributions}, f"imported by {IMPORTED[package]}"
