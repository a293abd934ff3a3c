"""The pages that follow from the code, made anew whenever the site is built: the flags, and who imports whom.

A hook of MkDocs, which calls `on_files`. Rejected: committing the pages, which then need a test that they are current;
mkdocs-gen-files, which is a dependency for ten lines.
"""

from __future__ import annotations

import importlib
import io
import re
import sys
from pathlib import Path

from mkdocs.config.defaults import MkDocsConfig
from mkdocs.structure.files import File, Files
from pydantic import TypeAdapter
from pydantic.fields import FieldInfo

ROOT = Path(__file__).parents[1]
sys.path.insert(0, str(ROOT))

from pipeline.config import Config  # noqa: E402
from pipeline.config.command_line import as_text, groups_of  # noqa: E402
from pipeline.mlproject import ENTRY_POINTS  # noqa: E402
from tests.test_architecture import LEVELS, PACKAGES, imports_of_units  # noqa: E402

IMPORTS_PAGE = """# Who imports whom

Drawn from the code. A line leads from a module, or a package with its modules, to what it imports, which is always
below it; [Architecture](architecture.md) says what each owns.

![Modules by level, with a line for each import; all lines point down](images/imports.svg)
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


def imports_picture() -> str:
    """Return an SVG of the modules by level, with a line from each to those that it imports."""
    from matplotlib.backends.backend_svg import FigureCanvasSVG
    from matplotlib.figure import Figure

    figure = Figure(figsize=(11, 0.75 * len(LEVELS)), layout="constrained")
    axes = figure.subplots()
    places = {
        unit: ((number + 0.5) / len(units), height + 0.28 * (number % 2 - 0.5) * (len(units) > 5))
        for height, units in enumerate(LEVELS)
        for number, unit in enumerate(units)
    }
    for importer, imported in imports_of_units():
        (x, y), (to_x, to_y) = places[importer], places[imported]
        axes.plot([x, to_x], [y, to_y], color="#0072b2", linewidth=0.6, alpha=0.5, zorder=1)
    for unit, (x, y) in places.items():
        label = unit.removeprefix("pipeline.") + ("/" if unit in PACKAGES else "")
        box = {"boxstyle": "round", "facecolor": "white", "edgecolor": "#0072b2"}
        axes.text(x, y, label, ha="center", va="center", fontsize=9, bbox=box, zorder=2)
    axes.set_title("Imports point down: each line leads from a module to one below that it imports")
    axes.set_axis_off()
    drawing = io.StringIO()
    FigureCanvasSVG(figure).print_svg(drawing, metadata={"Date": None})
    return drawing.getvalue()
