"""The command line: flags -> config. tyro lays out the flags, groups them in ``--help`` and reads them as text.

Validation, and the wording of errors, is in `text`.
"""

from __future__ import annotations

import contextlib
import dataclasses
import difflib
import io
import os
from collections.abc import Callable, Mapping, Sequence
from typing import Annotated, Any, TypeVar

import pydantic

from pipeline.config.base import Config, UserError
from pipeline.config.command_configs import AblateConfig, MainConfig
from pipeline.config.recipes import Recipe, read_recipe
from pipeline.config.text import as_text, fields_of, groups_of, make_config

C = TypeVar("C", bound=Config)

PROGRAM = "photo-pipeline"
SHELLS = ("bash", "zsh", "tcsh")


def parse_flags(
    config_class: type[C], command: str, arguments: Sequence[str], read: Callable[[str], Recipe] = read_recipe
) -> C:
    """Read ``--name=value`` or ``--name value`` flags into a config; ``--name`` alone turns a switch on.

    Args:
        config_class: of the command.
        command: its name.
        arguments: that it was given.
        read: finds a recipe by its name.

    Raises:
        UserError: an unknown flag, a flag without a value, or a value out of its range.
        SystemExit: after ``--help`` has been printed.
    """
    if os.environ.get("NO_COLOR"):  # https://no-color.org; Rich follows it by itself
        os.environ.setdefault("PYTHON_TYRO_ANSI_CODES", "0")
    import tyro

    if broken := next((text for text in arguments if not _is_text(text)), ""):
        shown = os.fsencode(broken).decode("utf-8", "backslashreplace")
        raise UserError(f"every flag must be UTF-8 text, got {shown} (rename the file or folder, or give a link to it)")
    wants_help = bool({"-h", "--help"}.intersection(arguments))
    groups: Any
    try:
        groups, unknown = tyro.cli(
            _flag_groups(config_class),
            prog=f"python -m pipeline {command}",
            description=config_class.__doc__,
            args=_with_switches(config_class, arguments),
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
    return make_config(config_class, with_recipe(config_class, flags, _given(config_class, arguments), read))


def completion_script(configs: Mapping[str, type[Config]], shell: str) -> str:
    """Return what a shell is to source in order to complete the commands' names and flags.

    Args:
        configs: of the commands, by name.
        shell: bash, zsh or tcsh.

    Raises:
        UserError: another shell.
    """
    import tyro

    if shell not in SHELLS:
        raise UserError(f"--completion must name one of {', '.join(SHELLS)}, got {shell!r}")
    script = io.StringIO()
    with contextlib.redirect_stdout(script), contextlib.suppress(SystemExit):
        tyro.extras.subcommand_cli_from_dict(
            {name: _flag_groups(config) for name, config in configs.items()},
            prog=PROGRAM,
            args=["--tyro-print-completion", shell],
            use_underscores=True,
            config=(tyro.conf.OmitArgPrefixes,),
        )
    return script.getvalue()


def _with_switches(config_class: type[Config], arguments: Sequence[str]) -> list[str]:
    """Return the arguments with ``=true`` behind flags that are true or false and stand alone."""
    switches = {
        f"--{name}" for name, field in fields_of(config_class).items() if field.annotation in (bool, bool | None)
    }
    following = [*arguments, "--"][1:]
    return [
        f"{argument}=true" if argument in switches and after.startswith("--") else argument
        for argument, after in zip(arguments, following, strict=True)
    ]


def _is_text(argument: str) -> bool:
    """Return whether an argument is UTF-8; Python hands over other bytes as lone surrogates."""
    try:
        argument.encode()
    except UnicodeEncodeError:
        return False
    return True


def _given(config_class: type[Config], arguments: Sequence[str]) -> set[str] | None:
    """Return the names of the flags that the user gave; None where all are there, as ``mlflow run`` gives them."""
    given = {argument[2:].partition("=")[0].replace("-", "_") for argument in arguments if argument.startswith("--")}
    return None if given >= set(fields_of(config_class)) else given


def with_recipe(
    config_class: type[Config],
    flags: dict[str, str],
    given: set[str] | None,
    read: Callable[[str], Recipe] = read_recipe,
) -> dict[str, str]:
    """Return the flags with those that were not given as the recipe wants them, if one is named.

    Where nobody knows which were given, it is those that are at their defaults.
    """
    if not (name := flags.get("recipe", "")):
        return flags
    wanted = read(name).flags
    of_any = {*MainConfig.model_fields, *AblateConfig.model_fields} - {"recipe"}
    if unknown := [flag for flag in wanted if flag not in of_any]:
        raise UserError(f"recipe={name} must hold flags of train, tune or ablate, got {unknown[0]!r}")
    fields = fields_of(config_class)
    taken = {
        flag: as_text(tuple(value) if isinstance(value, list) else value)
        for flag, value in wanted.items()
        if flag in fields and (_is_default(fields[flag], flags[flag]) if given is None else flag not in given)
    }
    print(f"recipe {name}: {' '.join(f'{flag}={text}' for flag, text in taken.items())}", flush=True)
    return flags | taken


def _is_default(field: pydantic.fields.FieldInfo, text: str) -> bool:
    try:
        return bool(pydantic.TypeAdapter[Any](field.rebuild_annotation()).validate_python(text) == field.default)
    except pydantic.ValidationError:  # which `make_config` says better
        return False


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
