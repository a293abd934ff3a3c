"""The report of a search: what was tried, what won, how certain that is, and where the winner fails."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field

import numpy as np
import pandas as pd
from matplotlib.figure import Figure

from pipeline.config import Objective
from pipeline.evaluation import ExpectedAccuracy, compare_with_baseline, interval_of_shares
from pipeline.report import trial_drawings as drawings
from pipeline.report.failures import class_section, describe_weakest_class, error_photos_section
from pipeline.report.inline_svg import narrow_svg
from pipeline.report.page import Page, Picture, Section, Table, render

NOT_FLAGS = {  # columns of a trial table that are not config fields, or follow from variant and freeze_backbone
    *("number", "state", "value", "epochs_run", "started", "seconds", "retry_of", "repeat_of", "run_id", "seed"),
    *("weights", "head_epochs"),
}
CHARTS = {  # drawn anew for a phone
    "optuna_importance.png": "How much of the differences between trials each parameter explains (fANOVA)",
    "optuna_timeline.png": "When each trial ran, in minutes",
}
WIDE_FIGURE, WIDE_ALT = "optuna_parallel_coordinates.png", "Each trial as a line through its parameters"
MAX_LINKED_TRIALS = 200  # highlighted together in all plots; each trial costs a line of CSS


@dataclass(frozen=True)
class SearchReport:
    """The content of the page.

    ``trials`` is `study_plots.trial_table`, ``curves`` has number, epoch and value, ``confirmations`` trial, seed and
    value (empty where there was none; ``unconfirmed`` says why). ``predictions`` are the winner's on the validation
    photos, whose pixels are ``images`` and whose leak groups are ``groups``; None where its run has none. ``expected``
    is its accuracy on other photos, if that is known.
    """

    title: str
    trials: pd.DataFrame
    curves: pd.DataFrame
    confirmations: pd.DataFrame
    winner: int
    value: float
    seeds: int
    model_uri: str
    class_names: Sequence[str]
    images: np.ndarray
    groups: np.ndarray
    predictions: pd.DataFrame | None
    figures: Mapping[str, Figure]
    objective: Objective
    expected: ExpectedAccuracy | None = None
    unconfirmed: str = ""
    facts: Mapping[str, str] = field(default_factory=dict)


def search_report(search: SearchReport) -> str:
    """Return the page of a search."""
    trials = search.trials.assign(value=search.trials["value"].astype(float))
    flags = searched_flags(trials)
    trials["config"] = [
        ", ".join(f"{name} {_format_value(row[name])}" for name in flags) for row in trials.to_dict("records")
    ]
    sections = [
        _confirmation_section(search),
        _trials_section(search, trials, flags),
        _parameters_section(search, trials, flags),
        _usage_section(search),
    ]
    if search.predictions is not None:
        sections[:0] = [
            class_section(search.predictions, search.class_names, "validation"),
            error_photos_section(search.images, search.predictions),
        ]
    linked = [drawings.trial_class(number) for number in trials["number"]] if len(trials) <= MAX_LINKED_TRIALS else []
    return render(Page(search.title, _answer(search), _facts(search, trials), sections, linked))


def searched_flags(trials: pd.DataFrame) -> list[str]:
    """Return the config columns in which the trials differ."""
    flags = [name for name in trials if name not in NOT_FLAGS]
    return [name for name in flags if trials[name].astype(str).nunique() > 1]


def _answer(search: SearchReport) -> list[str]:
    """Return whether the best is good, compared with what, and how sure that is; what to do next; where it fails."""
    if search.predictions is None:
        return [_describe_settings(search), _next_step(search)]
    tells_more = search.seeds > 1 or search.objective.name != "val_accuracy"
    return [
        _describe_model(search, search.predictions),
        *([search.expected.sentence] if search.expected else []),
        *([_describe_settings(search)] if tells_more else []),
        _next_step(search),
        describe_weakest_class(search.predictions, search.class_names),
    ]


def _describe_model(search: SearchReport, predictions: pd.DataFrame) -> str:
    names = list(search.class_names)
    labels, predicted = (predictions[column].map(names.index).to_numpy(int) for column in ("label", "predicted"))
    found = compare_with_baseline(labels, np.eye(len(names))[predicted], names)
    low, high = (_format_percent(end) for end in interval_of_shares(labels == predicted, search.groups))
    model = (
        f"{_format_percent(found.accuracy)} of {len(predictions)} validation photos right (95\N{NO-BREAK SPACE}% "
        f"interval {low} to {high})"
    )
    other = (
        f"always answering {found.largest_class}, the largest class, gets {_format_percent(found.baseline_accuracy)}"
    )
    if found.is_beaten:
        return f"The search found a model worth testing: {model}, where {other}."
    return f"The search found no useful model yet: {model}, and {other}, which may be as good."


def _describe_settings(search: SearchReport) -> str:
    """Return how the winner's settings do over all seeds, by what they were searched for."""
    objective, photos = search.objective, f"{len(search.images)} validation photos"
    seeds = {0: "its best epoch", 1: "one fresh seed"}.get(search.seeds, f"mean of {search.seeds} fresh seeds")
    if objective.name == "val_accuracy":
        return f"Its settings are right on {objective.format(search.value)} of {photos} ({seeds})."
    return f"Its settings reach {objective.sentence(search.value)} on {photos} ({seeds})."


def _next_step(search: SearchReport) -> str:
    return (
        "Next: before using it, test it on photos that were not used to choose it "
        f"(python -m pipeline evaluate --model_uri={search.model_uri})."
    )


def _facts(search: SearchReport, trials: pd.DataFrame) -> dict[str, str]:
    states = ", ".join(f"{count} {state}" for state, count in trials["state"].value_counts().items())
    hours = trials["seconds"].sum() / 3600
    duration = f"{hours:.1f} h" if hours >= 1 else f"{60 * hours:.0f} min"
    return {"Trials": states, "Time in trials": duration} | dict(search.facts)


def _trials_section(search: SearchReport, trials: pd.DataFrame, flags: Sequence[str]) -> Section:
    objective, scores = search.objective, trials["value"].map(search.objective.score)
    order = np.lexsort((trials["number"], -scores.fillna(-np.inf), trials["number"] != search.winner))
    ordered = trials.iloc[order]
    frame = ordered[["number", "value", "state", "epochs_run", "seconds", *flags]]
    config = trials.set_index("number")["config"].get(search.winner, "")
    won = f"Trial {search.winner} won{f' ({config})' if config else ''}; it is shown in orange"
    classes = [_row_class(number, search.winner) for number in frame["number"]]
    formats = {objective.name: objective.pattern, "seconds": "{:.0f}"}
    frame = frame.rename(columns={"number": "trial", "value": objective.name, "epochs_run": "epochs"})
    return Section(
        "What was tried",
        f"{won}. {drawings.describe_marks(trials)} Point at a trial to see its settings, and to find it in "
        f"the other plots. {objective.name} {objective.meaning}.",
        [
            Picture(
                drawings.draw_progress(trials, search.winner, objective),
                f"{objective.name} of each trial, in order",
            ),
            Picture(
                drawings.draw_curves(search.curves, trials, search.winner, objective),
                f"{objective.name} of each trial by epoch",
            ),
        ],
        tables=[Table(frame, formats, classes)],
    )


def _row_class(number: int, winner: int) -> str:
    return drawings.trial_class(number) + (" winner" if number == winner else "")


def _parameters_section(search: SearchReport, trials: pd.DataFrame, flags: Sequence[str]) -> Section:
    objective = search.objective
    parameters = [
        Picture(
            drawings.draw_parameter(trials, name, search.winner, objective),
            f"{objective.name} by {name}, one mark per trial",
        )
        for name in flags
    ]
    figures = search.figures
    charts = [Picture(narrow_svg(figures[file]), alt, alt) for file, alt in CHARTS.items() if file in figures]
    wide = [Picture(figures[WIDE_FIGURE], WIDE_ALT, WIDE_ALT)] if WIDE_FIGURE in figures else []
    text = (
        "One plot per searched parameter; its marks are those of the plots above. A few trials say little about a "
        "parameter: look at the spread. search.html among the run's artifacts has interactive plots."
    )
    return Section("What mattered", text, [*parameters, *charts, *wide])


def _confirmation_section(search: SearchReport) -> Section:
    text = (
        "The best of many trials looks better than it is, because it was selected by its score. No figure here uses "
        "the test photos; evaluate reads them, and its report has the figure to quote."
    )
    if search.confirmations.empty:
        why = f": {search.unconfirmed}" if search.unconfirmed else ""
        return Section("How sure we are", f"{text} No trial was trained again with a fresh seed{why}.")
    by_trial = search.confirmations.groupby("trial")["value"].agg(["mean", "min", "max", "count"])
    in_search = search.trials.set_index("number")["value"]
    frame = by_trial.sort_values("mean", ascending=search.objective.is_loss, kind="stable").reset_index()
    frame.insert(1, "in the search", frame["trial"].map(in_search).astype(float))
    frame = frame.rename(columns={"count": "fresh seeds", "min": "lowest", "max": "highest"})
    formats = dict.fromkeys(("in the search", "mean", "lowest", "highest"), search.objective.pattern)
    classes = ["winner" if number == search.winner else "" for number in frame["trial"]]
    if len(by_trial) > 1:
        text += " So the best configs were trained again with fresh seeds, and longer; the winner did best there."
    else:
        text += " So the winner was trained again with fresh seeds, and longer; there was no other to compare it with."
    return Section("How sure we are", text, tables=[Table(frame, formats, classes)])


def _usage_section(search: SearchReport) -> Section:
    code = (
        f"python -m pipeline evaluate --model_uri={search.model_uri}\n"
        f'python -c \'import mlflow; print(mlflow.pyfunc.load_model("{search.model_uri}").predict(["photo.jpg"]))\''
    )
    return Section("How to use it", "Test it once, then load it:", code=code)


def _format_percent(share: float) -> str:
    return f"{100 * share:.1f}\N{NO-BREAK SPACE}%"


def _format_value(value: object) -> str:
    return f"{value:.2g}" if isinstance(value, float) else str(value)
