"""Predictions -> metric tables: the metrics, their intervals, and the tables behind every plot.

Owns the definition of each metric, and its value when it is undefined (NaN, never a made-up 0).
Does not own drawing (`plots`), logging, the model, or which split may be read.

Throughout, ``labels`` are int (n,) class indices, ``probabilities`` are float (n, classes) with rows
that sum to 1, column k belongs to ``class_names[k]``, and the predicted class is the row's argmax.
A class without photos in ``labels`` has no recall and no ROC curve: macro averages (balanced accuracy,
macro F1, ROC AUC) run over the classes that are present, and its own recall is NaN.
"""

from pipeline.evaluation.baseline import ALPHA as BASELINE_ALPHA
from pipeline.evaluation.baseline import Baseline, compare_with_baseline
from pipeline.evaluation.calibration import (
    calibration_error_by_chance,
    fit_temperature,
    reliability_table,
    with_temperature,
)
from pipeline.evaluation.comparison import Comparison, compare, confusion_difference, rejection_reason
from pipeline.evaluation.contents import PICTURES, TABLES
from pipeline.evaluation.corruptions import CORRUPTIONS, corrupt_images, corruption_table, mean_corrupted_accuracy
from pipeline.evaluation.coverage import coverage_at, coverage_table
from pipeline.evaluation.error_spending import error_left, error_of
from pipeline.evaluation.intervals import bootstrap_interval, interval_of_shares, interval_table
from pipeline.evaluation.metrics import (
    METRICS,
    classification_metrics,
    metric_name,
    metric_value,
    metrics_of,
    per_class_table,
)
from pipeline.evaluation.optimism import ExpectedAccuracy, expected_accuracy
from pipeline.evaluation.tables import (
    MOST_SQUARE,
    PREDICTION_COLUMNS,
    compact_counts,
    confused_pairs,
    confusion_rates,
    confusion_table,
    prediction_table,
)
from pipeline.evaluation.unknown import Rejection, rejection_at

__all__ = [
    "BASELINE_ALPHA", "CORRUPTIONS", "METRICS", "MOST_SQUARE", "PICTURES", "PREDICTION_COLUMNS", "TABLES", "Baseline",
    "Comparison", "ExpectedAccuracy", "Rejection", "bootstrap_interval", "calibration_error_by_chance",
    "classification_metrics", "compact_counts", "compare", "compare_with_baseline", "confused_pairs",
    "confusion_difference", "confusion_rates", "confusion_table", "corrupt_images", "corruption_table", "coverage_at",
    "coverage_table", "error_left", "error_of", "expected_accuracy", "fit_temperature", "interval_of_shares",
    "interval_table", "mean_corrupted_accuracy", "metric_name", "metric_value", "metrics_of", "per_class_table",
    "prediction_table", "rejection_at", "rejection_reason", "reliability_table", "with_temperature",
]  # fmt: skip
