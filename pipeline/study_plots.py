"""A study -> the table of its trials and Optuna's own plots, as figures. Draws; decides nothing."""

from __future__ import annotations

import warnings
from collections.abc import Callable

import matplotlib
import pandas as pd
from matplotlib.figure import Figure
from optuna.exceptions import ExperimentalWarning
from optuna.study import Study
from optuna.trial import TrialState

SIZE_INCHES, WIDE_INCHES = (12, 5), (20, 5)  # a slice is a panel per parameter


def trial_table(study: Study) -> pd.DataFrame:
    """Return a row per trial begun: number, state, value (val_accuracy), epochs_run, seconds, run_id, its config."""
    rows = []
    for trial in study.get_trials(deepcopy=False):
        if trial.state == TrialState.WAITING:
            continue
        values = list(trial.intermediate_values.values())
        value = trial.value if trial.state == TrialState.COMPLETE else max(values, default=None)
        about = {"number": trial.number, "state": trial.state.name.lower(), "value": value, "epochs_run": len(values)}
        about["seconds"] = trial.duration.total_seconds() if trial.duration else None
        about["run_id"] = trial.user_attrs.get("run_id")
        rows.append(about | trial.user_attrs.get("config", {}))
    return pd.DataFrame(rows)


def draw_study(study: Study) -> dict[str, Figure]:
    """Return Optuna's plots by file name: history, importance, parallel coordinates, slice, timeline.

    A plot that needs more trials than there are is left out.
    """
    matplotlib.use("Agg")
    from matplotlib import pyplot
    from optuna.visualization import matplotlib as draw

    plots: dict[str, Callable[[], object]] = {
        "optuna_history": lambda: draw.plot_optimization_history(study, target_name="val_accuracy"),
        "optuna_importance": lambda: draw.plot_param_importances(study, target_name="val_accuracy"),
        "optuna_parallel_coordinates": lambda: draw.plot_parallel_coordinate(study, target_name="val_accuracy"),
        "optuna_slice": lambda: draw.plot_slice(study, target_name="val_accuracy"),
        "optuna_timeline": lambda: draw.plot_timeline(study),
    }
    figures = {}
    for name, plot in plots.items():
        with warnings.catch_warnings():
            warnings.simplefilter("ignore", ExperimentalWarning)
            warnings.simplefilter("ignore", UserWarning)  # Optuna's words on what it leaves out of a plot
            try:
                plot()
            except (RuntimeError, ValueError):  # too few complete trials
                pyplot.close("all")
                continue
        figure = pyplot.gcf()
        figure.set_size_inches(*(WIDE_INCHES if name == "optuna_slice" else SIZE_INCHES))
        pyplot.close(figure)
        figures[f"{name}.png"] = figure
    return figures
