"""What linters cannot say of the code's shape: who reads the test split, and that the documentation shows the rules.

Who may import whom is import-linter's to check (pyproject.toml, `make lint`), what is imported at import time ruff's.
"""

from __future__ import annotations

import ast
import re
import subprocess
import sys
import tomllib
from pathlib import Path

import pytest

from tests.conftest import ROOT

FILES = {
    ".".join(path.relative_to(ROOT).with_suffix("").parts).removesuffix(".__init__"): path
    for path in sorted((ROOT / "pipeline").rglob("*.py"))
}
TOP_MODULES = {"__init__.py", "__main__.py", "api.py", "mlproject.py"}
OWNER_OF_THE_TEST_SPLIT, READER_OF_THE_TEST_SPLIT = "pipeline.data.store.store", "pipeline.promotion.evaluate"
COMMANDS = sorted(path.stem for path in (ROOT / "pipeline" / "commands").glob("[a-z]*.py"))

every_file = pytest.mark.parametrize("module", FILES)


def test_the_contract_of_imports_is_kept() -> None:
    done = subprocess.run([Path(sys.executable).with_name("lint-imports")], cwd=ROOT, capture_output=True, text=True)
    assert done.returncode == 0, done.stdout


def test_the_documentation_shows_the_layers_of_the_contract() -> None:
    contracts = tomllib.loads((ROOT / "pyproject.toml").read_text())["tool"]["importlinter"]["contracts"]
    wanted = next(contract["layers"] for contract in contracts if contract["id"] == "layers")
    shown = re.findall(r"^\| (`.*?`) \|", (ROOT / "docs" / "architecture.md").read_text(), re.MULTILINE)
    assert [" | ".join(re.findall(r"`(\w+)`", row)) for row in shown[: len(wanted)]] == wanted


def test_few_modules_lie_beside_the_packages() -> None:
    assert {path.name for path in (ROOT / "pipeline").glob("*.py")} == TOP_MODULES


@every_file
def test_every_module_says_what_it_owns(module: str) -> None:
    assert (ast.get_docstring(ast.parse(FILES[module].read_text())) or "").strip()


@every_file
def test_only_the_evaluation_reads_the_test_split(module: str) -> None:
    """`Store` gives its test split to `held_out_photos` alone, whatever way it is named; here is who calls that."""
    tree = ast.parse(FILES[module].read_text())
    names = {node.attr for node in ast.walk(tree) if isinstance(node, ast.Attribute)}
    texts = {node.value for node in ast.walk(tree) if isinstance(node, ast.Constant) and isinstance(node.value, str)}
    if module != READER_OF_THE_TEST_SPLIT:
        assert "held_out_photos" not in names
        assert "held_out_photos" not in texts  # getattr
    if module != OWNER_OF_THE_TEST_SPLIT:
        assert not names & {"_array", "_rows"}
        assert not any("test.npy" in text for text in texts)


@pytest.mark.parametrize("command", COMMANDS)
def test_commands_read_flags_and_call_what_is_below(command: str) -> None:
    tree = ast.parse(FILES[f"pipeline.commands.{command}"].read_text())
    assert {node.id for node in ast.walk(tree) if isinstance(node, ast.Name)} >= {"CONFIG"}
    assert any(isinstance(node, ast.FunctionDef) and node.name == "run" for node in tree.body)


def test_help_imports_neither_tensorflow_nor_mlflow() -> None:
    code = "import sys; from pipeline.__main__ import main; main(['--help']); print(sorted(sys.modules))"
    loaded = subprocess.run([sys.executable, "-c", code], cwd=ROOT, capture_output=True, text=True, check=True).stdout
    assert not {f"'{name}'" for name in ("tensorflow", "keras", "mlflow", "optuna", "cv2", "pandas")} & {
        word.strip("[], \n") for word in loaded.split(",")
    }
