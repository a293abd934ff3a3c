"""The code that a model carries: what `serving.served_model` imports of this package, under a name of its own.

MLflow puts a model's code on the module path, where the first module of a name wins for the life of the process. So the
copy of the package that goes with a model is not called ``pipeline`` but after the digest of what is in it: a model
loads beside whatever else is called ``pipeline``, two versions with different code load side by side, and each runs the
code that was judged. The standard library's modulefinder was not taken: it follows every import into TensorFlow.
"""

from __future__ import annotations

import ast
import hashlib
import re
from collections.abc import Iterator
from pathlib import Path
from typing import NamedTuple

PACKAGE = Path(__file__).parents[1]
ENTRY = "pipeline.serving.served_model"
IMPORT_OF_OURS = re.compile(r"^(\s*(?:from|import) )pipeline\b", re.MULTILINE)


class ServedCode(NamedTuple):
    """The copied package, and the file in it that MLflow runs."""

    package: Path
    entry: Path


def copy_served_code(folder: Path) -> ServedCode:
    """Copy into ``folder`` the modules that serve a model, as a package whose name says what is in them."""
    sources = {module: path.read_text(encoding="utf-8") for module, path in sorted(_needed_modules().items())}
    digest = hashlib.sha256("\0".join(f"{module}\0{text}" for module, text in sources.items()).encode()).hexdigest()
    name = f"photo_pipeline_{digest[:16]}"
    for module, text in sources.items():
        path = folder / name / _file_of(module).relative_to(PACKAGE)
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(IMPORT_OF_OURS.sub(rf"\g<1>{name}", text), encoding="utf-8")
    return ServedCode(folder / name, folder / name / _file_of(ENTRY).relative_to(PACKAGE))


def _needed_modules() -> dict[str, Path]:
    """Return the files of the modules that `ENTRY` imports, also by way of others and inside functions, by name."""
    found: dict[str, Path] = {}
    waiting = [ENTRY]
    while waiting:
        module = waiting.pop()
        if module in found:
            continue
        found[module] = _file_of(module)
        parents = module.split(".")[:-1]
        waiting += [".".join(parents[: length + 1]) for length in range(len(parents))]
        waiting += _imports_of(found[module])
    return found


def _imports_of(path: Path) -> Iterator[str]:
    """Yield the modules of this package that a file imports, but for those that only a type checker imports."""
    waiting: list[ast.AST] = [ast.parse(path.read_text(encoding="utf-8"))]
    while waiting:
        node = waiting.pop()
        if isinstance(node, ast.If) and ast.unparse(node.test) == "TYPE_CHECKING":
            continue
        waiting += ast.iter_child_nodes(node)
        if isinstance(node, ast.Import):
            names = [alias.name for alias in node.names]
        elif isinstance(node, ast.ImportFrom):
            names = [node.module or "", *(f"{node.module}.{alias.name}" for alias in node.names)]
        else:
            continue
        yield from (name for name in names if name.partition(".")[0] == "pipeline" and _file_of(name).exists())


def _file_of(module: str) -> Path:
    path = PACKAGE.joinpath(*module.split(".")[1:])
    return path / "__init__.py" if path.is_dir() else path.with_suffix(".py")
