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
    detectable_difference,
    difference_table,
    effect_sentences,
    paired_differences,
    power_sentence,
    ranked,
)
from pipeline.config import OBJECTIVES, Objective
from pipeline.plots import draw_ablation

NAN = math.nan
BASE = (0.80, 0.82, 0.84)
ACCURACY, LOSS = OBJECTIVES["val_accuracy"], OBJECTIVES["val_loss"]
STEP = 1 / 1000  # of one photo of 1000


def _runs(*settings: tuple[str, str], accuracies: Sequence[float], speed: float = 100) -> list[Measured]:
    return [Measured(settings, seed, accuracy, speed, 100 / speed, "") for seed, accuracy in enumerate(accuracies)]


def _table(runs: Sequence[Measured], objective: Objective = ACCURACY) -> pd.DataFrame:
    return difference_table(paired_differences(runs), objective, STEP).set_index(["factor", "value"])


def _differences(changes: np.ndarray) -> pd.DataFrame:
    """Return the paired differences of settings (rows) by seed (columns)."""
    settings, seeds = np.indices(changes.shape).reshape(2, -1)
    columns = {"factor": settings, "value": "on", "seed": seeds, "difference": changes.ravel()}
    return pd.DataFrame({**columns, "outcome": 0.8 + changes.ravel(), "speed": 1.0, "minutes": 1.0})


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
    assert ("cannot be" if verdict == UNTOLD else verdict) in said or "diverged with every seed" in said


def test_of_a_loss_less_helps() -> None:
    lower, higher = ("ema", "0.99"), ("mixup", "0.2")
    runs = [*_runs(accuracies=(1.2, 1.3)), *_runs(lower, accuracies=(1.0, 1.1)), *_runs(higher, accuracies=(1.5, 1.6))]
    assert _table(runs, LOSS)["verdict"].tolist() == [HELPS, HURTS]
    assert _sentences(runs, LOSS)[0] == (
        "ema=0.99 helps by 0.200 nats, 0.200 per minute of training (95 % interval -0.201 to -0.199, 2 seeds)."
    )
    differences = paired_differences(runs)
    (axes,) = draw_ablation(difference_table(differences, LOSS, 0.0), differences, "Ablation", LOSS).axes
    assert [label.get_text() for label in axes.get_yticklabels()] == ["ema = 0.99", "mixup = 0.2"]
    assert "validation loss, nats" in axes.get_xlabel()


@pytest.mark.parametrize(("seeds", "scatter"), [(2, 0.3), (3, 0.0), (3, 0.6), (5, 0.6)])
def test_of_many_settings_that_change_nothing_none_seems_to(seeds: int, scatter: float) -> None:
    """In 95 % of ablations, which share the base's seeds, and whose settings scatter unlike; and effects are found."""
    rng, wrong, found, ablations = np.random.default_rng(seeds), 0, 0, 60
    for _ in range(ablations):
        base = rng.normal(0, 0.01, seeds)
        spreads = 0.01 * np.exp(scatter * rng.standard_normal((10, 1)))
        changes = rng.normal(0, 1, (10, seeds)) * spreads - base
        changes[0] += 0.06
        verdicts = difference_table(_differences(changes), ACCURACY, STEP)["verdict"]
        found += verdicts.iloc[0] == HELPS
        wrong += (verdicts.iloc[1:] != UNTOLD).any()
    assert wrong / ablations < 0.12  # 0.05, with the chance of so few
    assert found / ablations > (0.2 if seeds == 2 else 0.75)


def test_a_setting_alone_has_the_interval_of_the_paired_t_test_and_more_share_their_variance() -> None:
    runs = _runs(accuracies=BASE)
    shifts = {"a": (0.01, 0.02, 0.03), "b": (0.00, 0.00, 0.06), "c": (0.02, 0.05, 0.02)}
    for name, shift in shifts.items():
        runs += _runs((name, "on"), accuracies=np.add(BASE, shift).tolist())
    variances = [np.var(shift, ddof=1) for shift in shifts.values()]
    row = _table(runs).loc[("a", "on")]
    error = math.sqrt((variances[0] + 2 * np.mean(variances)) / 3 / 3)
    half = stats.t.ppf(1 - 0.025 / 3, 6) * error
    assert (row["low"], row["high"]) == pytest.approx((0.02 - half, 0.02 + half))


def test_what_pays_per_minute_comes_first() -> None:
    runs = _runs(accuracies=BASE, speed=100)
    for name, shift, speed in [("dear", 0.2, 20), ("cheap", 0.1, 100), ("bad", -0.2, 100), ("nothing", 0.0, 300)]:
        runs += _runs(
            (name, "on"), accuracies=[base + shift + 0.001 * seed for seed, base in enumerate(BASE)], speed=speed
        )
    runs += _runs(("lost", "on"), accuracies=(NAN, NAN, NAN))
    differences = paired_differences(runs)
    table = ranked(difference_table(differences, ACCURACY, STEP), ACCURACY)
    assert table["factor"].tolist() == ["cheap", "dear", "nothing", "bad", "lost"]
    sentences = effect_sentences(table, ACCURACY)
    assert sentences[0].startswith("cheap=on helps by 10.1 points, 10.1 per minute of training (95 % interval")
    assert sentences[1].startswith("dear=on helps by 20.1 points, 4.0 per minute of training (")
    assert power_sentence(differences, ACCURACY) == (
        "3 seeds detect a difference of 0.3 points in 80 % of cases, smaller ones less often."
    )
    one_seed = paired_differences([run for run in runs if run.seed == 0])
    assert not power_sentence(one_seed, ACCURACY)


def test_the_difference_that_is_found_four_times_in_five_is() -> None:
    rng, found = np.random.default_rng(0), 0
    sizes = []
    for _ in range(60):
        changes = rng.normal(0, 0.015, (8, 3))
        changes[0] += 0.05
        differences = _differences(changes)
        sizes.append(detectable_difference(differences))
        found += difference_table(differences, ACCURACY, STEP)["verdict"].iloc[0] == HELPS
    power_of_five_points = found / 60
    assert 0.03 < np.mean(sizes) < 0.06
    assert (power_of_five_points > 0.8) == (np.mean(sizes) < 0.05)


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
    assert augment.startswith("augment=none hurts by 9.3 points (95 % interval -10.7 to -8.0, 3 seeds); augment=light ")
    assert "1 more diverged" in augment
    assert ema == "ema=0.99 cannot be told apart from the base (+0.0 points, 95 % interval -1.6 to +1.6, 3 seeds)."


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
