"""Effects of an ablation: differences to the base, paired by seed, with intervals, and as sentences.

The intervals are those of the paired t statistic (Student 1908) over the seeds, and hold together: each is wide enough
for all of them to be right in 95 % of such ablations (Bonferroni), so that of many settings that change nothing none
seems to. A few seeds say little of a setting's own variance, so the mean variance of all counts for twice as much, as
in a moderated t statistic (Smyth 2004, doi 10.2202/1544-6115.1027); docs/log.md, "Verdicts of an ablation", has the
simulations. They tell what other seeds would change: the photos of the validation split are the same in every training,
and so is whatever is peculiar about them.
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
POOLED = 2  # what the mean variance of all settings counts, beside a setting's own
POWER = 0.8  # with which a difference is to be found
CAVEAT = (
    "The intervals cover the variation between seeds, on the same validation photos. They are simultaneous: in 95 % "
    "of such ablations all of them hold."
)


Place = tuple[tuple[tuple[str, str], ...], int]  # (factor, value) of what differs from the base, and the seed


class Measured(NamedTuple):
    """What a training of an ablation came to: the objective at its best epoch, NaN where it diverged.

    ``settings`` are the (factor, value) pairs in which it differs from the base; ``minutes`` are those of its steps.
    """

    settings: tuple[tuple[str, str], ...]
    seed: int
    outcome: float
    images_per_second: float
    minutes: float
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
    minutes: float


def paired_differences(runs: Sequence[Measured]) -> pd.DataFrame:
    """Return what each setting changes, per seed: the mean over all that the other factors were set to at the time.

    Returns:
        One row per setting and seed: factor, value, seed, outcome, difference, speed (times that of the run
        without the setting), minutes. NaN stands for a training that diverged.
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
            without = by_place.get((settings - {(factor, value)}, seed))
            if without:  # else time was up before it
                difference = run.outcome - without.outcome
                speed = run.images_per_second / without.images_per_second
                yield _Pair(factor, value, seed, run.outcome, difference, speed, run.minutes)


def difference_table(differences: pd.DataFrame, objective: Objective, step: float) -> pd.DataFrame:
    """Return the mean of each setting's `paired_differences` over the seeds, its interval, and the verdict.

    Args:
        differences: of the trainings.
        objective: what they were measured by.
        step: by how much one photo changes it. No interval is narrower either way: the objective moves in such steps,
            and a few of them are easily equal by chance.

    Returns:
        One row per setting: factor, value, seeds (that count), diverged, outcome, difference, low, high, verdict,
        speed, minutes of a training, and the gain in the objective per minute. outcome is the objective, a share in
        0..1 or a loss; low and high are missing for one seed.
    """
    groups = differences.groupby(["factor", "value"], sort=False)
    variances, rows = groups["difference"].var(ddof=1).dropna(), []
    for (factor, value), group in groups:
        known = group["difference"].dropna().to_numpy()
        mean, half = float(known.mean()) if len(known) else np.nan, np.nan
        if len(known) > 1:
            error, freedom = _standard_error(known, variances)
            half = max(error * float(stats.t.ppf(1 - (1 - CONFIDENCE) / 2 / len(variances), freedom)), step)
        minutes = group["minutes"].mean()
        rows.append(
            {"factor": factor, "value": value, "seeds": len(known), "diverged": len(group) - len(known)}
            | {"outcome": group["outcome"].mean(), "difference": mean, "low": mean - half}
            | {"high": mean + half, "verdict": _verdict(objective, mean, half), "speed": group["speed"].mean()}
            | {"minutes": minutes, "gain_per_minute": objective.score(mean) / minutes if minutes else np.nan}
        )
    return pd.DataFrame(rows)


def _standard_error(differences: np.ndarray, variances: pd.Series) -> tuple[float, float]:
    """Return the standard error of a setting's mean difference, and its degrees of freedom.

    Args:
        differences: of the setting, one per seed.
        variances: of all settings' differences, its own included.
    """
    pooled, seeds = min(POOLED, len(variances) - 1), len(differences)  # of itself alone nothing more is to learn
    variance = (differences.var(ddof=1) + pooled * variances.mean()) / (1 + pooled)
    return math.sqrt(variance / seeds), (seeds - 1) * (1 + pooled)


def detectable_difference(differences: pd.DataFrame) -> float:
    """Return the difference of a usual setting that is found with a probability of `POWER`; NaN with one seed.

    By the mean variance of all settings and their usual number of seeds.
    """
    groups = differences.groupby(["factor", "value"])["difference"]
    counts, variances = groups.count(), groups.var(ddof=1).dropna()
    if variances.empty:
        return math.nan
    seeds, freedom = counts[counts > 1].median(), (counts[counts > 1].median() - 1) * min(1 + POOLED, len(variances))
    width = stats.t.ppf(1 - (1 - CONFIDENCE) / 2 / len(variances), freedom) + stats.t.ppf(POWER, freedom)
    return float(width) * math.sqrt(variances.mean() / seeds)


def ranked(table: pd.DataFrame, objective: Objective) -> pd.DataFrame:
    """Return a `difference_table` by what pays: what helps first, by its gain per minute of training, what hurts last.

    Settings without a difference come last of all.
    """
    verdicts = table["verdict"].map({HELPS: 0, UNTOLD: 1, HURTS: 2})
    gain = table["difference"].map(objective.score)
    pays = np.where(gain > 0, table["gain_per_minute"].fillna(gain), gain)
    order = pd.DataFrame({"unknown": gain.isna(), "verdict": verdicts, "pays": -pays}).sort_values(
        ["unknown", "verdict", "pays"], kind="stable"
    )
    return table.loc[order.index].reset_index(drop=True)


def power_sentence(differences: pd.DataFrame, objective: Objective) -> str:
    """Return a sentence on what so many seeds can tell; empty with one seed."""
    difference = detectable_difference(differences)
    if math.isnan(difference):
        return ""
    scale, digits, unit = _unit_of(objective)
    seeds = differences.groupby(["factor", "value"])["difference"].count().median()
    return (
        f"{seeds:.0f} seeds detect a difference of {scale * difference:.{digits}f} {unit} in 80 % of cases, smaller "
        "ones less often."
    )


def _verdict(objective: Objective, mean: float, half: float) -> str:
    gain = objective.score(mean)
    return HELPS if gain - half > ROUNDING else HURTS if gain + half < -ROUNDING else UNTOLD


def effect_sentences(table: pd.DataFrame, objective: Objective) -> list[str]:
    """Return one sentence per factor of a `difference_table`: whether each of its values helps."""
    return [
        "; ".join(_describe(row, objective) for row in values.itertuples()) + "."
        for _, values in table.groupby("factor", sort=False)
    ]


def _unit_of(objective: Objective) -> tuple[int, int, str]:
    """Return by what a difference is multiplied for people, its decimals, and its unit."""
    return (1, 3, "nats") if objective.is_loss else (100, 1, "points")


def _describe(row: Any, objective: Objective) -> str:
    scale, digits, unit = _unit_of(objective)
    # + 0.0: else a difference that is rounded to nothing would be -0.0
    mean, low, high = (round(scale * value, digits) + 0.0 for value in (row.difference, row.low, row.high))
    signed, size = f"{mean:+.{digits}f} {unit}", f"{abs(mean):.{digits}f} {unit}"
    what, lost = f"{row.factor}={row.value}", f", {row.diverged} more diverged" if row.diverged else ""
    if not row.seeds:
        return f"{what} diverged with every seed"
    if row.seeds == 1:
        return f"{what} cannot be judged with one seed ({signed}{lost})"
    interval = f"95 % interval {low:+.{digits}f} to {high:+.{digits}f}, {row.seeds} seeds{lost}"
    if row.verdict == UNTOLD:
        return f"{what} cannot be told apart from the base ({signed}, {interval})"
    pays = row.verdict == HELPS and not math.isnan(row.gain_per_minute)
    rate = f", {scale * row.gain_per_minute:.{digits}f} per minute of training" if pays else ""
    return f"{what} {row.verdict} by {size}{rate} ({interval})"
