"""The versions of the rules by which photos become pixels, groups and splits.

When a rule changes, `HISTORY` gets a line, and the code that goes by the rule keeps the earlier ones, by version. What
was made by earlier rules keeps them: a prepared store is named after its versions and found again, with the studies and
trainings on it; a model remembers its versions, and is served and judged by them. Whatever is new gets the newest.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import NamedTuple

from pipeline.config import UserError


class RuleVersions(NamedTuple):
    """The version of each set of rules.

    Attributes:
        pixels: decoding and shaping (`pixels.decode`).
        grouping: which photos belong together (`splits.separation`, `splits.duplicates`).
        splits: which split a group goes to (`splits.assignment`).
    """

    pixels: int = 1
    grouping: int = 1
    splits: int = 1

    @classmethod
    def of(cls, remembered: Mapping[str, int]) -> RuleVersions:
        """Return the versions that a store or a model remembers; what it does not name is of the first version.

        Raises:
            UserError: one is newer than this package.
        """
        for name, version in remembered.items():
            if name not in cls._fields or version > getattr(NEWEST, name):
                raise UserError(
                    f"rules must be of a version that this package knows, got {name} version {version} "
                    "(upgrade the package)"
                )
        return cls(**remembered)

    @property
    def changed(self) -> dict[str, int]:
        """The versions that are not the first, by name: what enters identities, so that the first ones stay."""
        return {name: version for name, version in self._asdict().items() if version != 1}


HISTORY = (RuleVersions(),)  # the versions that were current together, oldest first
NEWEST = HISTORY[-1]
