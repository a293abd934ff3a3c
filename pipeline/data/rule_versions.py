"""The versions of the rules by which photos become pixels, groups and splits.

When a rule changes, `HISTORY` gets a line, and the code that implements the rule keeps the earlier versions. Stores and
models keep the versions they were made by: a prepared store is named after its versions and found again, with its
studies and trainings; a model records its versions, and is served and evaluated by them. Anything new gets the newest.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import NamedTuple

from pipeline.config import UserError


class RuleVersions(NamedTuple):
    """The version of each set of rules.

    Attributes:
        pixels: decoding and shaping (`pixels.decode`). Version 2 converts colours by embedded profiles, reduces large
            JPEGs, and takes photos of more pixels where max_pixels is not given.
        grouping: which photos belong together (`splits.grouping`, and `splits.duplicates` or `splits.resemblance`).
        splits: which split a group goes to (`splits.assignment`).
        intake: which files and rows are candidates, and what their labels, splits and groups are called (`intake`).
    """

    pixels: int = 1
    grouping: int = 1
    splits: int = 1
    intake: int = 1

    @classmethod
    def from_record(cls, remembered: Mapping[str, int]) -> RuleVersions:
        """Return the versions that a store or a model recorded; a missing one is version 1.

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
        """The versions other than 1, by name: only these enter identities, so that version 1 keeps its identities."""
        return {name: version for name, version in self._asdict().items() if version != 1}


# Versions that were current at the same time, oldest first.
HISTORY = (RuleVersions(), RuleVersions(pixels=2, grouping=2, splits=2, intake=2))
NEWEST = HISTORY[-1]
