"""Decoded photos -> groups of photos that belong together, and a split for every group, without leaks.

Does not own what is done with a split, nor who may read it (`store`).
"""

from pipeline.data.splits.assignment import SPLITS, assign_splits
from pipeline.data.splits.separation import KINDS, Separated, separated

__all__ = ["KINDS", "SPLITS", "Separated", "assign_splits", "separated"]
