"""How often an ablation's verdicts are wrong, and find an effect, by simulation, beside intervals of each setting alone.

Settings change nothing, but for the first, which is worth four times a seed's standard deviation. All are compared with
the same base, seed by seed. ``--data`` plays no part.
"""

from __future__ import annotations

import numpy as np
import pandas as pd
from scipy import stats

from pipeline.ablation.effects import HELPS, UNTOLD, difference_table
from pipeline.config import OBJECTIVES

ACCURACY = OBJECTIVES["val_accuracy"]
SD, EFFECT = 0.01, 0.04  # of a training's accuracy over seeds, and of the first setting
SETTINGS, SEEDS, SCATTERS = (1, 2, 4, 10, 28), (2, 3, 5), (0.0, 0.6)
ABLATIONS, ABLATIONS_IF_QUICK = 400, 20


def run(data: str, quick: bool) -> pd.DataFrame:
    """Return the share of ablations with a wrong verdict, and of those that find the effect."""
    count = ABLATIONS_IF_QUICK if quick else ABLATIONS
    rng = np.random.default_rng(0)
    return pd.DataFrame(
        [
            _case(rng, settings, seeds, scatter, count)
            for settings in SETTINGS
            for seeds in SEEDS
            for scatter in SCATTERS
        ]
    )


def _case(rng: np.random.Generator, settings: int, seeds: int, scatter: float, count: int) -> dict[str, object]:
    wrong, found, wrong_alone, found_alone = [], [], [], []
    for _ in range(count):
        spreads = SD * np.exp(scatter * rng.standard_normal((settings, 1)))  # log-normal over the settings
        spreads[0] = SD
        changes = rng.standard_normal((settings, seeds)) * spreads - SD * rng.standard_normal(seeds)
        nothing = _verdicts(changes)
        with_effect = np.array(changes)
        with_effect[0] += EFFECT
        wrong.append((nothing != UNTOLD).any())
        found.append(_verdicts(with_effect)[0] == HELPS)
        wrong_alone.append((_t(changes) > stats.t.ppf(0.975, seeds - 1)).any())
        found_alone.append(_t(with_effect)[0] > stats.t.ppf(0.975, seeds - 1))
    return {
        "settings": settings, "seeds": seeds, "scatter of the deviations": scatter,
        "wrong %": 100 * np.mean(wrong), "found %": 100 * np.mean(found),
        "wrong %, each alone": 100 * np.mean(wrong_alone), "found %, each alone": 100 * np.mean(found_alone),
    }  # fmt: skip


def _verdicts(changes: np.ndarray) -> np.ndarray:
    settings, seeds = np.indices(changes.shape).reshape(2, -1)
    columns = {"factor": settings, "value": "on", "seed": seeds, "difference": changes.ravel()}
    differences = pd.DataFrame({**columns, "outcome": 0.8 + changes.ravel(), "speed": 1.0, "minutes": 1.0})
    return difference_table(differences, ACCURACY, 0.0)["verdict"].to_numpy()


def _t(changes: np.ndarray) -> np.ndarray:
    return np.abs(changes.mean(axis=1)) / stats.sem(changes, axis=1)
