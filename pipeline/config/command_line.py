"""Configs <-> text: command-line flags by tyro, values checked by pydantic, and the MLproject file.

tyro lays out the flags, groups them in ``--help`` and reads them as text; pydantic alone turns text into values,
so that a flag, an MLproject parameter and a config built in Python obey one set of rules and fail in one wording.
"""

from __future__ import annotations

import dataclasses
import difflib
from collections.abc import Sequence
from typing import Annotated, Any, TypeVar

import pydantic

from pipeline.config import AblateConfig, Config, MainConfig, UserError
from pipeline.config.recipes import read_recipe

C = TypeVar("C", bound=Config)


def parse_flags(config_class: type[C], command: str, arguments: Sequence[str]) -> C:
    """Read ``--name=value`` or ``--name value`` flags into a config.

    Raises:
        UserError: an unknown flag, a flag without a value, or a value out of its range.
        SystemExit: after ``--help`` has been printed.
    """
    import tyro

    wants_help = bool({"-h", "--help"}.intersection(arguments))
    groups: Any
    try:
        groups, unknown = tyro.cli(
            _flag_groups(config_class),
            prog=f"python -m pipeline {command}",
            description=config_class.__doc__,
            args=list(arguments),
            use_underscores=True,
            config=(tyro.conf.OmitArgPrefixes,),
            return_unknown_args=True,
            console_outputs=wants_help,
        )
    except SystemExit as stop:
        if not stop.code:
            raise
        raise UserError(f"every flag needs a value, got {' '.join(arguments)!r} (write --name=value)") from None
    if unknown:
        raise UserError(_unknown_flag(unknown[0], config_class, command))
    flags = {name: text for group in vars(groups).values() for name, text in vars(group).items()}
    return make_config(config_class, _with_recipe(config_class, flags))


def _with_recipe(config_class: type[Config], flags: dict[str, str]) -> dict[str, str]:
    """Return the flags with those that are at their defaults as the recipe wants them, if one is named."""
    if not (name := flags.get("recipe", "")):
        return flags
    wanted = read_recipe(name).flags
    of_any = {*MainConfig.model_fields, *AblateConfig.model_fields} - {"recipe"}
    if unknown := [flag for flag in wanted if flag not in of_any]:
        raise UserError(f"recipe={name} must hold flags of train, tune or ablate, got {unknown[0]!r}")
    fields = fields_of(config_class)
    taken = {
        flag: as_text(tuple(value) if isinstance(value, list) else value)
        for flag, value in wanted.items()
        if flag in fields and _is_default(fields[flag], flags[flag])
    }
    print(f"recipe {name}: {' '.join(f'{flag}={text}' for flag, text in taken.items())}", flush=True)
    return flags | taken


def _is_default(field: pydantic.fields.FieldInfo, text: str) -> bool:
    try:
        return bool(pydantic.TypeAdapter[Any](field.rebuild_annotation()).validate_python(text) == field.default)
    except pydantic.ValidationError:  # which `make_config` says better
        return False


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
    return ",".join(map(str, value)) if isinstance(value, tuple) else str(value)


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


def _flag_groups(config_class: type[Config]) -> type:
    import tyro

    def flag(name: str, field: pydantic.fields.FieldInfo) -> tuple[str, object, str]:
        about = tyro.conf.arg(help=(field.description or "").replace("[", "("), metavar=_metavar(field))
        return name, Annotated[str, about], as_text(field.default)

    groups = []
    for group in groups_of(config_class):
        title = group.__name__.removesuffix("Config").lower()
        fields = [flag(name, field) for name, field in group.model_fields.items()]
        made = dataclasses.make_dataclass(title, fields, namespace={"__doc__": group.__doc__})
        groups.append((title, made, dataclasses.field(default_factory=made)))
    return dataclasses.make_dataclass("Flags", groups)


def _metavar(field: pydantic.fields.FieldInfo) -> str:
    annotation: Any = field.annotation
    choices = pydantic.TypeAdapter[Any](annotation).json_schema()
    for schema in (choices, *choices.get("anyOf", ())):
        if "enum" in schema:
            return "{" + ",".join(schema["enum"]) + "}"
        if "type" in schema:
            return "A,B" if schema["type"] == "array" else str(schema["type"]).upper()
    return "VALUE"


def _unknown_flag(argument: str, config_class: type[Config], command: str) -> str:
    name = argument.lstrip("-").partition("=")[0]
    near = difflib.get_close_matches(name, config_class.model_fields, n=1)
    remedy = f"did you mean --{near[0]}?" if near else f"see python -m pipeline {command} --help"
    return f"every flag must be one of {command}'s, got {argument!r} ({remedy})"


def _one_line(problem: Any) -> str:
    """Turn one of pydantic's problems into: rule, value received."""
    message = problem["msg"].removeprefix("Value error, ")
    field = str(problem["loc"][0]) if problem["loc"] else "flags"
    if problem["type"] == "value_error":  # our own validators name the field, the value and the remedy
        return str(message)
    rule = message.replace("Input should be", "must be").replace("String should", "must").split(", unable to")[0]
    return f"{field} {rule[0].lower()}{rule[1:]}, got {as_text(problem['input'])!r} (see --help)"
