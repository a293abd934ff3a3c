"""Folds batch normalisation into the preceding convolutions, for inference only.

Outside training, batch normalisation multiplies each channel of a convolution's output by a constant and adds another:
the convolution can do that itself, with other weights and a bias (Jacob et al. 2018, arXiv 1712.05877, section 3.2).
TensorFlow then computes a convolution with its bias, ReLU and often the addition as one oneDNN operation.
"""

from __future__ import annotations

from collections import Counter
from typing import TYPE_CHECKING, Any

import numpy as np

if TYPE_CHECKING:
    import keras


def fold_batch_norm(model: keras.Model) -> keras.Model:
    """Return a copy of a functional or sequential model that computes the same outside training, in fewer operations.

    Nested models are folded, too. Batch normalisation that does not follow a convolution is kept. The outputs differ by
    rounding, about 1e-6 of their range in float32.
    """
    import keras

    if isinstance(model, keras.Sequential):
        model = keras.Model(model.inputs, model.outputs, name=model.name)
    foldable = _foldable(model)
    folded_names = {normalisation.name for normalisation in foldable.values()}

    def clone_layer(layer: keras.layers.Layer) -> keras.layers.Layer:
        if isinstance(layer, keras.Model):
            return fold_batch_norm(layer)
        with_bias = {"use_bias": True} if layer.name in foldable else {}
        return type(layer).from_config(layer.get_config() | with_bias)

    def connect(operation: Any, *inputs: Any, **kwargs: Any) -> Any:
        return inputs[0] if operation.name in folded_names else operation(*inputs, **kwargs)

    copy = keras.models.clone_model(model, clone_function=clone_layer, call_function=connect)
    for layer in copy.layers:
        if layer.name in foldable:
            layer.set_weights(_fold_weights(model.get_layer(layer.name), foldable[layer.name]))
        elif layer.weights and not isinstance(layer, keras.Model):
            layer.set_weights(model.get_layer(layer.name).get_weights())
    return copy


def _foldable(model: keras.Model) -> dict[str, keras.layers.Layer]:
    """Return each batch normalisation that is the only user of a convolution's output, by the convolution's name."""
    import keras

    uses = Counter(tensor for layer in model.layers for tensor in keras.tree.flatten(layer.input))
    uses.update(keras.tree.flatten(model.outputs))
    linear = {
        layer.output: layer.name
        for layer in model.layers
        if type(layer) is keras.layers.Conv2D and layer.activation is keras.activations.linear
    }
    return {
        linear[layer.input]: layer
        for layer in model.layers
        if type(layer) is keras.layers.BatchNormalization
        and layer.axis in (-1, 3)
        and layer.input in linear
        and uses[layer.input] == 1
    }


def _fold_weights(convolution: keras.layers.Conv2D, normalisation: keras.layers.Layer) -> list[np.ndarray]:
    """Return the kernel and bias that make the convolution include the normalisation after it."""

    def values(variable: Any, otherwise: float) -> np.ndarray:
        return np.asarray(otherwise if variable is None else variable.numpy(), np.float64)

    variance = values(normalisation.moving_variance, 1)
    factor = values(normalisation.gamma, 1) / np.sqrt(variance + normalisation.epsilon)
    shift = values(convolution.bias, 0) - values(normalisation.moving_mean, 0)
    return [values(convolution.kernel, 0) * factor, values(normalisation.beta, 0) + shift * factor]
