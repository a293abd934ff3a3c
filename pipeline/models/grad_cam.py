"""Grad-CAM: where in a photo a classifier finds the evidence for a class.

Owns Grad-CAM (Selvaraju et al. 2017, "Grad-CAM: Visual Explanations from Deep Networks via Gradient-based
Localization", equations 1 and 2). Does not choose photos or classes, and does not draw (`plots`).
"""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np

if TYPE_CHECKING:
    import keras


def grad_cam(model: keras.Model, images: np.ndarray, class_indices: np.ndarray) -> np.ndarray:
    """Return float32 (n, height, width) in 0..1: how strongly each pixel supports the photo's given class.

    ``images`` are uint8 RGB (n, height, width, 3), passed in one batch; ``class_indices`` are int (n,).
    ``model`` is a functional classifier from such photos to logits with one GlobalAveragePooling2D, whose input is the
    feature maps that are weighted. Each photo's peak is 1; a photo without support for the class is all 0.
    """
    import keras
    import tensorflow as tf

    height, width = images.shape[1:3]
    if not len(images):
        return np.zeros((0, height, width), dtype=np.float32)
    pooled = _pooling_layer(model).input
    features = keras.Model(model.inputs[0], pooled)(images, training=False)
    head = keras.Model(pooled, model.outputs[0])
    # Only the head runs under the tape, so that a frozen backbone, which records nothing, does not matter.
    with tf.GradientTape() as tape:
        tape.watch(features)
        score = tf.gather(head(features, training=False), class_indices, axis=1, batch_dims=1)
    gradients = tf.cast(tape.gradient(score, features), tf.float32)
    importance = tf.reduce_mean(gradients, axis=(1, 2), keepdims=True)
    heat = tf.nn.relu(tf.reduce_sum(importance * tf.cast(features, tf.float32), axis=-1, keepdims=True))
    heat = tf.image.resize(heat, (height, width), method="bilinear")
    peak = tf.reduce_max(heat, axis=(1, 2, 3), keepdims=True)
    return tf.math.divide_no_nan(heat, peak).numpy()[..., 0]


def _pooling_layer(model: keras.Model) -> keras.layers.Layer:
    import keras

    poolings = [layer for layer in model.layers if isinstance(layer, keras.layers.GlobalAveragePooling2D)]
    if len(poolings) != 1:
        raise ValueError(f"Grad-CAM needs one GlobalAveragePooling2D among the model's layers, got {len(poolings)}")
    return poolings[0]
