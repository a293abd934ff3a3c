"""Decoded photos -> groups of related photos, and a split for every group, without leaks.

Does not own who may read a split (`store`), nor what it is used for.
"""

from pipeline.data.splits.assignment import SPLITS, TooFewGroups, assign_splits
from pipeline.data.splits.grouping import DUPLICATE_KINDS, GroupedPhotos, group_and_split

__all__ = ["DUPLICATE_KINDS", "SPLITS", "GroupedPhotos", "TooFewGroups", "assign_splits", "group_and_split"]
