"""Which flags name a prepared store, a training or a study, so that it is found again, also after an upgrade.

Identities are digests of flags. The flags of version 0.1 are always part of them, as they were. A later flag must not
orphan what was made before it existed: it is declared with the value that means "as before",

    rotation: Annotated[int, AsBefore(0)] = Field(90, description=...)

and is part of an identity only where it has another value; what was recorded before it existed is read with that value
(`restore_config`). A default may change at any time: identities follow from
values, so that a new default is another identity exactly where it is another value. Where what was made by the former
default is to be found again by the new one, the flag is declared with it (`FormerDefault`).
"""

from __future__ import annotations

from collections.abc import Collection, Mapping
from dataclasses import dataclass
from typing import Any, TypeVar

from pipeline.config.base import Config

C = TypeVar("C", bound=Config)


@dataclass(frozen=True)
class AsBefore:
    """Marks a flag that is younger than version 0.1 with the value that changes nothing."""

    value: Any


@dataclass(frozen=True)
class FormerDefault:
    """Marks a flag whose default names in identities what this value, its default of version 0.1, named."""

    value: Any


def identifying_flags(config: Config, exclude: Collection[str]) -> dict[str, Any]:
    """Return the flags of an identity as JSON values, by name.

    Args:
        config: whose flags.
        exclude: flags on which the result does not depend.
    """
    flags = config.model_dump(mode="json", exclude={*exclude})
    fields = type(config).model_fields
    former = _marked(type(config), FormerDefault)
    flags |= {name: former[name] for name in former if name in flags and flags[name] == fields[name].default}
    unchanged = values_as_before(type(config))
    return {name: value for name, value in flags.items() if name not in unchanged or value != unchanged[name]}


def restore_config(config_class: type[C], recorded: Mapping[str, Any]) -> C:
    """Return the config whose flags were recorded, such as a model's or a trial's, perhaps by an earlier version.

    A flag that is younger than the record gets the value that means "as before", not its default. Recorded
    flags that ``config_class`` does not have are left out.
    """
    known = {name: value for name, value in recorded.items() if name in config_class.model_fields}
    return config_class(**values_as_before(config_class) | known)


def values_as_before(config_class: type[Config]) -> dict[str, Any]:
    """Return the values that mean "as before" of the flags that are younger than version 0.1, by name."""
    return _marked(config_class, AsBefore)


def _marked(config_class: type[Config], kind: type[AsBefore | FormerDefault]) -> dict[str, Any]:
    """Return the values of the flags that are marked so, by name."""
    return {
        name: mark.value
        for name, field in config_class.model_fields.items()
        for mark in field.metadata
        if isinstance(mark, kind)
    }
