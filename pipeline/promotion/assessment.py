"""Assessment of one model on the test photos: every metric, table and picture except the comparison with the champion.

Values in, values out: the caller logs them, and reads the test split.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from pathlib import Path
from typing import NamedTuple

import numpy as np
import pandas as pd
from matplotlib.figure import Figure

from pipeline import evaluation, plots
from pipeline.config import DamagedModel
from pipeline.data.store import HeldOutPhotos
from pipeline.evaluation import MOST_SQUARE
from pipeline.plots.style import percent
from pipeline.serving import MODEL_FILE, Classifier

GALLERY = 12  # photos with heat maps
SURE = 0.95  # the accuracy for which the coverage is named
MOST_NAMED = 5  # classes, in a sentence


class HeatMaps(NamedTuple):
    """Photos, uint8 RGB (n, height, width, 3), the heat of what speaks for their labels, in 0..1, and captions."""

    images: np.ndarray
    heats: np.ndarray
    captions: list[str]

    @property
    def pairs(self) -> list[tuple[np.ndarray, str]]:
        """Each photo beside itself under its heat map, and its caption."""
        return [
            (np.concatenate([photo, plots.overlay(photo, heat)], axis=1), caption)
            for photo, heat, caption in zip(*self, strict=True)
        ]

    @property
    def unmarked(self) -> int:
        """The number of photos without any heat."""
        return int((~self.heats.any(axis=(1, 2))).sum())


@dataclass(frozen=True)
class Assessment:
    """The results of a model on its test photos: metrics, tables and pictures by file name, and further sentences."""

    probabilities: np.ndarray
    metrics: dict[str, float]
    intervals: pd.DataFrame
    tables: dict[str, pd.DataFrame]
    figures: dict[str, Figure]
    cost: dict[str, float]
    baseline: evaluation.Baseline
    heat_maps: HeatMaps
    findings: list[str] = field(default_factory=list)

    @property
    def summary(self) -> str:
        """The accuracy with its interval, as text."""
        value, low, high = 100 * self.intervals.loc["accuracy", ["value", "low", "high"]].to_numpy(np.float64)
        return f"{value:.1f} % right (95 % interval {low:.1f} to {high:.1f} %)"

    @property
    def warnings(self) -> list[str]:
        """Sentences on what makes the model useless, for some classes or for all."""
        baseline, found = self.baseline, []
        if not baseline.is_beaten:
            found.append(f"It is not proven better than chance: {baseline.description}.")
        if never := baseline.never_recognised:
            more = f" and {len(never) - MOST_NAMED} more" if len(never) > MOST_NAMED else ""
            found.append(f"It recognises no test photo of {', '.join(never[:MOST_NAMED])}{more}.")
        return found


def assess(classifier: Classifier, folder: Path, photos: HeldOutPhotos, corruption_photos: int) -> Assessment:
    """Judge a classifier, which was read from ``folder``, by its test photos.

    Everything is of the model as it is served, except ``accuracy_tta``, which averages mirrored photos, and is left out
    where a mirrored photo means something else.

    Raises:
        DamagedModel: the network gives numbers that are not finite.
    """
    from pipeline.models.cost import network_cost
    from pipeline.models.predict import probabilities_of

    names, labels = classifier.about.class_names, photos.labels
    logits = classifier.logits(photos.images)
    if not np.isfinite(logits).all():
        bad = int((~np.isfinite(logits).all(axis=1)).sum())
        raise DamagedModel(f"a model's logits must be finite, got other values for {bad} of {len(logits)} photos")
    before, probabilities = probabilities_of(logits), probabilities_of(logits, classifier.about.temperature)
    intervals = evaluation.interval_table(labels, probabilities, photos.groups, names)
    metrics = evaluation.classification_metrics(labels, probabilities, names)
    for name in evaluation.metrics_of(len(names)):
        metrics |= {f"{name}_ci_{end}": float(intervals.loc[name, end]) for end in ("low", "high")}
    metrics |= {f"{name}_uncalibrated": evaluation.metric_value(name, labels, before) for name in ("ece", "log_loss")}
    metrics["ece_by_chance"] = evaluation.calibration_error_by_chance(probabilities)
    if classifier.about.config.get("horizontal_flip", True):
        averaged = mean_with_mirrored(classifier, photos.images, probabilities)
        metrics["accuracy_tta"] = evaluation.metric_value("accuracy", labels, averaged)
    baseline = evaluation.compare_with_baseline(labels, probabilities, names)
    metrics["baseline_accuracy"] = baseline.baseline_accuracy
    tables = _tables(photos, before, probabilities, names, intervals)
    metrics["coverage_at_95"] = evaluation.coverage_at(tables["coverage.csv"], SURE)
    if corruption_photos:
        shown = _sample(len(labels), corruption_photos)
        tables["corruptions.csv"] = evaluation.corruption_table(
            classifier.probabilities, photos.images[shown], labels[shown], photos.groups[shown]
        )
        metrics["corrupted_accuracy"] = evaluation.mean_corrupted_accuracy(tables["corruptions.csv"])
    cost = network_cost(classifier.model, folder / MODEL_FILE)
    heat_maps = _heat_maps(classifier, photos.images, tables["predictions.csv"])
    found = Assessment(probabilities, metrics, intervals, tables, {}, cost, baseline, heat_maps)
    found.figures.update(_figures(found, classifier.about.temperature, photos))
    return found


def mean_with_mirrored(classifier: Classifier, images: np.ndarray, probabilities: np.ndarray) -> np.ndarray:
    """Return the mean of photos' ``probabilities`` and those of their mirror images (test-time augmentation)."""
    return (probabilities + classifier.probabilities(images[:, :, ::-1])) / 2


def _tables(
    photos: HeldOutPhotos, before: np.ndarray, after: np.ndarray, names: tuple[str, ...], intervals: pd.DataFrame
) -> dict[str, pd.DataFrame]:
    labels = photos.labels
    confusion = evaluation.confusion_table(labels, after.argmax(axis=1), names)
    return {
        "metrics.csv": intervals.reset_index(),
        "predictions.csv": evaluation.prediction_table(photos.rows["path"].tolist(), labels, after, names),
        "per_class.json": evaluation.per_class_table(labels, after, names),
        "confusion_matrix.json": confusion,
        **({"confusion_rates.json": evaluation.confusion_rates(confusion)} if len(names) <= MOST_SQUARE else {}),
        "confused_pairs.csv": evaluation.confused_pairs(confusion),
        "calibration.json": evaluation.reliability_table(labels, after),
        "calibration_before.json": evaluation.reliability_table(labels, before),
        "coverage.csv": evaluation.coverage_table(labels, after),
    }


def _figures(found: Assessment, temperature: float, photos: HeldOutPhotos) -> dict[str, Figure]:
    tables, metrics, said = found.tables, found.metrics, f"{len(photos.labels)} test photos"
    drawn = {
        "confusion_matrix.png": plots.draw_confusion(tables["confusion_matrix.json"], f"{said}: {found.summary}"),
        "per_class.png": plots.draw_per_class(found.intervals, tables["per_class.json"], f"Classes on {said}"),
        "calibration.png": plots.draw_reliability(
            tables["calibration.json"],
            metrics["ece"],
            f"Calibration on {said}, temperature {temperature:.2f}",
            tables["calibration_before.json"] if temperature != 1 else None,
        ),
        "coverage.png": plots.draw_coverage(tables["coverage.csv"], f"Refusing unsure photos, {said}"),
        "errors.png": plots.draw_errors(
            photos.images, tables["predictions.csv"], "The most confident errors on test photos"
        ),
        "grad_cam.png": plots.draw_heat_maps(*found.heat_maps, "Grad-CAM of the predicted class"),
    }
    if "corruptions.csv" in tables:
        table = tables["corruptions.csv"]
        title = f"Accuracy on {table['photos'].iloc[0]} corrupted test photos, with 95 % intervals"
        drawn["corruptions.png"] = plots.draw_corruptions(table, title)
    return drawn


def _heat_maps(classifier: Classifier, images: np.ndarray, predictions: pd.DataFrame) -> HeatMaps:
    """Where the network looks: half of the photos its most confident errors, half right answers of all confidences."""
    from pipeline.models.grad_cam import grad_cam

    ranked = predictions.sort_values("probability", ascending=False, kind="stable")
    wrong, right = ranked[~ranked["correct"]].head(GALLERY // 2), ranked[ranked["correct"]]
    shown = pd.concat([wrong, right.iloc[:: max(1, len(right) // (GALLERY // 2))].head(GALLERY // 2)])
    class_indices = np.array([classifier.about.class_names.index(name) for name in shown["predicted"]])
    heats = np.asarray(grad_cam(classifier.model, images[shown.index], class_indices))
    captions = [f"{row.label} → {row.predicted} {percent(row.probability)}" for row in shown.itertuples()]
    return HeatMaps(np.asarray(images[shown.index]), heats, captions)


def _sample(count: int, most: int) -> np.ndarray:
    """Return at most ``most`` of ``count`` row numbers, drawn once and for all, rising."""
    return np.sort(np.random.default_rng(0).permutation(count)[:most])
