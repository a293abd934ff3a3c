"""A study -> the table of its trials, its pictures, and Optuna's own interactive plots. Decides nothing."""

from __future__ import annotations

import warnings
from collections.abc import Callable
from typing import TYPE_CHECKING

import optuna
import pandas as pd
from matplotlib.figure import Figure
from optuna.exceptions import ExperimentalWarning
from optuna.study import Study, StudyDirection
from optuna.trial import TrialState

from pipeline import plots
from pipeline.config import Objective
from pipeline.search.trial_record import CONFIG, REPEAT_OF, RETRY_OF, RUN_ID

if TYPE_CHECKING:
    import plotly.graph_objects

COLUMNS = ["number", "state", "value", "epochs_run", "started", "seconds", RETRY_OF, REPEAT_OF, RUN_ID]
TRIALS_FOR_IMPORTANCE = 10  # complete ones; of fewer, trees give every parameter much the same share by chance
FIGURE_HEIGHT_PX = 480  # of an interactive figure, whose width is the page's


def trial_table(study: Study) -> pd.DataFrame:
    """Return a row per trial begun: `COLUMNS`, where value is its objective, and its config."""
    rows, best_of = [], min if study.direction == StudyDirection.MINIMIZE else max
    for trial in study.get_trials(deepcopy=False):
        if trial.state == TrialState.WAITING:
            continue
        values = list(trial.intermediate_values.values())
        value = trial.value if trial.state == TrialState.COMPLETE else best_of(values, default=None)
        about = {"number": trial.number, "state": trial.state.name.lower(), "value": value, "epochs_run": len(values)}
        about |= {"started": trial.datetime_start, "seconds": trial.duration and trial.duration.total_seconds()}
        about |= {name: trial.user_attrs.get(name) for name in (RETRY_OF, REPEAT_OF, RUN_ID)}
        rows.append(about | trial.user_attrs.get(CONFIG, {}))
    return pd.DataFrame(rows, columns=None if rows else COLUMNS)


def curve_table(study: Study) -> pd.DataFrame:
    """Return a row per trial and epoch: number, epoch, value (the objective)."""
    rows = [
        (trial.number, epoch, value)
        for trial in study.get_trials(deepcopy=False)
        for epoch, value in trial.intermediate_values.items()
    ]
    return pd.DataFrame(rows, columns=["number", "epoch", "value"])


def draw_study(study: Study, objective: Objective) -> dict[str, Figure]:
    """Return the plots of a search by file name: history, importance, parallel coordinates, slice, timeline.

    The importance of parameters needs `TRIALS_FOR_IMPORTANCE`, and is left out before.
    """
    table, parameters = trial_table(study), _parameters(study)
    params = pd.DataFrame([trial.params for trial in study.get_trials(deepcopy=False)])
    points = table[["number", "state", "value"]].join(params, on="number")
    names = study.study_name
    figures = {
        "optuna_history": plots.draw_trials(table, f"Search {names}", objective),
        "optuna_parallel_coordinates": plots.draw_parallel_coordinates(
            points, parameters, f"What was tried in {names}", objective
        ),
        "optuna_slice": plots.draw_slices(points, parameters, f"Each parameter on its own in {names}", objective),
        "optuna_timeline": plots.draw_timeline(table, f"When the trials of {names} ran"),
    }
    if importance := _importance(study):
        figures["optuna_importance"] = plots.draw_importance(
            pd.Series(importance), f"What mattered in {names}", objective
        )
    return {f"{name}.png": figure for name, figure in figures.items()}


def _parameters(study: Study) -> list[plots.Parameter]:
    """Return the dimensions that the trials had, the most important ones last, next to the objective."""
    found = {}
    for trial in study.get_trials(deepcopy=False):
        for name, of in trial.distributions.items():
            found[name] = plots.Parameter(name, tuple(getattr(of, "choices", ())), bool(getattr(of, "log", False)))
    importance = _importance(study)
    return sorted(found.values(), key=lambda of: importance.get(of.name, 0))


def _importance(study: Study) -> dict[str, float]:
    """Return each parameter's share in the variance of the values; nothing where there are too few."""
    if len(study.get_trials(deepcopy=False, states=(TrialState.COMPLETE,))) < TRIALS_FOR_IMPORTANCE:
        return {}
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", ExperimentalWarning)
        warnings.simplefilter("ignore", UserWarning)
        try:
            return dict(optuna.importance.get_param_importances(study))
        except (RuntimeError, ValueError):
            return {}


def study_figures(study: Study, objective: str) -> dict[str, plotly.graph_objects.Figure]:
    """Return Optuna's interactive plots by title, in the order in which they are to be read.

    A plot that needs more trials than there are is left out.
    """
    from optuna import visualization as draw

    plots: dict[str, Callable[[], plotly.graph_objects.Figure]] = {
        "Optimization history": lambda: draw.plot_optimization_history(study, target_name=objective),
        "Parallel coordinates": lambda: draw.plot_parallel_coordinate(study, target_name=objective),
        "Slices": lambda: draw.plot_slice(study, target_name=objective),
        "Learning curves": lambda: draw.plot_intermediate_values(study),
        "Timeline": lambda: draw.plot_timeline(study),
    }
    if _importance(study):
        plots["Importance of the hyperparameters"] = lambda: draw.plot_param_importances(study, target_name=objective)
    figures = {}
    for name, plot in plots.items():
        with warnings.catch_warnings():
            warnings.simplefilter("ignore", ExperimentalWarning)
            warnings.simplefilter("ignore", UserWarning)  # such as of too few trials for an importance
            try:
                figure = plot()
            except (RuntimeError, ValueError):  # too few complete trials
                continue
        if figure.data:
            figures[name] = figure.update_layout(
                title="", template="plotly_white", height=FIGURE_HEIGHT_PX, width=None, autosize=True
            )
    return figures
