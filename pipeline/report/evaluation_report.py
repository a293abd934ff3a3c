"""The report of an evaluation: how good the model is on the test photos, how certain that is, and where it fails."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field

import numpy as np
import pandas as pd
from matplotlib.figure import Figure

from pipeline.evaluation import PICTURES, TABLES
from pipeline.report.failures import class_section, describe_weakest_class, error_photos_section
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
"""Figure or table -> heading, in the order of the page; others come last, under their names."""

SHOWN_ELSEWHERE = {"confusion_matrix", "errors"}  # this report draws them itself, for all screen widths


@dataclass(frozen=True)
class EvaluationReport:
    """The content of the page.

    ``metrics`` have no prefix; ``predictions`` is `evaluation.prediction_table`, and ``images`` are its photos. Each
    entry of ``figures`` and ``tables`` becomes a section.
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


def evaluation_report(report: EvaluationReport) -> str:
    """Return the page of an evaluation."""
    sections = [
        class_section(report.predictions, report.class_names, "test"),
        error_photos_section(report.images, report.predictions),
        *(
            _figure_section(name, report.figures[name])
            for name in sorted(report.figures.keys() - SHOWN_ELSEWHERE, key=_page_order)
        ),
        *(_table_section(name, report.tables[name]) for name in sorted(report.tables, key=_page_order)),
        *([] if "metrics" in report.tables else [_metrics_section(report.metrics)]),
    ]
    return render(Page(report.title, [*_answer(report), *report.answer], report.facts, sections))


def _answer(report: EvaluationReport) -> list[str]:
    metrics, photos = report.metrics, len(report.predictions)
    correct = int(report.predictions["correct"].sum())
    interval = ""
    if "accuracy_ci_low" in metrics:
        low, high = (100 * metrics[f"accuracy_ci_{end}"] for end in ("low", "high"))
        interval = f" (95 % interval {low:.1f} to {high:.1f} %)"
    return [
        f"It is right on {correct} of {photos} test photos: {100 * correct / photos:.1f} %{interval}.",
        describe_weakest_class(report.predictions, report.class_names),
        *_describe_calibration(report),
    ]


def _describe_calibration(report: EvaluationReport) -> list[str]:
    mean_probability, accuracy = report.predictions["probability"].mean(), report.predictions["correct"].mean()
    if abs(mean_probability - accuracy) < 0.02:
        error, by_chance = report.metrics.get("ece", 0.0), report.metrics.get("ece_by_chance", 1.0)
        if error > by_chance:
            return [
                f"Its probabilities are right on average ({100 * mean_probability:.0f} %), but some are too high and "
                f"others too low: by {100 * error:.1f} points on average, where chance explains {100 * by_chance:.1f}."
            ]
        return [f"Its probabilities can be taken at their word: on average it says {100 * mean_probability:.0f} %."]
    bias = "too sure of itself" if mean_probability > accuracy else "more often right than it says"
    return [f"It is {bias}: on average it says {100 * mean_probability:.0f} %."]


def _figure_section(name: str, figure: Figure) -> Section:
    return Section(_heading(name), pictures=[Picture(figure, PICTURES.get(f"{name}.png", _heading(name)))])


def _table_section(name: str, table: pd.DataFrame) -> Section:
    frame = table if isinstance(table.index, pd.RangeIndex) else table.reset_index()
    return Section(_heading(name), TABLES.get(f"{name}.csv", ""), table=Table(frame))


def _page_order(name: str) -> tuple[int, str]:
    return (list(HEADINGS).index(name) if name in HEADINGS else len(HEADINGS)), name


def _metrics_section(metrics: Mapping[str, float]) -> Section:
    frame = pd.DataFrame({"metric": list(metrics), "value": [float(value) for value in metrics.values()]})
    return Section("All metrics", "By their names in MLflow, without the prefix test_.", table=Table(frame))


def _heading(name: str) -> str:
    return HEADINGS.get(name, name.replace("_", " ").capitalize())
