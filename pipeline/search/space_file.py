"""The space of one search: the default of its mode, overridden by the user's YAML or JSON file.

Hydra and its sweepers were not taken: they bring a second configuration system, for a file of ten lines.
"""

from __future__ import annotations

import difflib
import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import pydantic
import yaml
from pydantic import BaseModel, ConfigDict, Field

from pipeline.config import TuneConfig, UserError, first_line
from pipeline.search.space import (
    FACTORS,
    FLAGS_ALONE,
    FROM_SCRATCH,
    SEARCHABLE,
    SPACES,
    Dimension,
    Range,
    Scalar,
    Space,
)

HEADS_FIRST_MODE = "heads first"


def mode_of(config: TuneConfig) -> str:
    """Return the key of `SPACES` from which a search starts."""
    if config.freeze_backbone:
        return "frozen backbone"
    if config.weights == "none":
        return "from scratch"
    return HEADS_FIRST_MODE if config.head_trials > 0 else "fine-tuning"


def space_of(config: TuneConfig) -> Space:
    """Return the space of a search: the default of its mode, overridden by the flag ``space``.

    Raises:
        UserError: the file cannot be read, or a key or a value in it cannot be searched.
    """
    table: dict[str, Dimension | Scalar] = {"variant": config.variants, **SPACES[mode_of(config)]}
    if "augment" in table and config.augment not in FROM_SCRATCH["augment"]:
        table["augment"] = config.augment
    if config.head_epochs <= 0:
        table.pop("unfreeze_lr_factor", None)
    given = read_space(config) if config.space else {}
    for factor, name in FACTORS.items():  # a rate and its factor set the same thing
        if name in given:
            table.pop(factor, None)
    table = {"optimizer": config.optimizer, **table, **given}
    varied: dict[str, Dimension] = {}
    fixed: dict[str, Scalar] = {}
    for name, of in table.items():
        if isinstance(of, Range) or (isinstance(of, tuple) and len(of) > 1):
            varied[name] = of
        else:
            fixed[name] = of[0] if isinstance(of, tuple) else of
    return Space(varied, fixed)


def flags_not_searched(config: TuneConfig, space: Space) -> dict[str, tuple[Scalar, tuple[Scalar, ...]]]:
    """Return the flags whose value no trial will have: name -> (value, choices that are searched instead)."""
    choices = {name: of for name, of in space.dimensions.items() if isinstance(of, tuple) and name != "variant"}
    return {name: (value, of) for name, of in choices.items() if (value := getattr(config, name)) not in of}


def inline_space_file(config: TuneConfig) -> TuneConfig:
    """Return the config with the name of its ``space`` file replaced by the file's content as JSON.

    So the search continues with the present content, wherever its workers run, even if the file changes.
    """
    if not config.space:
        return config
    space, content = space_of(config), _content(config.space)
    if content.pop("variant", None):  # so that the flag stays the one place that says which
        config = config.model_copy(update={"variants": space.choices("variant")})
    return config.model_copy(update={"space": json.dumps(content, default=str) if content else ""})


def read_space(config: TuneConfig) -> dict[str, Dimension | Scalar]:
    """Return the validated content of a space file: name -> range, choices, or a fixed value.

    Raises:
        UserError: naming the file and the key.
    """
    file = "space" if _is_json(config.space) else f"space file {config.space}"
    return {name: _dimension(config, file, name, of) for name, of in _content(config.space).items()}


def _content(space: str) -> dict[str, Any]:
    text, file = space, "space"
    if not _is_json(space):
        try:
            text, file = Path(space).read_text(), f"space file {space}"
        except (OSError, UnicodeDecodeError) as error:
            raise UserError(
                f"space must be a YAML or JSON file, got {space!r}: {first_line(error)} (see docs/search_space.md)"
            ) from None
    try:
        content = yaml.safe_load(text)  # JSON is YAML
    except yaml.YAMLError as error:
        raise UserError(f"{file} must be YAML or JSON, got {' '.join(str(error).split())}") from None
    if not isinstance(content, dict) or not content:
        raise UserError(f"{file} must map names to ranges, got {content!r} (see docs/search_space.md)")
    return {str(name): of for name, of in content.items()}


def _is_json(space: str) -> bool:
    return space.lstrip().startswith("{")  # the content itself


def _dimension(config: TuneConfig, file: str, name: str, of: Any) -> Dimension | Scalar:
    if name in FLAGS_ALONE:
        raise UserError(f"{file}, key {name}: it identifies the search, and must be a flag (give --{name}=...)")
    if name not in SEARCHABLE:
        near = difflib.get_close_matches(name, SEARCHABLE, n=1)
        remedy = f"did you mean {near[0]}?" if near else f"one of {', '.join(SEARCHABLE)}"
        raise UserError(f"{file}, key {name}: it must be a training flag ({remedy})")
    try:
        if isinstance(of, Mapping):
            found = Range(**{str(key): value for key, value in of.items()})
            low, high = _value(config, name, found.low), _value(config, name, found.high)
            if isinstance(low, bool | str) or isinstance(high, bool | str):
                raise ValueError(f"a range is of numbers, got {of} (give a list of choices)")
            return Range(low=low, high=high, log=found.log)
        if isinstance(of, list):
            choices = tuple(dict.fromkeys(_value(config, name, value) for value in of))
            if not choices:
                raise ValueError("it must have at least one choice, got an empty list")
            return choices
        return _value(config, name, of)
    except (pydantic.ValidationError, ValueError, TypeError) as error:
        raise UserError(f"{file}, key {name}: {_rule(error)}") from None


def _value(config: TuneConfig, name: str, value: Any) -> Scalar:
    """Return one value of a dimension as the flag has it."""
    if name in FACTORS:
        return _Factor(factor=value).factor
    return getattr(config.train_config(**{name: value}), name)


class _Factor(BaseModel):
    model_config = ConfigDict(allow_inf_nan=False)
    factor: float = Field(gt=0)


def _rule(error: Exception) -> str:
    if not isinstance(error, pydantic.ValidationError):
        return first_line(error)
    problem = error.errors()[0]
    where = "".join(f"{part} " for part in problem["loc"])
    message = problem["msg"].removeprefix("Value error, ").replace("Input should be", "must be")
    got = "" if problem["type"] == "value_error" else f", got {problem['input']!r}"
    return f"{where if got else ''}{message[0].lower()}{message[1:]}{got}"
