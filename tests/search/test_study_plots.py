"""What a search leaves for people: its table, its pictures, and its interactive plots."""

from __future__ import annotations

import math
import random
from datetime import datetime, timedelta
from typing import Literal

import optuna
import pytest
from optuna.distributions import BaseDistribution, CategoricalDistribution, FloatDistribution, IntDistribution
from optuna.study import Study
from optuna.trial import TrialState, create_trial

from pipeline.config import OBJECTIVES
from pipeline.search.study_plots import draw_study, study_figures, trial_table

PICTURES = ["history", "importance", "parallel_coordinates", "slice", "timeline"]
DIMENSIONS: dict[str, BaseDistribution] = {
    "optimizer": CategoricalDistribution(("adamw", "sgd")),
    "learning_rate_factor": FloatDistribution(0.1, 10, log=True),
    "dropout": FloatDistribution(0, 0.5),
    "head_units": IntDistribution(0, 512),
    "augment": CategoricalDistribution(("light",)),
}


def _study(trials: int, direction: Literal["maximize", "minimize"] = "maximize") -> Study:
    rng, start = random.Random(0), datetime(2026, 1, 1)
    study = optuna.create_study(direction=direction, study_name="tulips$1")
    for number in range(trials):
        state = (TrialState.COMPLETE, TrialState.PRUNED, TrialState.COMPLETE, TrialState.FAIL)[number % 4]
        params = {"optimizer": rng.choice(("adamw", "sgd")), "learning_rate_factor": 10 ** rng.uniform(-1, 1)}
        params |= {"dropout": rng.uniform(0, 0.5), "head_units": rng.randint(0, 512), "augment": "light"}
        value = 0.8 - 0.1 * abs(math.log10(params["learning_rate_factor"])) if state == TrialState.COMPLETE else None
        trial = create_trial(
            state=state, value=value, params=params, distributions=DIMENSIONS,
            intermediate_values={1: 0.3, 2: 0.5}, user_attrs={"run_id": f"run{number}", "config": {"epochs": 2}},
        )  # fmt: skip
        trial.datetime_start, trial.datetime_complete = start, start + timedelta(seconds=30)
        start += timedelta(seconds=20)
        study.add_trial(trial)
    study.enqueue_trial({"optimizer": "sgd"})
    return study


def test_the_table_has_a_row_per_trial_that_has_begun() -> None:
    table = trial_table(_study(8))
    assert table["number"].tolist() == list(range(8))
    assert table["state"].value_counts().to_dict() == {"complete": 4, "pruned": 2, "fail": 2}
    assert table.loc[1, "value"] == 0.5  # the best epoch before it was stopped
    assert set(table["seconds"]) == {30}
    assert {"started", "retry_of", "repeat_of", "run_id", "epochs"} <= set(table)


def test_of_a_loss_a_stopped_trial_has_its_lowest() -> None:
    assert trial_table(_study(8, "minimize")).loc[1, "value"] == 0.3


@pytest.mark.parametrize("objective", ["val_accuracy", "val_loss"])
@pytest.mark.parametrize("trials", [8, 30])
def test_every_picture_is_drawn(trials: int, objective: str) -> None:
    is_loss = OBJECTIVES[objective].is_loss
    figures = draw_study(_study(trials, "minimize" if is_loss else "maximize"), OBJECTIVES[objective])
    history = figures["optuna_history.png"].axes[0]
    assert history.get_ylabel() == OBJECTIVES[objective].title
    best_so_far = next(line for line in history.lines if line.get_label() == "best so far").get_ydata()
    assert list(best_so_far) == sorted(best_so_far, reverse=is_loss)
    assert len(set(best_so_far)) > 1
    shown = [name for name in PICTURES if name != "importance" or trials == 30]  # eight trials tell nothing of it
    assert sorted(figures) == [f"optuna_{name}.png" for name in shown]
    for figure in figures.values():
        figure.draw_without_rendering()
        assert figure.get_suptitle()
        assert all(
            axes.get_title() or axes.get_xlabel() or axes.get_ylabel() or axes.get_xticklabels() for axes in figure.axes
        )


@pytest.mark.parametrize("trials", [0, 1, 2])
def test_a_study_with_hardly_a_trial_has_pictures_that_say_so(trials: int) -> None:
    for figure in draw_study(_study(trials), OBJECTIVES["val_accuracy"]).values():
        figure.draw_without_rendering()


def test_the_interactive_plots_can_be_put_into_a_page() -> None:
    figures = study_figures(_study(24), "val_accuracy")
    assert next(iter(figures)) == "Optimization history"
    assert len(figures) == 6
    assert all("plotly" in figure.to_html(full_html=False, include_plotlyjs=False) for figure in figures.values())
    assert study_figures(_study(0), "val_accuracy").keys() <= figures.keys()
