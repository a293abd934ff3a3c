"""How often an ablation's verdicts are wrong, and find an effect, by simulation.

Settings change nothing, but for the first, which is worth four times a seed's standard deviation. All are compared with
the same base, seed by seed. ``--data`` plays no part.
"""

from __future__ import annotations

import numpy as np
import pandas as pd
from scipy import stats

from benchmarks.measure import COLUMNS
from pipeline.ablation.effects import HELPS, UNTOLD, difference_table
from pipeline.config import OBJECTIVES

ACCURACY = OBJECTIVES["val_accuracy"]
SD, EFFECT = 0.01, 0.04  # of a training's accuracy over seeds, and of the first setting
SETTINGS, SEEDS, SCATTERS = (1, 2, 4, 10, 28), (2, 3, 5), (0.0, 0.6)
ABLATIONS, ABLATIONS_IF_QUICK = 400, 20


def run(data: str, quick: bool) -> pd.DataFrame:
    """Return the shares of ablations with a wrong verdict, and of those that find the effect, in percent."""
    count = ABLATIONS_IF_QUICK if quick else ABLATIONS
    rng = np.random.default_rng(0)
    cases = ((settings, seeds, scatter) for settings in SETTINGS for seeds in SEEDS for scatter in SCATTERS)
    table = pd.DataFrame([row for case in cases for row in _rows(rng, *case, count)], columns=COLUMNS)
    print(table.to_string(index=False, float_format="{:.3g}".format), flush=True)
    return table


def _rows(rng: np.random.Generator, settings: int, seeds: int, scatter: float, count: int) -> list[dict[str, object]]:
    shares = np.zeros((2, 2))  # wrong, found; alone, together
    for _ in range(count):
        spreads = SD * np.exp(scatter * rng.standard_normal((settings, 1)))  # log-normal over the settings
        spreads[0] = SD
        nothing = rng.standard_normal((settings, seeds)) * spreads - SD * rng.standard_normal(seeds)
        effect = np.array(nothing)
        effect[0] += EFFECT
        least = stats.t.ppf(0.975, seeds - 1)
        shares += [
            [(_t(nothing) > least).any(), (_verdicts(nothing) != UNTOLD).any()],
            [_t(effect)[0] > least, _verdicts(effect)[0] == HELPS],
        ]
    alike = "alike" if not scatter else "unlike"
    return [
        {
            "case": f"{settings} settings, {seeds} seeds, deviations {alike}: {what}",
            "contender": how, "unit": "%", "median": share, "low": share, "high": share,
        }
        for what, pair in zip(("wrong", "found"), 100 * shares / count, strict=True)
        for how, share in zip(("each interval alone", "together"), pair, strict=True)
    ]  # fmt: skip


def _verdicts(changes: np.ndarray) -> np.ndarray:
    settings, seeds = np.indices(changes.shape).reshape(2, -1)
    columns = {"factor": settings, "value": "on", "seed": seeds, "difference": changes.ravel()}
    differences = pd.DataFrame({**columns, "outcome": 0.8 + changes.ravel(), "speed": 1.0, "minutes": 1.0})
    return difference_table(differences, ACCURACY, 0.0)["verdict"].to_numpy()


def _t(changes: np.ndarray) -> np.ndarray:
    return np.abs(changes.mean(axis=1)) / stats.sem(changes, axis=1)
