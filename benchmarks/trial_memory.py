"""Memory of a search from its first trial to its last: what is left by a trial would add up.

Thirty trials with short trainings; the search's time is cut into thirty parts, whose peaks are compared by thirds.
"""

from __future__ import annotations

import numpy as np
import pandas as pd

from benchmarks.measure import compared
from benchmarks.memory import sampled_megabytes

TRIALS, QUICK_TRIALS = 30, 3
THIRDS = ("last third", "middle third", "first third")
SEARCH = ["tune", "--image_size=32", "--epochs=2", "--precision=bfloat16", "--pruner=none", "--confirm_top_k=0"]


def run(data: str, quick: bool) -> pd.DataFrame:
    """Search once; ``quick`` with few trials. ``data`` is not used: photos are drawn."""
    trials = QUICK_TRIALS if quick else TRIALS
    samples = sampled_megabytes([*SEARCH, f"--n_trials={trials}"], 1)
    peaks = [float(part.max()) for part in np.array_split(samples, trials)]
    by_third = np.split(np.array(peaks), len(THIRDS))
    return compared(f"{trials} trials", "MB at peak", {name: list(by_third.pop()) for name in THIRDS})
