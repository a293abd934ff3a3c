"""Configs <-> text: one spelling of values for flags, MLproject, recipes and MLflow's params.

pydantic alone turns text into values, so that a flag, an MLproject parameter and a config built in Python obey one set
of rules and fail in one wording.
"""

from __future__ import annotations

from typing import Any, TypeVar

import pydantic

from pipeline.config.base import Config, UserError, join_commas

C = TypeVar("C", bound=Config)


def make_config(config_class: type[C], values: dict[str, Any]) -> C:
    """Build a config; a value that breaks a rule becomes a `UserError` of one line."""
    try:
        return config_class(**values)
    except pydantic.ValidationError as error:
        first_of_field = {str(problem["loc"][:1]): problem for problem in reversed(error.errors())}
        raise UserError("; ".join(_one_line(problem) for problem in reversed(first_of_field.values()))) from None


def as_text(value: object) -> str:
    """Return a config value in the spelling that flags, MLproject and MLflow params share."""
    if value is None:
        return ""
    if isinstance(value, bool):
        return str(value).lower()
    return join_commas(value) if isinstance(value, tuple) else str(value)


def config_text(config: Config) -> dict[str, str]:
    """Return every field of a config as text; `make_config` of it gives an equal config."""
    return {name: as_text(getattr(config, name)) for name in fields_of(type(config))}


def fields_of(config_class: type[Config]) -> dict[str, pydantic.fields.FieldInfo]:
    """Return the fields in the order of the groups, which is that of ``--help`` and MLproject."""
    return {name: field for group in groups_of(config_class) for name, field in group.model_fields.items()}


def groups_of(config_class: type[Config]) -> list[type[Config]]:
    """Return the config classes that declare the fields of ``config_class``, in the order of its bases."""
    bases = [base for base in config_class.__bases__ if issubclass(base, Config) and base is not Config]
    groups = [group for base in bases for group in groups_of(base)]
    return groups or [config_class]


def _one_line(problem: Any) -> str:
    """Turn one of pydantic's problems into: rule, value received."""
    message = problem["msg"].removeprefix("Value error, ")
    field = str(problem["loc"][0]) if problem["loc"] else "flags"
    if problem["type"] == "value_error":  # our own validators name the field, the value and the remedy
        return str(message)
    rule = message.replace("Input should be", "must be").replace("String should", "must").split(", unable to")[0]
    return f"{field} {rule[0].lower()}{rule[1:]}, got {as_text(problem['input'])!r} (see --help)"
