"""Validates labels and predictions before anything is computed from them."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np


def validate_predictions(
    labels: np.ndarray, probabilities: np.ndarray, class_names: Sequence[str]
) -> tuple[np.ndarray, np.ndarray]:
    """Return int64 labels and float64 probabilities, or raise ValueError with the fault."""
    labels = validate_indices(labels, len(class_names))
    probabilities = np.asarray(probabilities, dtype=np.float64)
    shape = (len(labels), len(class_names))
    if not len(labels) or probabilities.shape != shape:
        raise ValueError(f"probabilities must have shape (n > 0, classes) = {shape}, got {probabilities.shape}")
    if not np.isfinite(probabilities).all():
        bad = int((~np.isfinite(probabilities).all(axis=1)).sum())
        raise ValueError(f"probabilities must be finite, got {bad} bad rows of {len(labels)} (did training diverge?)")
    sums = probabilities.sum(axis=1)
    if probabilities.min() < 0 or np.abs(sums - 1).max() > 1e-2:  # bfloat16 keeps 8 bits
        raise ValueError(
            "probabilities must be at least 0 and sum to 1 in every row, "
            f"got a minimum of {probabilities.min():.4g} and sums in {sums.min():.4g}..{sums.max():.4g} (logits?)"
        )
    return labels, probabilities


def validate_indices(indices: np.ndarray, classes: int) -> np.ndarray:
    """Return int64 class indices, or raise ValueError with the fault."""
    indices = np.asarray(indices)
    if indices.ndim != 1 or (indices.size and indices.dtype.kind not in "iu"):
        raise ValueError(f"class indices must be integers of shape (n,), got {indices.dtype} {indices.shape}")
    if indices.size and not (indices.min() >= 0 and indices.max() < classes):
        raise ValueError(f"class indices must lie in 0..{classes - 1}, got {indices.min()}..{indices.max()}")
    return indices.astype(np.int64)
