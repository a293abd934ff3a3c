"""Which flags name a prepared store, a training or a study, so that it is found again, also after an upgrade.

Identities are digests of flags. The flags of version 0.1 are always part of them, as they were. A later flag must not
orphan what was made before it existed: it is declared with the value that means "as before",

    rotation: Annotated[int, AsBefore(0)] = Field(90, description=...)

and is part of an identity only where it has another value. A default may change at any time: identities follow from
values, so that a new default is another identity exactly where it is another value.
"""

from __future__ import annotations

from collections.abc import Collection
from dataclasses import dataclass
from typing import Any

from pipeline.config.base import Config


@dataclass(frozen=True)
class AsBefore:
    """Marks a flag that is younger than version 0.1 with the value that changes nothing."""

    value: Any


def identifying_flags(config: Config, exclude: Collection[str]) -> dict[str, Any]:
    """Return the flags of an identity as JSON values, by name.

    Args:
        config: whose flags.
        exclude: flags on which the result does not depend.
    """
    unchanged = {
        name
        for name, field in type(config).model_fields.items()
        for mark in field.metadata
        if isinstance(mark, AsBefore) and mark.value == getattr(config, name)
    }
    return config.model_dump(mode="json", exclude={*exclude, *unchanged})
