"""``evaluate``: the only reader of the test split, and the gate before champion."""

from __future__ import annotations

from typing import TYPE_CHECKING

from pipeline.config import DataConfig, UserError
from pipeline.config import EvaluateConfig as CONFIG

if TYPE_CHECKING:
    from pipeline.promotion.assessment import Assessment, TestPhotos
    from pipeline.data.store.store import Store
    from pipeline.promotion.decision import Decision
    from pipeline.tracking.registry import Version
    from pipeline.serving.classifier import About

PLACES = ("data", "exclude")  # what is there must be the same, not where it is


def run(config: CONFIG) -> None:
    """Report on a model's test photos; make it champion if it is proven better than the present one."""
    from pipeline.tracking import registry
    from pipeline import tracking
    from pipeline.promotion.assessment import TestPhotos, assess
    from pipeline.experiment.photos import log_store, open_store
    from pipeline.serving.classifier import Classifier

    tracking.connect()
    with tracking.run("evaluate", f"evaluate {config.model_uri}", config):
        folder = registry.classifier_folder(config.model_uri)
        version = registry.version_of(config.model_uri)
        classifier = Classifier(folder)
        data_config = _data_config(config, classifier.about)
        store = open_store(data_config, thorough=True)
        _check_same_photos(store, classifier.about)
        log_store(store, context="testing")
        _name_run(config, version)
        photos = TestPhotos(store.images("test"), store.labels("test"), store.rows("test"), store.source)
        found = assess(classifier, folder, photos, config.corruption_photos)
        _log(found, classifier.about)
        print(f"test: {len(photos.labels)} photos, {found.summary}", flush=True)
        print(found.tables["per_class.json"].round(3).to_string(), flush=True)
        decision = _judge(config, version, classifier.about, photos, found, data_config.data)
        _publish(config, version, classifier.about, photos, found, decision)


def _data_config(config: CONFIG, about: About) -> DataConfig:
    """Return the model's own data flags; the place of the photos may have changed."""
    from pipeline.promotion.decision import data_config_of

    own = data_config_of(about)
    given = {name: getattr(config, name) for name in DataConfig.model_fields if getattr(config, name, None) is not None}
    for name in given.keys() - set(PLACES):
        if given[name] != getattr(own, name):
            raise UserError(
                f"{name} must be the model's, {getattr(own, name)!r}, got {given[name]!r} (leave the flag out: pixels "
                "and split belong to the model, and another split would test on photos that it was trained on)"
            )
    return own.model_copy(update={name: given.get(name, getattr(own, name)) for name in PLACES})


def _check_same_photos(store: Store, about: About) -> None:
    if store.digest != about.data_digest:
        raise UserError(
            f"the photos must be those that the model was trained from, got digest {store.digest[:12]} in "
            f"{store.source}, the model has {about.data_digest[:12]} "
            "(give their place with data=...; train again if they have changed)"
        )


def _name_run(config: CONFIG, version: Version | None) -> None:
    """Name the run after the version, and count that the test split is read."""
    from pipeline.tracking import registry
    from pipeline import tracking

    if version is None:
        return
    reads = registry.count_test_read(version)
    tracking.rename(f"evaluate {version.name} version {version.number}")
    tracking.set_tags({"model_version": version.number, "model_name": version.name})
    tracking.log_metrics({"test_reads": float(reads)})
    print(f"the test split is read for the {reads}. time for {version.name}", flush=True)


def _log(found: Assessment, about: About) -> None:
    """Log the contract's metrics, tables and pictures of the test split."""
    from pipeline import tracking

    tracking.log_metrics({f"test_{name}": value for name, value in found.metrics.items()})
    tracking.log_metrics({f"model_{name}": value for name, value in found.cost.items()})
    tracking.log_metrics({"temperature": about.temperature})
    tracking.log_json(found.cost, "cost.json")
    for file, table in found.tables.items():
        tracking.log_table(table, file)
    for file, figure in found.figures.items():
        tracking.log_figure(figure, file)


def _judge(
    config: CONFIG, version: Version | None, about: About, photos: TestPhotos, found: Assessment, data: str
) -> Decision:
    """Compare with the champion, promote if that is earned, and log both."""
    from pipeline.promotion import decision as promotion
    from pipeline import tracking

    if version is None:
        return promotion.Decision(False, "it is no version of a registered model")
    decision = promotion.decide(config, version, about, photos, found.probabilities, data)
    _log_difference(version, about, photos, found, decision)
    decision = promotion.carry_out(decision, version, about, photos, found.probabilities, tracking.environment())
    tracking.log_json(decision.as_json(), "promotion.json")
    tracking.set_tags({"promoted": str(decision.promoted).lower(), "promotion_reason": decision.reason})
    print(f"{version.name} version {version.number} {decision.in_words()}", flush=True)
    return decision


def _log_difference(version: Version, about: About, photos: TestPhotos, found: Assessment, decision: Decision) -> None:
    """Log what differs from the champion, where there is one that could be compared."""
    from pipeline import evaluation, plots, tracking

    if decision.champion is None or decision.comparison is None or decision.champion_probabilities is None:
        return
    before = evaluation.confusion_table(
        photos.labels, decision.champion_probabilities.argmax(axis=1), about.class_names
    )
    difference = evaluation.confusion_difference(found.tables["confusion_matrix.json"], before)
    title = f"Version {version.number} minus champion, version {decision.champion.number}: photos in each cell"
    figure = plots.draw_confusion_difference(difference, title)
    found.figures["confusion_difference.png"] = figure
    tracking.log_table(difference, "confusion_difference.json")
    tracking.log_figure(figure, "confusion_difference.png")
    tracking.log_metrics(
        {"champion_difference": decision.comparison.difference, "champion_p_value": decision.comparison.p_value}
    )


def _publish(
    config: CONFIG, version: Version | None, about: About, photos: TestPhotos, found: Assessment, decision: Decision
) -> None:
    """Write the page that shows all, and the model card: also as the run's note and the version's description."""
    from pipeline.tracking import registry
    from pipeline import tracking
    from pipeline.experiment.model_card import evaluation_card
    from pipeline.report import TestReport, test_report

    name = f"{version.name} version {version.number}" if version else config.model_uri
    report = TestReport(
        title=f"{name} on {len(photos.labels)} test photos",
        metrics=found.metrics,
        predictions=found.tables["predictions.csv"],
        images=photos.images,
        class_names=about.class_names,
        figures={file.removesuffix(".png"): figure for file, figure in found.figures.items()},
        tables={"metrics": found.tables["metrics.csv"]},
        answer=[f"This version {decision.in_words()}."],
        facts={
            "Parameters": f"{found.cost['parameters']:,.0f}",
            "GFLOPs a photo": f"{found.cost['gflops']:.2f}",
            "Milliseconds a photo": f"{found.cost['latency_ms']:.1f}",
            **tracking.run_facts(),
        },
    )
    tracking.log_text(test_report(report), "report.html")
    uri = version.uri if version else config.model_uri
    card = evaluation_card(uri, about, found, decision.in_words(), *tracking.open_run())
    tracking.log_text(card, "model_card.md")
    tracking.set_note(card)
    if version:
        registry.describe(version, card)
        registry.tag_version(version, {"test_accuracy": f"{found.metrics['accuracy']:.4f}"})
