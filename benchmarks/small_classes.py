"""How many photos small classes get in each split, by the rules of today and by the first: means, least, most.

Photos are keys here, so that many data sets can be drawn; `--data` plays no part.
"""

from __future__ import annotations

import numpy as np
import pandas as pd

from benchmarks.measure import compared
from pipeline.data.splits.assignment import ASSIGN_SPLITS, SPLITS

CASES = ((10, 1000), (20, 200), (30, 102), (100, 100), (400, 20))  # photos of a class, classes
SEEDS, SEEDS_IF_QUICK = 30, 2


def run(data: str, quick: bool) -> pd.DataFrame:
    """Count the photos of every class in many splits, and print their distribution."""
    tables = []
    for photos, classes in CASES[:1] if quick else CASES:
        labels = np.repeat([f"{label:04d}" for label in range(classes)], photos).tolist()
        keys = [f"{number:06d}" for number in range(photos * classes)]
        counts = {
            version: np.concatenate([_counts(version, labels, keys, seed) for seed in _seeds(quick)])
            for version in sorted(ASSIGN_SPLITS, reverse=True)
        }
        for place, split in enumerate(SPLITS):
            for version, all_counts in counts.items():
                some = all_counts[:, place]
                print(
                    f"{classes} classes of {photos}, {split}, rules {version}: {100 * some.mean() / photos:.1f} %, "
                    f"least {some.min()}, 1 % {np.quantile(some, 0.01):.0f}, 99 % {np.quantile(some, 0.99):.0f}, "
                    f"most {some.max()}; {100 * (some < 2).mean():.1f} % of the classes have one",
                    flush=True,
                )
        least = {
            f"rules {version}": all_counts[:, 2].reshape(-1, classes).min(axis=1).astype(float).tolist()
            for version, all_counts in counts.items()
        }
        tables.append(compared(f"{classes} classes of {photos}", "test photos of the smallest", least))
    return pd.concat(tables, ignore_index=True)


def _counts(version: int, labels: list[str], keys: list[str], seed: int) -> np.ndarray:
    """Return the photos per class and split, (classes, 3)."""
    splits = ASSIGN_SPLITS[version](labels, keys, 0.1, 0.1, seed)
    return pd.crosstab(np.array(labels), splits)[list(SPLITS)].to_numpy()


def _seeds(quick: bool) -> range:
    return range(SEEDS_IF_QUICK if quick else SEEDS)
