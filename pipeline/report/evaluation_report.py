"""The report of an evaluation: whether the model is good enough, how certain that is, and where it fails."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field

import numpy as np
import pandas as pd
from matplotlib.figure import Figure

from pipeline.evaluation import PICTURES
from pipeline.report.failures import (
    class_section,
    describe_weakest_class,
    enlarge,
    error_photos_section,
    heat_table,
)
from pipeline.report.inline_svg import narrow_svg
from pipeline.report.page import Page, Photo, Picture, Section, Table, render

CHARTS = {"calibration": "Can its probabilities be trusted?", "coverage": "What it gains by refusing uncertain photos"}
"""Figure -> heading, in the order of the page."""

MOST_METRICS = 20  # rows of the table of metrics that are not folded


@dataclass(frozen=True)
class EvaluationReport:
    """The content of the page.

    Attributes:
        title: of the page.
        answer: what is read first: the verdict, the comparisons, what to do next.
        findings: further sentences of the answer, after those on the weakest class and on the probabilities.
        metrics: without a prefix.
        intervals: every metric with its interval: metric, value, low, high.
        predictions: `evaluation.prediction_table`.
        images: the photos of its rows.
        class_names: the model's classes.
        figures: those of `CHARTS`, drawn.
        corruptions: `evaluation.corruption_table`, if photos were corrupted.
        difference: `evaluation.confusion_difference` against the champion, if there is another one.
        heat_maps: pairs of a photo and its heat map side by side, uint8 RGB, and what each shows.
        unmarked: how many of these heat maps are without any heat.
        facts: what identifies model, data and run.
    """

    title: str
    answer: Sequence[str]
    metrics: Mapping[str, float]
    intervals: pd.DataFrame
    predictions: pd.DataFrame
    images: np.ndarray
    class_names: Sequence[str]
    findings: Sequence[str] = ()
    figures: Mapping[str, Figure] = field(default_factory=dict)
    corruptions: pd.DataFrame | None = None
    difference: pd.DataFrame | None = None
    heat_maps: Sequence[tuple[np.ndarray, str]] = ()
    unmarked: int = 0
    facts: Mapping[str, str] = field(default_factory=dict)


def evaluation_report(report: EvaluationReport) -> str:
    """Return the page of an evaluation."""
    answer = [
        *report.answer,
        describe_weakest_class(report.predictions, report.class_names),
        _describe_calibration(report),
        *report.findings,
    ]
    sections = [
        class_section(report.predictions, report.class_names, "test", report.intervals),
        error_photos_section(report.images, report.predictions),
        *_difference_section(report.difference),
        *(_chart_section(name, report.figures[name]) for name in CHARTS if name in report.figures),
        *_corruption_section(report.corruptions),
        *_heat_map_section(report.heat_maps, report.unmarked),
        _metrics_section(report.intervals),
    ]
    return render(Page(report.title, answer, report.facts, sections))


def _describe_calibration(report: EvaluationReport) -> str:
    probabilities, accuracy = report.predictions["probability"], report.predictions["correct"].mean()
    mean_probability = probabilities.mean()
    chance = 1.96 * np.sqrt((probabilities * (1 - probabilities)).mean() / len(probabilities))
    said = f"its mean confidence is {100 * mean_probability:.0f} %, and {100 * accuracy:.0f} % of its labels are right"
    if abs(mean_probability - accuracy) > max(chance, 0.02):
        bias = "are too high" if mean_probability > accuracy else "are too low"
        return f"Its probabilities {bias}: {said}."
    error, by_chance = report.metrics.get("ece", 0.0), report.metrics.get("ece_by_chance", 1.0)
    if error > by_chance:
        return (
            f"Its probabilities are right on average ({100 * mean_probability:.0f} %), but some are too high and "
            f"others too low: by {100 * error:.1f} points on average, where chance explains {100 * by_chance:.1f}."
        )
    return f"Its probabilities can be trusted: {said}."


def _chart_section(name: str, figure: Figure) -> Section:
    return Section(CHARTS[name], pictures=[Picture(narrow_svg(figure), PICTURES[f"{name}.png"])])


def _difference_section(difference: pd.DataFrame | None) -> list[Section]:
    if difference is None:
        return []
    counts = difference.to_numpy()
    better = np.where(np.eye(len(counts), dtype=bool), counts, -counts)
    caption = "Difference from the champion, in photos. Blue is better, orange is worse."
    table = heat_table(difference, better / max(1, np.abs(better).max()), caption, "most changed", "{:+,}")
    return [Section("What changed against the champion", tables=[table])]


def _corruption_section(corruptions: pd.DataFrame | None) -> list[Section]:
    if corruptions is None:
        return []
    clean, photos = float(corruptions["accuracy"].iloc[0]), int(corruptions["photos"].iloc[0])
    table = corruptions.iloc[1:].pivot_table(index="corruption", columns="strength", values="accuracy", sort=False)
    table = table.loc[table.mean(axis=1).sort_values(kind="stable").index]
    lost = np.clip((clean - table.to_numpy()) / max(clean, 1e-9), 0, 1)
    frame = table.map(lambda accuracy: f"{100 * accuracy:.0f}")
    frame.insert(0, "corruption", table.index)
    text = (
        f"It labels {100 * clean:.0f} % of {photos} unchanged photos correctly. The table has the percentage that "
        "remains for corrupted photos, from slightly (1) to heavily (5) corrupted; the worst comes first."
    )
    return [
        Section(
            "How it copes with corrupted photos", text, tables=[Table(frame, caption="Accuracy in %", shades=-lost)]
        )
    ]


def _heat_map_section(heat_maps: Sequence[tuple[np.ndarray, str]], unmarked: int) -> list[Section]:
    if not heat_maps:
        return []
    photos = [
        Photo(enlarge(pair), caption, f"A photo and the evidence for the label in it: {caption}")
        for pair, caption in heat_maps
    ]
    text = (
        "Beside each photo, yellow marks the strongest evidence for the model's label (Grad-CAM). Caption: true class "
        "→ label and its probability. If yellow is on the background, photos with other backgrounds would help."
    )
    note = (
        f"In {unmarked} of these {len(heat_maps)} photos nothing is marked: no part of them raised the score of the "
        "label, as is common for a model that has learned little."
    )
    return [Section("Where it looks", text, photos=photos, wide_photos=True, note=note if unmarked else "")]


def _metrics_section(intervals: pd.DataFrame) -> Section:
    folded = f"All {len(intervals)} metrics" if len(intervals) > MOST_METRICS else ""
    frame = intervals.rename(columns={"low": "95 % from", "high": "to"})
    text = "By their names in MLflow, without the prefix test_."
    table = Table(frame, dict.fromkeys(frame.columns[1:], "{:.3f}"), folded=folded)
    return Section("All metrics", text, tables=[table])
