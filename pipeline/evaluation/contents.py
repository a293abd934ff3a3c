"""The artifacts of an evaluation run, by file name: the one list for the report and the model card."""

from __future__ import annotations

PICTURES = {
    "confusion_matrix.png": "Confusion matrix of the test photos: counts, and shares of each true class",
    "confusion_difference.png": "Signed difference of the confusion matrix from the champion's, in photos",
    "per_class.png": "Precision, recall and F1 of every class with 95 % intervals",
    "calibration.png": "Reliability diagram before and after the temperature",
    "coverage.png": "Accuracy on the answered photos, against their share, when uncertain photos are refused",
    "corruptions.png": "Accuracy under named corruptions at five strengths",
    "errors.png": "The most confident errors on test photos",
    "grad_cam.png": "Grad-CAM heat maps on wrong and on right answers",
}
"""File -> description, usable as an alt text. ``confusion_difference.png`` exists only with another champion,
``corruptions.png`` only if ``corruption_photos`` is not 0."""

TABLES = {
    "metrics.csv": "metric, value, low, high: every metric, and precision, recall and F1 by class, with 95 % intervals",
    "predictions.csv": "one row per test photo: path, label, predicted, probability, correct, a column per class; of "
    "over 100 classes their columns are in predictions.parquet alone",
    "per_class.json": "precision, recall, f1 and support by class",
    "confusion_matrix.json": "photos, by true and predicted class; of over 100 classes a row per cell that is not 0",
    "confused_pairs.csv": "true, predicted, photos, share: which class is mistaken for which, most frequent first",
    "confusion_rates.json": "shares of the true class",
    "confusion_difference.json": "difference from the champion's matrix, in photos",
    "calibration.json": "the reliability diagram's bins, with the temperature",
    "calibration_before.json": "the same without the temperature",
    "coverage.csv": "threshold, coverage, accuracy, photos",
    "corruptions.csv": "corruption, strength, accuracy, low, high, photos",
    "cost.json": "parameters, size_mb, gflops, latency_ms and the like, as name -> number",
    "recall_changes.csv": "class, recall_change against the champion, p_value times the classes, is_worse; worst first",
    "promotion.json": "decision, promoted, and the comparison with the champion",
    "model_card.md": "the model card, as in the registry",
}
"""File -> its columns or content; the .json tables are written with orient=split."""
