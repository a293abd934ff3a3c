"""The search: what it costs beside its trainings, how it keeps workers busy, and how soon it finds something good.

Runs `search_overhead`, `search_scheduling` and `search_contest` in turn, each of which says how it measures and can be
run by itself.
"""

from __future__ import annotations

import pandas as pd

from benchmarks import search_contest, search_overhead, search_scheduling


def run(data: str, quick: bool) -> pd.DataFrame:
    """Run the three; ``quick`` the smallest case of each."""
    parts = (search_overhead, search_scheduling, search_contest)
    return pd.concat([part.run(data, quick) for part in parts], ignore_index=True)
