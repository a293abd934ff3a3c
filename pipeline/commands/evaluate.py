"""``evaluate``: the only reader of the test split."""

from __future__ import annotations

from typing import TYPE_CHECKING

from pipeline.config import DataConfig, UserError
from pipeline.config import EvaluateConfig as CONFIG

if TYPE_CHECKING:
    import numpy as np
    import pandas as pd
    from matplotlib.figure import Figure

    from pipeline.data.store import Store
    from pipeline.serving import About, Classifier

GALLERY = 12  # photos with heat maps


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
        log_store(store, context="testing")
        tracking.set_tags({"model_version": version.number, "model_name": version.name} if version else {})
        _log_report(store, classifier)
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
            f"{store.source}, the model has {about.data_digest[:12]} "
            "(give their place with data=...; train again if they have changed)"
        )


def _log_report(store: Store, classifier: Classifier) -> None:
    """Log the contract's metrics, tables and pictures of the test split."""
    from pipeline import evaluation, plots, tracking

    labels, names, rows = store.labels("test"), store.class_names, store.rows("test")
    probabilities = classifier.probabilities(store.images("test"))
    predicted = probabilities.argmax(axis=1)
    metrics = evaluation.classification_metrics(labels, probabilities, names)
    low, high = evaluation.bootstrap_interval(predicted == labels, rows["group"].to_numpy())
    metrics |= {"accuracy_ci_low": low, "accuracy_ci_high": high}
    tracking.log_metrics({f"test_{name}": value for name, value in metrics.items()})
    confusion = evaluation.confusion_table(labels, predicted, names)
    reliability = evaluation.reliability_table(labels, probabilities)
    per_class = evaluation.per_class_table(labels, probabilities, names)
    predictions = evaluation.prediction_table(rows["path"].tolist(), labels, probabilities, names)
    for table, file in ((confusion, "confusion_matrix"), (reliability, "calibration"), (per_class, "per_class")):
        tracking.log_table(table, f"{file}.json")
    tracking.log_table(predictions, "predictions.csv")
    summary = f"{100 * metrics['accuracy']:.1f} % right (95 % interval {100 * low:.1f} to {100 * high:.1f} %)"
    figures = {
        "confusion_matrix": plots.draw_confusion(confusion, f"{len(labels)} test photos: {summary}"),
        "calibration": plots.draw_reliability(reliability, metrics["ece"], "Calibration on test photos"),
        "errors": plots.draw_errors(store.images("test"), predictions, "The most confident errors on test photos"),
        "grad_cam": _draw_grad_cam(classifier, store.images("test"), predictions),
    }
    for name, figure in figures.items():
        tracking.log_figure(figure, f"{name}.png")
    print(f"test: {len(labels)} photos, {summary}\n{per_class.round(3).to_string()}", flush=True)


def _draw_grad_cam(classifier: Classifier, images: np.ndarray, predictions: pd.DataFrame) -> Figure:
    """Where the network looks: half of the photos its most confident errors, half right answers of all confidences."""
    import numpy as np
    import pandas as pd

    from pipeline import plots
    from pipeline.models.grad_cam import grad_cam

    ranked = predictions.sort_values("probability", ascending=False, kind="stable")
    wrong, right = ranked[~ranked["correct"]].head(GALLERY // 2), ranked[ranked["correct"]]
    shown = pd.concat([wrong, right.iloc[:: max(1, len(right) // (GALLERY // 2))].head(GALLERY // 2)])
    class_indices = np.array([classifier.about.class_names.index(name) for name in shown["predicted"]])
    heat_maps = grad_cam(classifier.model, images[shown.index], class_indices)
    captions = [f"{row.label} → {row.predicted} {100 * row.probability:.0f} %" for row in shown.itertuples()]
    return plots.draw_heat_maps(images[shown.index], heat_maps, captions, "Grad-CAM of the predicted class")
