"""Effects of an ablation: differences to the base, paired by seed, with intervals, and as sentences.

The interval is that of the paired t statistic (Student 1908) over the seeds. It tells what another seed would change:
the photos of the validation split are the same in every training, and so is whatever is peculiar about them.
"""

from __future__ import annotations

import math
from collections.abc import Iterable, Iterator, Sequence
from typing import Any, NamedTuple

import numpy as np
import pandas as pd
from scipy import stats

from pipeline.config import Objective

CONFIDENCE = 0.95
ROUNDING = 1e-9  # of sums of shares, which move in far larger steps
HELPS, HURTS, UNTOLD = "helps", "hurts", "cannot be told"
CAVEAT = (
    "An interval says what other seeds would change, on the same validation photos; of 20 settings that change "
    "nothing, about one seems to help or hurt."
)


Place = tuple[tuple[tuple[str, str], ...], int]  # (factor, value) of what differs from the base, and the seed


class Measured(NamedTuple):
    """What a training of an ablation came to: the objective at its best epoch, NaN where it diverged.

    ``settings`` are the (factor, value) pairs in which it differs from the base.
    """

    settings: tuple[tuple[str, str], ...]
    seed: int
    outcome: float
    images_per_second: float
    run_id: str

    @property
    def place(self) -> Place:
        """Which training of the ablation it is."""
        return self.settings, self.seed

    @property
    def name(self) -> str:
        """What tells it from the base."""
        return " ".join(f"{factor}={value}" for factor, value in self.settings) or "base"

    def line(self, objective: Objective) -> str:
        """Return a line on it for who waits."""
        outcome = "diverged" if math.isnan(self.outcome) else f"{objective.name} {self.outcome:.4f}"
        return f"{self.name} seed={self.seed}: {outcome}"


class _Pair(NamedTuple):
    """A run with a setting beside the same run without it."""

    factor: str
    value: str
    seed: int
    outcome: float
    difference: float
    speed: float


def paired_differences(runs: Sequence[Measured]) -> pd.DataFrame:
    """Return what each setting changes, per seed: the mean over all that the other factors were set to at the time.

    Returns:
        One row per setting and seed: factor, value, seed, outcome, difference, speed (times that of the run
        without the setting). NaN stands for a training that diverged.
    """
    order = list(dict.fromkeys(setting for run in runs for setting in run.settings))
    table = pd.DataFrame(_pairs(runs), columns=list(_Pair._fields))
    per_seed = table.groupby(["factor", "value", "seed"], sort=False).mean().reset_index()
    rank = per_seed.apply(lambda row: order.index((row["factor"], row["value"])), axis=1)
    return per_seed.assign(rank=rank).sort_values(["rank", "seed"]).drop(columns="rank").reset_index(drop=True)


def _pairs(runs: Iterable[Measured]) -> Iterator[_Pair]:
    by_place = {(frozenset(run.settings), run.seed): run for run in runs}
    for (settings, seed), run in by_place.items():
        for factor, value in settings:
            without = by_place[settings - {(factor, value)}, seed]
            difference = run.outcome - without.outcome
            speed = run.images_per_second / without.images_per_second
            yield _Pair(factor, value, seed, run.outcome, difference, speed)


def difference_table(differences: pd.DataFrame, objective: Objective, step: float) -> pd.DataFrame:
    """Return the mean of each setting's `paired_differences` over the seeds, its interval, and the verdict.

    Args:
        differences: of the trainings.
        objective: what they were measured by.
        step: by how much one photo changes it. No interval is narrower either way: the objective moves in such steps,
            and a few of them are easily equal by chance.

    Returns:
        One row per setting: factor, value, seeds (that count), diverged, outcome, difference, low, high, verdict,
        speed. outcome is the objective, a share in 0..1 or a loss; low and high are missing for one seed.
    """
    rows = []
    for (factor, value), group in differences.groupby(["factor", "value"], sort=False):
        known = group["difference"].dropna().to_numpy()
        mean, half = float(known.mean()) if len(known) else np.nan, np.nan
        if len(known) > 1:
            spread = float(stats.sem(known)) * float(stats.t.ppf((1 + CONFIDENCE) / 2, len(known) - 1))
            half = max(spread, step)
        rows.append(
            {"factor": factor, "value": value, "seeds": len(known), "diverged": len(group) - len(known)}
            | {"outcome": group["outcome"].mean(), "difference": mean, "low": mean - half}
            | {"high": mean + half, "verdict": _verdict(objective, mean, half), "speed": group["speed"].mean()}
        )
    return pd.DataFrame(rows)


def _verdict(objective: Objective, mean: float, half: float) -> str:
    gain = objective.score(mean)
    return HELPS if gain - half > ROUNDING else HURTS if gain + half < -ROUNDING else UNTOLD


def effect_sentences(table: pd.DataFrame, objective: Objective) -> list[str]:
    """Return one sentence per factor of a `difference_table`: whether each of its values helps."""
    return [
        "; ".join(_describe(row, objective) for row in values.itertuples()) + "."
        for _, values in table.groupby("factor", sort=False)
    ]


def _describe(row: Any, objective: Objective) -> str:
    scale, digits, unit = (1, 3, "nats") if objective.is_loss else (100, 1, "points")
    # + 0.0: else a difference that is rounded to nothing would be -0.0
    mean, low, high = (round(scale * value, digits) + 0.0 for value in (row.difference, row.low, row.high))
    signed, size = f"{mean:+.{digits}f} {unit}", f"{abs(mean):.{digits}f} {unit}"
    what, lost = f"{row.factor}={row.value}", f", {row.diverged} more diverged" if row.diverged else ""
    if not row.seeds:
        return f"{what} diverged with every seed"
    if row.seeds == 1:
        return f"{what} {UNTOLD} with one seed ({signed}{lost})"
    interval = f"95 % interval {low:+.{digits}f} to {high:+.{digits}f}, {row.seeds} seeds{lost}"
    if row.verdict == UNTOLD:
        return f"{what} {UNTOLD} from the base ({signed}, {interval})"
    return f"{what} {row.verdict} by {size} ({interval})"
