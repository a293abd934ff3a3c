"""What an ablation's accuracies say, on numbers whose answer is known, and the pictures of it."""

from __future__ import annotations

import math
from collections.abc import Sequence
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
from scipy import stats

from pipeline.ablation.effects import (
    HELPS,
    HURTS,
    UNTOLD,
    Measured,
    difference_table,
    effect_sentences,
    paired_differences,
)
from pipeline.config import OBJECTIVES, Objective
from pipeline.plots import draw_ablation

NAN = math.nan
BASE = (0.80, 0.82, 0.84)
ACCURACY, LOSS = OBJECTIVES["val_accuracy"], OBJECTIVES["val_loss"]
STEP = 1 / 1000  # of one photo of 1000


def _runs(*settings: tuple[str, str], accuracies: Sequence[float], speed: float = 100) -> list[Measured]:
    return [Measured(settings, seed, accuracy, speed, "") for seed, accuracy in enumerate(accuracies)]


def _table(runs: Sequence[Measured], objective: Objective = ACCURACY) -> pd.DataFrame:
    return difference_table(paired_differences(runs), objective, STEP).set_index(["factor", "value"])


def _sentences(runs: Sequence[Measured], objective: Objective = ACCURACY) -> list[str]:
    return effect_sentences(difference_table(paired_differences(runs), objective, STEP), objective)


def test_differences_are_paired_by_seed_and_intervals_are_those_of_the_paired_t_test() -> None:
    none = (0.70, 0.73, 0.75)
    runs = [*_runs(accuracies=BASE), *_runs(("augment", "none"), accuracies=none, speed=150)]
    row = _table(runs).loc[("augment", "none")]
    interval = stats.ttest_rel(none, BASE).confidence_interval(0.95)
    assert row["difference"] == pytest.approx(np.subtract(none, BASE).mean())
    assert (row["low"], row["high"]) == pytest.approx(tuple(interval))
    assert (row["seeds"], row["diverged"], row["verdict"]) == (3, 0, HURTS)
    assert row["outcome"] == pytest.approx(np.mean(none))
    assert row["speed"] == pytest.approx(1.5)


@pytest.mark.parametrize(
    ("differences", "verdict"),
    [
        ((0.05, 0.06, 0.05), HELPS),
        ((-0.05, -0.06, -0.05), HURTS),
        ((0.05, -0.01, 0.02), UNTOLD),
        ((0.05,), UNTOLD),  # one seed
        ((0.05, NAN), UNTOLD),
        ((NAN, NAN), UNTOLD),
        ((0.001, 0.001, 0.001), UNTOLD),  # one photo of 1000, by chance in every seed
        ((0.002, 0.002, 0.002), HELPS),
        ((0.0, 0.0, 0.0), UNTOLD),
    ],
)
def test_a_verdict_needs_an_interval_without_zero(differences: Sequence[float], verdict: str) -> None:
    base = [0.5] * len(differences)
    changed = [0.5 + difference for difference in differences]
    runs = [*_runs(accuracies=base), *_runs(("mixup", "0.2"), accuracies=changed)]
    (said,) = _sentences(runs)
    assert _table(runs)["verdict"].tolist() == [verdict]
    assert "mixup=0.2" in said
    assert (verdict in said) or "diverged with every seed" in said


def test_of_a_loss_less_helps() -> None:
    lower, higher = ("ema", "0.99"), ("mixup", "0.2")
    runs = [*_runs(accuracies=(1.2, 1.3)), *_runs(lower, accuracies=(1.0, 1.1)), *_runs(higher, accuracies=(1.5, 1.6))]
    assert _table(runs, LOSS)["verdict"].tolist() == [HELPS, HURTS]
    assert _sentences(runs, LOSS)[0] == ("ema=0.99 helps by 0.200 nats (95 % interval -0.201 to -0.199, 2 seeds).")
    differences = paired_differences(runs)
    (axes,) = draw_ablation(difference_table(differences, LOSS, 0.0), differences, "Ablation", LOSS).axes
    assert [label.get_text() for label in axes.get_yticklabels()] == ["ema = 0.99", "mixup = 0.2"]
    assert "validation loss, nats" in axes.get_xlabel()


def test_a_verdict_of_nothing_is_right_nineteen_times_of_twenty() -> None:
    """The interval holds what it promises, where a factor changes nothing and seeds scatter by two points."""
    rng = np.random.default_rng(0)
    factors = [(f"factor{number}", "on") for number in range(600)]
    base = np.full(4, 0.8)
    runs = _runs(accuracies=base)
    for factor in factors:
        runs += _runs(factor, accuracies=base + rng.normal(0, 0.02, 4))
    wrong = (_table(runs)["verdict"] != UNTOLD).mean()
    assert 0.02 < wrong < 0.08


def test_a_grid_gives_each_factor_its_mean_over_the_others() -> None:
    a, b = ("augment", "none"), ("mixup", "0.2")
    runs = [
        *_runs(accuracies=(0.80, 0.80)),
        *_runs(a, accuracies=(0.70, 0.72)),
        *_runs(b, accuracies=(0.82, 0.82)),
        *_runs(a, b, accuracies=(0.78, 0.78)),
    ]
    table = _table(runs)
    assert table.index.tolist() == [a, b]
    assert table.loc[a, "difference"] == pytest.approx(np.mean([-0.10, -0.08, -0.04, -0.04]))
    assert table.loc[b, "difference"] == pytest.approx(np.mean([0.02, 0.02, 0.08, 0.06]))
    assert table.loc[a, "seeds"] == 2  # and not 4: the combinations of a seed are no further trials


def test_there_is_one_sentence_per_factor() -> None:
    runs = _runs(accuracies=BASE)
    for setting, accuracies in [
        (("augment", "none"), (0.70, 0.73, 0.75)),
        (("ema", "0.99"), (0.80, 0.83, 0.83)),
        (("augment", "light"), (0.9, 0.91, NAN)),
    ]:
        runs += _runs(setting, accuracies=accuracies)
    augment, ema = _sentences(runs)
    assert augment.startswith("augment=none hurts by 9.3 points (95 % interval -10.8 to -7.9, 3 seeds); augment=light ")
    assert "1 more diverged" in augment
    assert ema == "ema=0.99 cannot be told from the base (+0.0 points, 95 % interval -2.5 to +2.5, 3 seeds)."


@pytest.mark.parametrize("seeds", [1, 3])
def test_the_forest_plot_shows_every_setting_best_first(seeds: int, tmp_path: Path) -> None:
    runs = _runs(accuracies=BASE[:seeds])
    for number, shift in enumerate([0.05, -0.2, 0.0, NAN]):
        name = ("optimizer", f"sgd (learning_rate=0.1, weight_decay={number})")
        runs += _runs(name, accuracies=[base + shift + 0.003 * seed for seed, base in enumerate(BASE[:seeds])])
    differences = paired_differences(runs)
    figure = draw_ablation(
        difference_table(differences, ACCURACY, 1 / 367), differences, "Ablation: base 82.0 % of 367 photos"
    )
    figure.savefig(tmp_path / "forest.png")
    (axes,) = figure.axes
    assert [label.get_text()[-3:] for label in axes.get_yticklabels()] == ["=0)", "=2)", "=1)", "=3)"]
    assert "percentage points" in axes.get_xlabel()
    assert axes.yaxis_inverted()
