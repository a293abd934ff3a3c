"""The shape of the code: imports point down, heavy packages wait, and files and functions stay short."""

from __future__ import annotations

import ast
from collections.abc import Iterator
from graphlib import CycleError, TopologicalSorter
from pathlib import Path
from typing import NamedTuple

import pytest

ROOT = Path(__file__).parents[1]
FILES = {
    ".".join(path.relative_to(ROOT).with_suffix("").parts).removesuffix(".__init__"): path
    for path in sorted((ROOT / "pipeline").rglob("*.py"))
}
# From the bottom up. A unit is a module, or a package whose modules may import each other. Units of one line do not.
LEVELS = (
    ("pipeline",),
    ("pipeline.config",),
    ("pipeline.recipes",),
    ("pipeline.flags",),
    (
        "pipeline.space",
        "pipeline.schedules",
        "pipeline.models",
        "pipeline.data",
        "pipeline.checkpoint",
        "pipeline.class_columns",
        "pipeline.digests",
        "pipeline.interrupts",
        "pipeline.processes",
        "pipeline.ray_workers",
        "pipeline.study_lock",
    ),
    ("pipeline.space_file",),
    ("pipeline.orphans", "pipeline.features", "pipeline.optimizers", "pipeline.phases", "pipeline.precision"),
    ("pipeline.step",),
    ("pipeline.trainer",),
    (
        "pipeline.serving",
        "pipeline.tracking",
        "pipeline.training",
        "pipeline.workers",
        "pipeline.parity",
        "pipeline.plots",
        "pipeline.evaluation",
        "pipeline.effects",
        "pipeline.label_suspects",
    ),
    ("pipeline.served_model", "pipeline.study_plots", "pipeline.report", "pipeline.review"),
    ("pipeline.photos",),
    ("pipeline.registry", "pipeline.assessment", "pipeline.server"),
    ("pipeline.model_card",),
    ("pipeline.search", "pipeline.experiment", "pipeline.exports", "pipeline.similar"),
    ("pipeline.trials", "pipeline.crew", "pipeline.ablation", "pipeline.promotion"),
    ("pipeline.confirmations", "pipeline.progress"),
    ("pipeline.preload_stores",),
    ("pipeline.preload", "pipeline.doctor", "pipeline.own_photos"),
    ("pipeline.demo",),
    ("pipeline.commands",),
    ("pipeline.commands.main",),
    ("pipeline.__main__", "pipeline.mlproject"),
)
UNITS = {unit: level for level, units in enumerate(LEVELS) for unit in units}
PACKAGES = {
    "pipeline.config",
    "pipeline.demo",
    "pipeline.models",
    "pipeline.data",
    "pipeline.plots",
    "pipeline.report",
    "pipeline.tracking",
    "pipeline.evaluation",
}
ONLY_IN = {
    "mlflow": {"pipeline.data", "pipeline.tracking", "pipeline.registry", "pipeline.served_model", "pipeline.server"},
    "optuna": {
        *("pipeline.orphans", "pipeline.search", "pipeline.trials", "pipeline.confirmations", "pipeline.crew"),
        *("pipeline.progress", "pipeline.study_plots"),
    },
    "rich": {"pipeline.progress"},
    "matplotlib": {
        "pipeline.assessment",
        "pipeline.plots",
        "pipeline.report",
        "pipeline.review",
        "pipeline.study_plots",
        "pipeline.tracking",
    },
    "ray": {"pipeline.ray_workers"},
    "tyro": {"pipeline.flags"},
    "streamlit": {"pipeline.demo"},
}
SLOW_TO_IMPORT = {"tensorflow", "keras", "keras_hub"}
IMPORTS_ALL = {
    "pipeline.preload",
    "pipeline.preload_stores",
}  # are imported by name, in a process that all trials fork from
SUBCLASSES_KERAS = {"pipeline.models.fast_layers"}  # as slow to import, and so imported where used
MAX_FILE_LINES, MAX_FUNCTION_LINES = 250, 40

every_file = pytest.mark.parametrize("module", FILES)


class Import(NamedTuple):
    """An imported module, and whether importing its importer already imports it, or only a type checker."""

    name: str
    at_top: bool
    for_types: bool


def _imports(module: str) -> list[Import]:
    return list(_imports_below(ast.parse(FILES[module].read_text()), at_top=True, for_types=False))


def _imports_below(node: ast.AST, at_top: bool, for_types: bool) -> Iterator[Import]:
    for child in ast.iter_child_nodes(node):
        if isinstance(child, ast.Import):
            yield from (Import(alias.name, at_top, for_types) for alias in child.names)
        elif isinstance(child, ast.ImportFrom):
            assert not child.level, "imports are absolute"
            source = child.module or ""
            # "from package import name" imports a module if there is one of that name, else something in the package.
            names = {f"{source}.{alias.name}" if f"{source}.{alias.name}" in FILES else source for alias in child.names}
            yield from (Import(name, at_top, for_types) for name in sorted(names))
        else:
            is_function = isinstance(child, ast.FunctionDef | ast.AsyncFunctionDef | ast.Lambda)
            is_guard = isinstance(child, ast.If) and ast.unparse(child.test) == "TYPE_CHECKING"
            yield from _imports_below(child, at_top and not is_function, for_types or is_guard)


def _unit(module: str) -> str:
    """The unit of a module: itself, or the nearest package above it that has a level."""
    while module not in UNITS:
        module, _, _ = module.rpartition(".")
    return module


def _own_imports(module: str) -> list[str]:
    return [found.name for found in _imports(module) if found.name.partition(".")[0] == "pipeline"]


def imports_of_units() -> set[tuple[str, str]]:
    """Return who imports whom, among the units."""
    pairs = {(_unit(module), _unit(imported)) for module in FILES for imported in _own_imports(module)}
    return {(importer, imported) for importer, imported in pairs if importer != imported}


@every_file
def test_every_module_has_a_level_of_its_own(module: str) -> None:
    assert module == "pipeline" or _unit(module) != "pipeline", "give it a place in LEVELS"


@every_file
def test_imports_point_down(module: str) -> None:
    unit = _unit(module)
    wrong = []
    for imported in _own_imports(module):
        assert imported in FILES, f"{imported} does not exist"
        inside = _unit(imported) == unit and unit in PACKAGES
        names_the_folder = module == "pipeline.__main__" and imported == "pipeline.commands"
        if not inside and not names_the_folder and UNITS[_unit(imported)] >= UNITS[unit]:
            wrong.append(imported)
    assert wrong == []


def test_no_module_imports_itself_round_a_corner() -> None:
    graph = {module: {name for name in _own_imports(module) if name != module} for module in FILES}
    try:
        TopologicalSorter(graph).prepare()
    except CycleError as error:
        pytest.fail(f"a cycle of imports: {error.args[1]}")


def test_commands_do_not_import_each_other() -> None:
    commands = [name for name in FILES if name.startswith("pipeline.commands.") and name != "pipeline.commands.main"]
    wrong = {
        name: others
        for name in commands
        if (others := [o for o in _own_imports(name) if o.startswith("pipeline.commands")])
    }
    assert wrong == {}


@pytest.mark.parametrize("package", ONLY_IN)
def test_a_package_is_imported_only_where_it_belongs(package: str) -> None:
    users = {
        _unit(module)
        for module in FILES
        for found in _imports(module)
        if found.name.partition(".")[0] == package and not (found.for_types and module.startswith("pipeline.commands."))
    }
    assert users - IMPORTS_ALL == ONLY_IN[package]


@every_file
def test_importing_a_module_does_not_import_tensorflow(module: str) -> None:
    wrong = [
        found.name
        for found in _imports(module)
        if found.name.partition(".")[0] in SLOW_TO_IMPORT or found.name.rpartition(".")[0] in SUBCLASSES_KERAS
        if found.at_top and not found.for_types
    ]
    assert wrong == [] or module in SUBCLASSES_KERAS | IMPORTS_ALL


@every_file
def test_files_say_what_they_own_and_stay_short(module: str) -> None:
    text = FILES[module].read_text()
    assert (ast.get_docstring(ast.parse(text)) or "").strip() != ""
    assert len(text.splitlines()) < MAX_FILE_LINES


@every_file
def test_functions_stay_short(module: str) -> None:
    functions = [
        node
        for node in ast.walk(ast.parse(FILES[module].read_text()))
        if isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef)
    ]
    lines = {node.name: (node.end_lineno or 0) - node.lineno + 1 for node in functions}
    assert {name: count for name, count in lines.items() if count >= MAX_FUNCTION_LINES} == {}


def test_only_evaluate_names_the_test_split_to_read_it() -> None:
    readers = {
        module
        for module, path in FILES.items()
        for node in ast.walk(ast.parse(path.read_text()))
        if isinstance(node, ast.Call)
        and isinstance(node.func, ast.Attribute)
        and node.func.attr in {"images", "labels", "rows"}
        and any(isinstance(argument, ast.Constant) and argument.value == "test" for argument in node.args)
    }
    assert readers == {"pipeline.commands.evaluate"}
