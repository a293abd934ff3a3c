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

CONFIDENCE = 0.95
ROUNDING = 1e-9  # of sums of accuracies, which move in far larger steps
HELPS, HURTS, UNTOLD = "helps", "hurts", "cannot be told"
CAVEAT = (
    "An interval says what other seeds would change, on the same validation photos; of 20 settings that change "
    "nothing, about one seems to help or hurt."
)


Place = tuple[tuple[tuple[str, str], ...], int]  # (factor, value) of what differs from the base, and the seed


class Measured(NamedTuple):
    """What a training of an ablation measured: an accuracy in 0..1, NaN where it diverged.

    ``settings`` are the (factor, value) pairs in which it differs from the base.
    """

    settings: tuple[tuple[str, str], ...]
    seed: int
    val_accuracy: float
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

    def __str__(self) -> str:
        outcome = "diverged" if math.isnan(self.val_accuracy) else f"val_accuracy {self.val_accuracy:.4f}"
        return f"{self.name} seed={self.seed}: {outcome}"


class _Pair(NamedTuple):
    """A run with a setting beside the same run without it."""

    factor: str
    value: str
    seed: int
    val_accuracy: float
    difference: float
    speed: float


def paired_differences(runs: Sequence[Measured]) -> pd.DataFrame:
    """Return what each setting changes, per seed: the mean over all that the other factors were set to at the time.

    Returns:
        One row per setting and seed: factor, value, seed, val_accuracy, difference, speed (times that of the run
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
            difference = run.val_accuracy - without.val_accuracy
            speed = run.images_per_second / without.images_per_second
            yield _Pair(factor, value, seed, run.val_accuracy, difference, speed)


def difference_table(differences: pd.DataFrame, val_photos: int) -> pd.DataFrame:
    """Return the mean of each setting's `paired_differences` over the seeds, its interval, and the verdict.

    No interval is narrower than one photo either way: accuracies move in such steps, and a few of them are easily
    equal by chance.

    Returns:
        One row per setting: factor, value, seeds (that count), diverged, val_accuracy, difference, low, high, verdict,
        speed. Accuracies are shares in 0..1; low and high are missing for one seed.
    """
    rows = []
    for (factor, value), group in differences.groupby(["factor", "value"], sort=False):
        known = group["difference"].dropna().to_numpy()
        mean, half = float(known.mean()) if len(known) else np.nan, np.nan
        if len(known) > 1:
            spread = float(stats.sem(known)) * float(stats.t.ppf((1 + CONFIDENCE) / 2, len(known) - 1))
            half = max(spread, 1 / val_photos)
        rows.append(
            {"factor": factor, "value": value, "seeds": len(known), "diverged": len(group) - len(known)}
            | {"val_accuracy": group["val_accuracy"].mean(), "difference": mean, "low": mean - half}
            | {"high": mean + half, "verdict": _verdict(mean - half, mean + half), "speed": group["speed"].mean()}
        )
    return pd.DataFrame(rows)


def _verdict(low: float, high: float) -> str:
    return HELPS if low > ROUNDING else HURTS if high < -ROUNDING else UNTOLD


def effect_sentences(table: pd.DataFrame) -> list[str]:
    """Return one sentence per factor of a `difference_table`: whether each of its values helps."""
    return [
        "; ".join(_describe(row) for row in values.itertuples()) + "."
        for _, values in table.groupby("factor", sort=False)
    ]


def _describe(row: Any) -> str:
    # + 0.0: else a difference that is rounded to nothing would be -0.0
    mean, low, high = (round(100 * share, 1) + 0.0 for share in (row.difference, row.low, row.high))
    what, lost = f"{row.factor}={row.value}", f", {row.diverged} more diverged" if row.diverged else ""
    if not row.seeds:
        return f"{what} diverged with every seed"
    if row.seeds == 1:
        return f"{what} {UNTOLD} with one seed ({mean:+.1f} points{lost})"
    interval = f"95 % interval {low:+.1f} to {high:+.1f}, {row.seeds} seeds{lost}"
    if row.verdict == UNTOLD:
        return f"{what} {UNTOLD} from the base ({mean:+.1f} points, {interval})"
    return f"{what} {row.verdict} by {abs(mean):.1f} points ({interval})"
