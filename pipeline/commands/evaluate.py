"""``evaluate``: the only reader of the test split."""

from __future__ import annotations

from typing import TYPE_CHECKING

from pipeline.config import DataConfig, UserError
from pipeline.config import EvaluateConfig as CONFIG

if TYPE_CHECKING:
    import numpy as np

    from pipeline.data.store import Store
    from pipeline.serving import About, Classifier

GALLERY = 12  # photos in each gallery


def run(config: CONFIG) -> None:
    """Report on a model's test photos; make it champion if its registry name has none."""
    from pipeline import registry, tracking
    from pipeline.experiment import log_store, open_store
    from pipeline.serving import Classifier

    tracking.connect()
    with tracking.run("evaluate", f"evaluate {config.model_uri}", config):
        classifier = Classifier(registry.classifier_folder(config.model_uri))
        version = registry.version_of(config.model_uri)
        store = open_store(_data_config(config, classifier.about))
        _check_same_photos(store, classifier.about)
        log_store(store)
        probabilities = classifier.probabilities(store.images("test"))
        tracking.set_tags({"model_version": version.number, "model_name": version.name} if version else {})
        _log_report(store, probabilities)
        _log_galleries(store, classifier, probabilities)
        promoted = version is not None and registry.make_champion_if_none(version)
    if version and promoted:
        print(f"{version.name} version {version.number} is now {registry.CHAMPION}: there was none", flush=True)


def _data_config(config: CONFIG, about: About) -> DataConfig:
    """Return the model's own data flags; the place of the photos may have changed."""
    own = DataConfig(**{name: about.config[name] for name in DataConfig.model_fields})
    given = {name: getattr(config, name) for name in DataConfig.model_fields if getattr(config, name) is not None}
    for name in given.keys() - {"data"}:
        if given[name] != getattr(own, name):
            raise UserError(
                f"{name} must be the model's, {getattr(own, name)!r}, got {given[name]!r} (leave the flag out: pixels "
                "and split belong to the model, and another split would test on photos that it was trained on)"
            )
    return own.model_copy(update={"data": given.get("data", own.data)})


def _check_same_photos(store: Store, about: About) -> None:
    if store.digest != about.data_digest:
        raise UserError(
            f"the photos must be those that the model was trained from, got digest {store.digest[:12]} in "
            f"{store.source}, the model has {about.data_digest[:12]} (give their place with data=...; train again if they have changed)"
        )


def _log_report(store: Store, probabilities: np.ndarray) -> None:
    from pipeline import evaluation, plots, tracking

    labels, names, rows = store.labels("test"), store.class_names, store.rows("test")
    metrics = evaluation.classification_metrics(labels, probabilities, names)
    correct = probabilities.argmax(axis=1) == labels
    low, high = evaluation.bootstrap_interval(correct, rows["sha256"].to_numpy())
    metrics |= {"accuracy_ci_low": low, "accuracy_ci_high": high}
    tracking.log_metrics({f"test_{name}": value for name, value in metrics.items()})
    predictions = evaluation.prediction_table(rows["path"].tolist(), labels, probabilities, names)
    tracking.log_table(predictions, "predictions.csv")
    per_class = evaluation.per_class_table(labels, probabilities, names)
    tracking.log_table(per_class, "per_class.json")
    table = evaluation.confusion_table(labels, probabilities.argmax(axis=1), names)
    tracking.log_table(table, "confusion_matrix.json")
    title = f"Test photos: {metrics['accuracy']:.1%} right (95 % interval {low:.1%} to {high:.1%})"
    tracking.log_figure(plots.draw_confusion(table, title), "confusion_matrix.png")
    reliability = evaluation.reliability_table(labels, probabilities)
    tracking.log_table(reliability, "calibration.json")
    tracking.log_figure(
        plots.draw_reliability(reliability, metrics["ece"], "Calibration on test photos"), "calibration.png"
    )
    print(
        f"test: {len(labels)} photos, accuracy {metrics['accuracy']:.4f} "
        f"(95 % interval {low:.4f} to {high:.4f}), macro F1 {metrics['macro_f1']:.4f}\n{per_class.round(3).to_string()}",
        flush=True,
    )


def _log_galleries(store: Store, classifier: Classifier, probabilities: np.ndarray) -> None:
    """Log the most confident errors, and where the network looks on errors and on right answers."""
    import numpy as np

    from pipeline import evaluation, plots, tracking
    from pipeline.models.grad_cam import grad_cam

    labels, images, predicted = store.labels("test"), store.images("test"), probabilities.argmax(axis=1)
    table = evaluation.prediction_table(store.rows("test")["path"].tolist(), labels, probabilities, store.class_names)
    by_confidence = np.argsort(-probabilities.max(axis=1), kind="stable")
    wrong = [row for row in by_confidence if predicted[row] != labels[row]][:GALLERY]
    right = [row for row in by_confidence if predicted[row] == labels[row]]
    if wrong:
        title = "The most confident errors on test photos"
        tracking.log_figure(plots.draw_errors(images[wrong], table.iloc[wrong], title), "errors.png")
    shown = [*wrong[: GALLERY // 2], *right[:: max(1, len(right) // (GALLERY // 2))][: GALLERY // 2]]
    heat_maps = grad_cam(classifier.model, images[shown], predicted[shown])
    captions = [
        f"{row.label} → {row.predicted} {row.probability:.0%}" for row in table.iloc[shown].itertuples(index=False)
    ]
    title = "Where the network looks (Grad-CAM of the predicted class)"
    tracking.log_figure(plots.draw_heat_maps(images[shown], heat_maps, captions, title), "grad_cam.png")
