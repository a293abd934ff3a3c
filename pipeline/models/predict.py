"""Photos through a network in batches: the one forward pass behind validation, evaluation and serving."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np

if TYPE_CHECKING:
    import keras

BATCH = 64


def predict_logits(model: keras.Model, images: np.ndarray, batch_size: int = BATCH) -> np.ndarray:
    """Return float32 logits (n, classes) for uint8 RGB images (n, height, width, 3)."""
    outputs = [
        np.asarray(model.predict_on_batch(np.asarray(images[start : start + batch_size])))
        for start in range(0, len(images), batch_size)
    ]
    return np.concatenate(outputs) if outputs else np.empty((0, model.output_shape[-1]), np.float32)


def softmax(logits: np.ndarray) -> np.ndarray:
    """Return float64 probabilities (n, classes) of logits; each row sums to 1."""
    exponents = np.exp(logits.astype(np.float64) - logits.max(axis=1, keepdims=True))
    return exponents / exponents.sum(axis=1, keepdims=True)
