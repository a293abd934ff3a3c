"""The command ``evaluate``: the only reader of the test split, and the gate before champion."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

import pandas as pd

from pipeline import evaluation, plots, tracking
from pipeline.config import DataConfig, EvaluateConfig, UserError
from pipeline.experiment import data_config_of, log_report, log_store, open_photos_of_today
from pipeline.promotion.assessment import Assessment, assess
from pipeline.promotion.decision import Decision, carry_out, decide
from pipeline.promotion.model_card import evaluation_card, sentence
from pipeline.promotion.other_classes import ask_about_other_classes
from pipeline.promotion.unseen import JudgedPhotos, judged_photos
from pipeline.promotion.verdict import evidence, next_step, verdict
from pipeline.report import EvaluationReport, Result, evaluation_report
from pipeline.serving import About, Classifier
from pipeline.tracking import registry
from pipeline.tracking.registry import FetchedModel, Version

MOST_PRINTED = 25  # classes
PLACES = ("data", "exclude")  # what is there must be the same, not where it is


@dataclass(frozen=True, repr=False)
class EvaluationResult(Result):
    """The result of ``evaluate``.

    Attributes:
        metrics: of the test photos, by name: accuracy, balanced_accuracy, macro_f1, log_loss, ece and more.
        intervals: value, low and high of the metrics that have a 95 % interval.
        classes: precision, recall, f1 and support of every class.
        confusion: test photos by true class (rows) and answer (columns).
        predictions: one row per test photo.
        promoted: whether the version is champion now.
        reason: why, or why not.
    """

    metrics: Mapping[str, float]
    intervals: pd.DataFrame
    classes: pd.DataFrame
    confusion: pd.DataFrame
    predictions: pd.DataFrame
    promoted: bool
    reason: str

    @property
    def summary(self) -> str:
        """The accuracy with its interval, and the decision."""
        value, low, high = 100 * self.intervals.loc["accuracy", ["value", "low", "high"]].to_numpy(float)
        decision = "champion" if self.promoted else "not champion"
        return (
            f"{value:.1f} % of {len(self.predictions)} test photos right (95 % interval {low:.1f} to {high:.1f} %), "
            f"{decision}, as {self.reason}: {self.model_uri}"
        )

    @property
    def table(self) -> pd.DataFrame:
        """The classes."""
        return self.classes


def run_evaluation(config: EvaluateConfig) -> EvaluationResult:
    """Report on a model's test photos; make it champion if it is proven better than the present one."""
    tracking.connect()
    with tracking.run("evaluate", f"evaluate {config.model_uri}", config) as run_id:
        model = registry.fetch_model(config.model_uri)  # what an alias means is found out here, once
        classifier = Classifier(model.folder)
        _check_flags(config, classifier.about)
        places = {name: getattr(config, name) for name in PLACES}
        store = open_photos_of_today(classifier.about, places, thorough=True)
        held_out = store.held_out_photos()
        judged = judged_photos(classifier.about, model.folder, held_out)
        log_store(store, context="testing")
        if model.version:
            _name_run(model.version)
        for note in judged.notes:
            print(note, flush=True)
        assessment = assess(classifier, model.folder, judged.photos, config.corruption_photos)
        others = ask_about_other_classes(classifier, held_out, assessment.probabilities)
        if others:
            assessment.metrics.update(others.metrics)
            assessment.findings.append(others.description)
        _log(assessment, classifier.about)
        print(f"test: {len(judged.photos.labels)} photos, {assessment.summary}. {verdict(assessment)}", flush=True)
        _print_classes(assessment.tables["per_class.json"])
        for finding in assessment.findings:
            print(finding, flush=True)
        for warning in assessment.warnings:
            print(f"WARNING: {warning}", flush=True)
        data = config.data or data_config_of(classifier.about).data
        decision = _decide(config, model.version, classifier.about, judged, assessment, data)
        place = _publish(config.model_uri, model, classifier.about, judged, assessment, decision)
    print(f"  read the report:   {place}")
    if model.version:
        flag = "" if decision.promoted else f" --model_uri={model.version.uri}"
        print(f"  compare the runs:  {tracking.runs_page(registry.experiment_of(model.version))}")
        if assessment.baseline.is_beaten:
            print(f"  use the model:     python -m pipeline predict --photos=FOLDER{flag} (or demo, serve, export)")
    tables = assessment.tables
    return EvaluationResult(
        model.uri,
        run_id,
        assessment.metrics,
        assessment.intervals,
        tables["per_class.json"],
        tables["confusion_matrix.json"],
        tables["predictions.csv"],
        decision.promoted,
        decision.reason,
        report=place,
        figures={file.removesuffix(".png"): figure for file, figure in assessment.figures.items()},
    )


def _print_classes(classes: pd.DataFrame) -> None:
    """Print the classes of a table of precision, recall, f1 and support, of many only the weakest."""
    shown = classes
    if len(classes) > MOST_PRINTED:
        shown = classes.sort_values("recall", kind="stable").head(MOST_PRINTED)
        print(f"the {MOST_PRINTED} weakest of {len(classes)} classes:")
    print(shown.round(3).to_string(), flush=True)


def _check_flags(config: EvaluateConfig, about: About) -> None:
    """Raise UserError if a given data flag differs from the model's; only the places of its photos may."""
    own = data_config_of(about)
    for name in DataConfig.model_fields:
        given = getattr(config, name, None)
        if name not in PLACES and given is not None and given != getattr(own, name):
            raise UserError(
                f"{name} must be the model's, {getattr(own, name)!r}, got {given!r} (leave the flag out: pixels "
                "and split belong to the model, and another split would test on photos that it was trained on)"
            )


def _name_run(version: Version) -> None:
    """Name the run after the version, and count that the test split is read."""
    reads = registry.count_test_read(version)
    tracking.rename(f"evaluate {version.name} version {version.number}")
    tracking.set_tags({"model_version": version.number, "model_name": version.name})
    tracking.log_metrics({"test_reads": float(reads)})
    print(f"test split read: {reads} time{'s' if reads > 1 else ''} for {version.name}", flush=True)


def _log(assessment: Assessment, about: About) -> None:
    """Log the contract's metrics, tables and pictures of the test split."""
    tracking.log_metrics({f"test_{name}": value for name, value in assessment.metrics.items()})
    tracking.log_metrics({f"model_{name}": value for name, value in assessment.cost.items()})
    tracking.log_metrics({"temperature": about.temperature})
    tracking.log_json(assessment.cost, "cost.json")
    tables = dict(assessment.tables)
    tables["confusion_matrix.json"] = evaluation.compact_counts(tables["confusion_matrix.json"])
    if len(about.class_names) > evaluation.MOST_SQUARE:  # as text, a thousand probabilities take 22 kB a photo
        tables["predictions.parquet"] = tables["predictions.csv"]
        tables["predictions.csv"] = tables["predictions.csv"][list(evaluation.PREDICTION_COLUMNS)]
    for file, table in tables.items():
        tracking.log_table(table, file)
    for file, figure in assessment.figures.items():
        tracking.log_figure(figure, file, with_preview=file == "confusion_matrix.png")


def _decide(
    config: EvaluateConfig,
    version: Version | None,
    about: About,
    judged: JudgedPhotos,
    assessment: Assessment,
    data: str,
) -> Decision:
    """Compare with the champion, promote if that is earned, and log both."""
    if version is None:
        return Decision(False, "it is not a version of a registered model")
    decision = decide(config, version, about, judged, assessment.probabilities, data)
    _log_difference(version, assessment, decision, config.recall_tolerance)
    decision = carry_out(decision, version, about, judged.photos, assessment.probabilities, tracking.environment())
    tracking.log_json(decision.as_json(), "promotion.json")
    tracking.set_tags({"promoted": str(decision.promoted).lower(), "promotion_reason": decision.reason})
    print(f"{version.name} version {version.number} {decision.description}", flush=True)
    for note in decision.notes:
        print(f"  {note}", flush=True)
    return decision


def _log_difference(version: Version, assessment: Assessment, decision: Decision, tolerance: float) -> None:
    """Log what differs from the champion, where there is one that could be compared."""
    difference = decision.confusion_difference
    if difference is None or decision.champion is None or decision.comparison is None:
        return
    title = f"Version {version.number} minus champion, version {decision.champion.number}: photos in each cell"
    figure = plots.draw_confusion_difference(difference, title)
    assessment.figures["confusion_difference.png"] = figure
    tracking.log_table(decision.comparison.class_table(tolerance), "recall_changes.csv")
    tracking.log_table(evaluation.compact_counts(difference), "confusion_difference.json")
    tracking.log_figure(figure, "confusion_difference.png")
    tracking.log_metrics(
        {"champion_difference": decision.comparison.difference, "champion_p_value": decision.comparison.p_value}
    )


def _publish(
    model_uri: str,
    model: FetchedModel,
    about: About,
    judged: JudgedPhotos,
    assessment: Assessment,
    decision: Decision,
) -> str:
    """Write the page that shows all, and the model card: also as the run's note and the version's description.

    Returns:
        Where to open the page.
    """
    version, photos = model.version, judged.photos
    name = f"{version.name} version {version.number}" if version else model_uri
    report = EvaluationReport(
        title=f"{name} on {len(photos.labels)} test photos",
        answer=[
            verdict(assessment),
            evidence(assessment, len(photos.labels), judged.claim),
            *assessment.warnings,
            f"This version {decision.description}.",
            next_step(assessment, decision),
        ],
        findings=[*map(sentence, (*decision.notes, *judged.notes)), *assessment.findings],
        metrics=assessment.metrics,
        intervals=assessment.tables["metrics.csv"],
        predictions=assessment.tables["predictions.csv"],
        images=photos.images,
        class_names=about.class_names,
        figures={file.removesuffix(".png"): figure for file, figure in assessment.figures.items()},
        corruptions=assessment.tables.get("corruptions.csv"),
        difference=decision.confusion_difference,
        heat_maps=assessment.heat_maps.pairs,
        unmarked=assessment.heat_maps.unmarked,
        facts={
            "Parameters": f"{assessment.cost['parameters']:,.0f}",
            "GFLOPs per photo": f"{assessment.cost['gflops']:.2f}",
            "Milliseconds per photo": f"{assessment.cost['latency_ms']:.1f}",
            **tracking.run_facts(),
        },
    )
    place = log_report(evaluation_report(report), f"evaluate-{name}")
    uri = version.uri if version else model_uri
    card = evaluation_card(uri, about, assessment, judged, decision, *tracking.open_run())
    tracking.log_text(card, "model_card.md")
    tracking.set_note(card)
    if version:
        registry.set_description(version, card)
        registry.tag_version(version, {registry.TEST_ACCURACY: f"{assessment.metrics['accuracy']:.4f}"})
    return place
