"""The pages that follow from the code, made anew whenever the site is built: the flags, and who imports whom.

A hook of MkDocs, which calls `on_files`. Rejected: committing the pages, which then need a test that they are current;
mkdocs-gen-files, which is a dependency for ten lines.
"""

from __future__ import annotations

import importlib
import io
import re
import sys
import tomllib
from pathlib import Path

import grimp
from matplotlib.backends.backend_svg import FigureCanvasSVG
from matplotlib.figure import Figure
from mkdocs.config.defaults import MkDocsConfig
from mkdocs.structure.files import File, Files
from pydantic import TypeAdapter
from pydantic.fields import FieldInfo

ROOT = Path(__file__).parents[1]
sys.path.insert(0, str(ROOT))

from pipeline.config import Config
from pipeline.config.text import as_text, groups_of
from pipeline.mlproject import ENTRY_POINTS

IMPORTS_PAGE = """# Who imports whom

Drawn from the code and from the contract of imports in `pyproject.toml`. A line leads from a package to one that it
imports, which is always below it; [Architecture](architecture.md) says what each owns.

![Packages by layer, with a line for each import; all lines point down](images/imports.svg)
"""
LIMITS = {"minimum": "at least", "exclusiveMinimum": "above", "maximum": "at most", "exclusiveMaximum": "below"}


def on_files(files: Files, config: MkDocsConfig) -> Files:
    """Add the pages to those of the folder."""
    files.append(File.generated(config, "flags.md", content=flags_page()))
    files.append(File.generated(config, "imports.md", content=IMPORTS_PAGE))
    files.append(File.generated(config, "images/imports.svg", content=imports_picture()))
    return files


def flags_page() -> str:
    """Return every group of flags as a table, and above it the commands that take them."""
    commands: dict[type[Config], list[str]] = {}
    for name in ENTRY_POINTS:
        for group in groups_of(importlib.import_module(f"pipeline.commands.{name}").CONFIG):
            if group.model_fields:
                commands.setdefault(group, []).append(name)
    intro = (
        "# Flags\n\n`python -m pipeline COMMAND --flag=value` and `mlflow run . -e COMMAND -P flag=value` are the same "
        "thing. This page is made from the configs in `pipeline/config`.\n"
    )
    return intro + "".join(_section(group, names) for group, names in commands.items())


def _section(group: type[Config], commands: list[str]) -> str:
    title = re.sub("(?<=[a-z])(?=[A-Z])", " ", group.__name__.removesuffix("Config"))
    rows = "".join(_row(name, field) for name, field in group.model_fields.items())
    taken = ", ".join(f"`{name}`" for name in commands)
    head = "| flag | default | values | meaning |\n|---|---|---|---|\n"
    return f"\n## {title}\n\n{group.__doc__} Taken by {taken}.\n\n{head}{rows}"


def _row(name: str, field: FieldInfo) -> str:
    default = as_text(field.default)
    meaning = (field.description or "").replace("|", "\\|")
    return f"| `{name}` | {f'`{default}`' if default else 'empty'} | {_values(field)} | {meaning} |\n"


def _values(field: FieldInfo) -> str:
    schema = TypeAdapter(field.rebuild_annotation()).json_schema()
    schema = next((one for one in schema.get("anyOf", ()) if one.get("type") != "null"), schema)
    schema = schema | schema.pop("items", {}) if schema.get("type") == "array" else schema
    if "enum" in schema:
        return ", ".join(f"`{value}`" for value in schema["enum"])
    limits = [f"{words} {schema[key]:g}" for key, words in LIMITS.items() if key in schema]
    kind = {"integer": "whole number", "number": "number", "boolean": "`true`, `false`"}.get(
        schema.get("type", ""), "text"
    )
    return " ".join([kind, " and ".join(limits)]).strip()


def layers() -> list[list[str]]:
    """Return the packages of each layer of the contract, from the top down."""
    contracts = tomllib.loads((ROOT / "pyproject.toml").read_text())["tool"]["importlinter"]["contracts"]
    contract = next(one for one in contracts if one["id"] == "layers")
    return [re.split(r" [|:] ", layer) for layer in contract["layers"]]


def imports_of_packages() -> set[tuple[str, str]]:
    """Return which package imports which."""
    graph = grimp.build_graph("pipeline")
    package_of = {module: module.removeprefix("pipeline.").partition(".")[0] for module in graph.modules}
    pairs = {
        (package_of[module], package_of[imported])
        for module in graph.modules
        for imported in graph.find_modules_directly_imported_by(module)
    }
    return {(importer, imported) for importer, imported in pairs if importer != imported and "pipeline" not in imported}


def imports_picture() -> str:
    """Return an SVG of the packages by layer, with a line from each to those that it imports."""
    figure = Figure(figsize=(11, 0.95 * len(layers())), layout="constrained")
    axes = figure.subplots()
    places = {
        package: ((number + 0.5) / len(packages) + 0.04 * (-1) ** height, height)
        for height, packages in enumerate(reversed(layers()))
        for number, package in enumerate(packages)
    }
    for importer, imported in imports_of_packages():
        (x, y), (to_x, to_y) = places[importer], places[imported]
        axes.plot([x, to_x], [y, to_y], color="#0072b2", linewidth=0.8, alpha=0.5, zorder=1)
    for package, (x, y) in places.items():
        box = {"boxstyle": "round", "facecolor": "white", "edgecolor": "#0072b2"}
        axes.text(x, y, package, ha="center", va="center", fontsize=11, bbox=box, zorder=2)
    axes.set_title("Imports point down: each line leads from a package to one below that it imports")
    axes.set_axis_off()
    drawing = io.StringIO()
    FigureCanvasSVG(figure).print_svg(drawing, metadata={"Date": None})
    return drawing.getvalue()
