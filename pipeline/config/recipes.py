"""Recipes: flags under a name, each a YAML file of ``pipeline/recipes`` that says what it reproduces, and expects.

The flags of a run are a recipe, too, by its address (`recipe_of_run`).

A recipe fills in the flags that are not given. ``mlflow run`` gives every flag, most of them with their defaults, so
nobody can tell which the user chose: there a flag overrides a recipe if its value differs from the default, and what
the recipe sets is printed.
"""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any, NamedTuple

import yaml

from pipeline.config.base import UserError, first_line
from pipeline.config.command_configs import AblateConfig, TrainConfig, TuneConfig
from pipeline.config.identity import restore_config

FOLDER = Path(__file__).parents[1] / "recipes"
SUFFIX = ".yaml"
RUN = "runs:/"


class Recipe(NamedTuple):
    """Flags by name, as text or as YAML's own values, and per metric the least and the most to expect.

    With ``unseen_test``, no weights are taken that have learned from a test photo.
    """

    flags: Mapping[str, Any]
    expected: Mapping[str, tuple[float, float]]
    unseen_test: bool = False


def names() -> list[str]:
    """Return the names of the recipes that come with the project."""
    return sorted(file.stem for file in FOLDER.glob(f"*{SUFFIX}"))


def is_run(name: str) -> bool:
    """Return whether a recipe is a run, by its address ``runs:/ID``."""
    return name.startswith(RUN)


def recipe_of_run(recorded: Mapping[str, Any]) -> Recipe:
    """Return the recipe that trains or searches again as a run's ``config.json`` has it, perhaps an earlier version's.

    A flag that is younger than the record has the value that means "as before".
    """
    kind = TuneConfig if "n_trials" in recorded else AblateConfig if "factors" in recorded else TrainConfig
    flags = restore_config(kind, {**recorded, "timeout_s": 0.0}).model_dump()
    defaults = {name: field.default for name, field in kind.model_fields.items()}
    changed = {name: value for name, value in flags.items() if value != defaults[name]}
    return Recipe({name: value for name, value in changed.items() if name not in ("recipe", "resume")}, {})


def read_recipe(name: str) -> Recipe:
    """Return a recipe by its name, or by the path of a file that ends with .yaml.

    Raises:
        UserError: there is none, or it cannot be read.
    """
    file = Path(name) if name.endswith(SUFFIX) else FOLDER / f"{name}{SUFFIX}"
    if not name.endswith(SUFFIX) and name not in names():
        raise UserError(f"recipe must be one of {', '.join(names())}, a {SUFFIX} file, or {RUN}ID, got {name!r}")
    try:
        content = yaml.safe_load(file.read_text())
    except (OSError, UnicodeDecodeError, yaml.YAMLError) as error:
        raise UserError(f"recipe={name} must be a YAML file, got {first_line(error)}") from error
    known = {"flags", "expected", "unseen_test"}
    if not isinstance(content, dict) or not isinstance(content.get("flags"), dict) or set(content) - known:
        raise UserError(
            f"recipe={name} must have flags, a mapping, and may have expected and unseen_test, got "
            f"{str(content)[:100]!r}"
        )
    expected = {metric: (float(low), float(high)) for metric, (low, high) in (content.get("expected") or {}).items()}
    return Recipe(content["flags"], expected, bool(content.get("unseen_test")))
