"""Runs photos through a network in batches: the one forward pass of validation, evaluation and serving."""

from __future__ import annotations

from collections.abc import Callable
from typing import TYPE_CHECKING

import numpy as np
from scipy.special import softmax

if TYPE_CHECKING:
    import keras

BATCH_SIZE = 64


def predict_logits(model: keras.Model, images: np.ndarray) -> np.ndarray:
    """Return float32 logits (n, classes) for uint8 RGB images (n, height, width, 3), by a model still in training."""
    return forward(model.predict_on_batch, images, model.output_shape[-1])


def probabilities_of(logits: np.ndarray, temperature: float = 1.0) -> np.ndarray:
    """Return float64 probabilities (n, classes): the softmax of logits divided by a temperature."""
    return np.asarray(softmax((logits / temperature).astype(np.float64), axis=1))


def compiled_forward(model: keras.Model) -> Callable[[np.ndarray], np.ndarray]:
    """Return the model's forward pass as one graph for any number of photos: uint8 -> float32 logits.

    It avoids the overhead of `predict_on_batch`, which checks its input like a whole data set: too slow for one photo.
    The graph captures the current weights, with batch normalisation folded into the convolutions.
    """
    import tensorflow as tf

    from pipeline.models.folding import fold_batch_norm

    model = fold_batch_norm(model)
    signature = tf.TensorSpec((None, *model.input_shape[1:]), model.inputs[0].dtype)
    graph = tf.function(lambda images: model(images, training=False), input_signature=[signature])
    return lambda images: graph(images).numpy()


def forward(compiled: Callable[[np.ndarray], np.ndarray], images: np.ndarray, classes: int) -> np.ndarray:
    """Return float32 logits (n, classes) for uint8 RGB images (n, height, width, 3), in batches of `BATCH_SIZE`."""
    outputs = [
        np.asarray(compiled(np.asarray(images[start : start + BATCH_SIZE])))
        for start in range(0, len(images), BATCH_SIZE)
    ]
    return np.concatenate(outputs) if outputs else np.empty((0, classes), np.float32)
