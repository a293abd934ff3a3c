"""What an evaluation says: how good the model is on photos that nothing has seen, how sure that is, where it fails."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field

import numpy as np
import pandas as pd
from matplotlib.figure import Figure

from pipeline.evaluation import PICTURES, TABLES
from pipeline.report.failures import on_which_photos, weakest, where_it_fails
from pipeline.report.page import Page, Picture, Section, Table, render

HEADINGS = {
    "confusion_difference": "What changed against the champion",
    "per_class": "How it does on each class",
    "calibration": "Whether its probabilities can be believed",
    "coverage": "What it gains by refusing unsure photos",
    "corruptions": "How it stands bad photos",
    "grad_cam": "Where it looks",
    "metrics": "All metrics",
}
"""Of figures and tables, in the order of the page; one that is not here comes last, under its name."""

SHOWN_OTHERWISE = {"confusion_matrix", "errors"}  # drawn by this report itself, for all widths


@dataclass(frozen=True)
class EvaluationReport:
    """All that the page is made of.

    ``metrics`` have no prefix; ``predictions`` is `evaluation.prediction_table`, and ``images`` are its photos.
    ``figures`` and ``tables`` by name each become a section.
    """

    title: str
    metrics: Mapping[str, float]
    predictions: pd.DataFrame
    images: np.ndarray
    class_names: Sequence[str]
    figures: Mapping[str, Figure]
    tables: Mapping[str, pd.DataFrame] = field(default_factory=dict)
    answer: Sequence[str] = ()
    facts: Mapping[str, str] = field(default_factory=dict)


def evaluation_report(evaluated: EvaluationReport) -> str:
    """Return the page of an evaluation."""
    sections = [
        where_it_fails(evaluated.predictions, evaluated.class_names, "test"),
        on_which_photos(evaluated.images, evaluated.predictions),
        *(
            _figure(name, evaluated.figures[name])
            for name in sorted(evaluated.figures.keys() - SHOWN_OTHERWISE, key=_place)
        ),
        *(_table(name, evaluated.tables[name]) for name in sorted(evaluated.tables, key=_place)),
        *([] if "metrics" in evaluated.tables else [_all_metrics(evaluated.metrics)]),
    ]
    return render(Page(evaluated.title, [*_answer(evaluated), *evaluated.answer], evaluated.facts, sections))


def _answer(evaluated: EvaluationReport) -> list[str]:
    metrics, photos = evaluated.metrics, len(evaluated.predictions)
    right = int(evaluated.predictions["correct"].sum())
    interval = ""
    if "accuracy_ci_low" in metrics:
        low, high = (100 * metrics[f"accuracy_ci_{end}"] for end in ("low", "high"))
        interval = f" (95 % interval {low:.1f} to {high:.1f} %)"
    return [
        f"It is right on {right} of {photos} test photos: {100 * right / photos:.1f} %{interval}.",
        weakest(evaluated.predictions, evaluated.class_names),
        *_how_confident(evaluated),
    ]


def _how_confident(evaluated: EvaluationReport) -> list[str]:
    said, right = evaluated.predictions["probability"].mean(), evaluated.predictions["correct"].mean()
    if abs(said - right) < 0.02:
        return [f"Its probabilities can be taken at their word: on average it says {100 * said:.0f} %."]
    leaning = "too sure of itself" if said > right else "more often right than it says"
    return [f"It is {leaning}: on average it says {100 * said:.0f} %."]


def _figure(name: str, figure: Figure) -> Section:
    return Section(_heading(name), pictures=[Picture(figure, PICTURES.get(f"{name}.png", _heading(name)))])


def _table(name: str, table: pd.DataFrame) -> Section:
    frame = table if isinstance(table.index, pd.RangeIndex) else table.reset_index()
    return Section(_heading(name), TABLES.get(f"{name}.csv", ""), table=Table(frame))


def _place(name: str) -> tuple[int, str]:
    return (list(HEADINGS).index(name) if name in HEADINGS else len(HEADINGS)), name


def _all_metrics(metrics: Mapping[str, float]) -> Section:
    frame = pd.DataFrame({"metric": list(metrics), "value": [float(value) for value in metrics.values()]})
    return Section("All metrics", "By their names in MLflow, without the prefix test_.", table=Table(frame))


def _heading(name: str) -> str:
    return HEADINGS.get(name, name.replace("_", " ").capitalize())
