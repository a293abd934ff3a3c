"""Layers that are faster on a CPU: the network in training uses them where its saved twin has the built-in ones.

Weights, outputs and gradients equal those of the built-in layers up to rounding. Three things are slow in the built-in
ones (docs/log.md has the figures; fixing them doubles the speed of a ResNet-18):

- oneDNN's convolutions, above all their weight gradients, if the image has shrunk to a few pixels and has many
  channels. Such a convolution is computed as one large matrix product (im2col, Chellapilla et al. 2006).
- Keras composes batch normalisation from elementwise operations, each of which passes over the whole activation.
- TensorFlow computes additions and ReLUs of bfloat16 element by element, which takes twice as long as the memory
  access. As a 16-bit integer, a bfloat16 keeps its sign, so the maximum of the integer and 0 is the ReLU. A sum with
  its ReLU, and the ReLU's gradient, are compiled by XLA, which is slow with convolutions but not with these.
"""

from __future__ import annotations

from collections import Counter
from typing import Any

import keras
import tensorflow as tf


class FastConv2D(keras.layers.Conv2D):
    """``Conv2D`` by matrix product: forward and backward for `is_tiny` images, else only for the weight gradient."""

    def convolution_op(self, inputs: tf.Tensor, kernel: tf.Tensor) -> tf.Tensor:
        """Convolve, without the bias."""
        convolve = _convolve_by_product if is_tiny(self) else _convolve_by_convolution
        return convolve(inputs, tf.convert_to_tensor(kernel), self.strides[0], self.padding.upper())


class FastBatchNormalization(keras.layers.BatchNormalization):
    """``BatchNormalization`` over the last axis as one operation."""

    def call(self, inputs: tf.Tensor, training: bool | None = None, mask: tf.Tensor | None = None) -> tf.Tensor:
        """Normalise by the batch and update the moving averages; outside training, normalise by the averages."""
        if not (training and self.trainable):
            return super().call(inputs, training=training, mask=mask)
        outputs, mean, variance, *_ = tf.raw_ops.FusedBatchNormV3(
            x=inputs,
            scale=tf.cast(self.gamma, tf.float32),
            offset=tf.cast(self.beta, tf.float32),
            mean=tf.cast(self.moving_mean, tf.float32),
            variance=tf.cast(self.moving_variance, tf.float32),
            epsilon=self.epsilon,
            exponential_avg_factor=1.0,
        )
        count = tf.cast(tf.size(inputs) // inputs.shape[-1], tf.float32)
        self._update_average(self.moving_mean, mean)
        biased_variance = variance * (count - 1) / count  # Keras averages the variance without Bessel's correction
        self._update_average(self.moving_variance, biased_variance)
        return outputs

    def _update_average(self, average: keras.Variable, value: tf.Tensor) -> None:
        average.assign(average * self.momentum + value * (1 - self.momentum))


class FastReLU(keras.layers.Activation):
    """``Activation("relu")`` of bfloat16."""

    def call(self, inputs: tf.Tensor) -> tf.Tensor:
        """Return the ReLU of the inputs."""
        return _relu(inputs)


class FastAddReLU(keras.layers.Add):
    """``Add`` of two bfloat16 tensors and the ReLU that follows it."""

    def call(self, inputs: list[tf.Tensor]) -> tf.Tensor:
        """Return the ReLU of the sum."""
        return _relu_of_sum(*inputs)


def with_fast_layers(model: keras.Model) -> keras.Model:
    """Return a copy with equal weights in which layers of this module replace those that they speed up."""
    sums = _sums_followed_by_relu(model)

    def replace(layer: keras.layers.Layer) -> keras.layers.Layer:
        config, kind = layer.get_config(), type(layer)
        if kind is keras.layers.Conv2D and benefits_from_product(layer):
            kind = FastConv2D
        if kind is keras.layers.BatchNormalization and layer.axis in (-1, 3) and layer.center and layer.scale:
            kind = FastBatchNormalization
        if _is_relu(layer):
            if layer.input in sums:
                return kind.from_config(config | {"activation": "linear"})
            kind = FastReLU
        if layer.output in sums:
            kind = FastAddReLU
        return kind.from_config(config)

    copy = keras.models.clone_model(model, clone_function=replace)
    copy.set_weights(model.get_weights())
    return copy


def _is_relu(layer: keras.layers.Layer) -> bool:
    is_activation = type(layer) is keras.layers.Activation and layer.activation is keras.activations.relu
    return is_activation and layer.compute_dtype == "bfloat16"


def _sums_followed_by_relu(model: keras.Model) -> set[keras.KerasTensor]:
    """Return the outputs of additions that are used only by a ReLU."""
    uses = Counter(tensor for layer in model.layers for tensor in keras.tree.flatten(layer.input))
    before_relu = {layer.input for layer in model.layers if _is_relu(layer)}
    added = {layer.output for layer in model.layers if type(layer) is keras.layers.Add and len(layer.input) == 2}
    return {tensor for tensor in added & before_relu if uses[tensor] == 1}


def benefits_from_product(layer: keras.layers.Conv2D) -> bool:
    """Return whether the weight gradient is faster as a product: 1x1 kernels, or many channels and few pixels."""
    is_standard = layer.groups == 1 and layer.dilation_rate == (1, 1) and layer.data_format == "channels_last"
    height, width = layer.output.shape[1:3]
    is_pointwise = layer.kernel_size == (1, 1) and layer.compute_dtype != "float32"
    return is_standard and (is_pointwise or bool(layer.input.shape[-1] >= 256 and height * width <= 64))


def is_tiny(layer: keras.layers.Conv2D) -> bool:
    """Return whether the whole convolution is faster as a product."""
    height, width = layer.input.shape[1:3]
    return bool(layer.strides == (1, 1) and layer.input.shape[-1] >= 512 and height * width <= 16)


@tf.custom_gradient  # type: ignore[untyped-decorator]
def _relu(inputs: tf.Tensor) -> Any:
    outputs = tf.bitcast(tf.maximum(tf.bitcast(inputs, tf.int16), tf.constant(0, tf.int16)), tf.bfloat16)
    return outputs, lambda upstream: _where_positive(outputs, upstream)


@tf.custom_gradient  # type: ignore[untyped-decorator]
def _relu_of_sum(left: tf.Tensor, right: tf.Tensor) -> Any:
    outputs = _compiled_relu_of_sum(left, right)

    def gradient(upstream: tf.Tensor) -> tuple[tf.Tensor, tf.Tensor]:
        gradient_of_each = _where_positive(outputs, upstream)
        return gradient_of_each, gradient_of_each

    return outputs, gradient


@tf.function(jit_compile=True)  # type: ignore[untyped-decorator]
def _compiled_relu_of_sum(left: tf.Tensor, right: tf.Tensor) -> tf.Tensor:
    return tf.nn.relu(left + right)


@tf.function(jit_compile=True)  # type: ignore[untyped-decorator]
def _where_positive(values: tf.Tensor, upstream: tf.Tensor) -> tf.Tensor:
    return tf.where(values > 0, upstream, tf.zeros_like(upstream))


def _convolve_by_product(inputs: tf.Tensor, kernel: tf.Tensor, stride: int, padding: str) -> tf.Tensor:
    size, channels, filters = kernel.shape[1:]

    @tf.custom_gradient  # type: ignore[untyped-decorator]
    def convolve(inputs: tf.Tensor, kernel: tf.Tensor) -> Any:
        flat = tf.reshape(kernel, (-1, filters))
        columns = _columns(inputs, size, stride, padding)

        def gradient(upstream: tf.Tensor) -> tuple[tf.Tensor, tf.Tensor]:
            upstream = _rows(upstream)
            kernel_gradient = tf.matmul(_rows(columns), upstream, transpose_a=True)
            column_gradient = tf.matmul(upstream, flat, transpose_b=True)
            column_gradient = tf.reshape(column_gradient, (-1, *columns.shape[1:3], size, size, channels))
            input_gradient = _sum_columns(column_gradient, size // 2 if padding == "SAME" else 0)
            return input_gradient, tf.reshape(kernel_gradient, kernel.shape)

        return tf.tensordot(columns, flat, axes=1), gradient

    return convolve(inputs, kernel)


def _convolve_by_convolution(inputs: tf.Tensor, kernel: tf.Tensor, stride: int, padding: str) -> tf.Tensor:
    @tf.custom_gradient  # type: ignore[untyped-decorator]
    def convolve(inputs: tf.Tensor, kernel: tf.Tensor) -> Any:
        def gradient(upstream: tf.Tensor) -> tuple[tf.Tensor, tf.Tensor]:
            columns = _rows(_columns(inputs, kernel.shape[0], stride, padding))
            kernel_gradient = tf.matmul(columns, _rows(upstream), transpose_a=True)
            input_gradient = tf.nn.conv2d_transpose(upstream, kernel, tf.shape(inputs), stride, padding)
            return input_gradient, tf.reshape(kernel_gradient, kernel.shape)

        return tf.nn.conv2d(inputs, kernel, stride, padding), gradient

    return convolve(inputs, kernel)


def _rows(images: tf.Tensor) -> tf.Tensor:
    return tf.reshape(images, (-1, images.shape[-1]))


def _columns(inputs: tf.Tensor, size: int, stride: int, padding: str) -> tf.Tensor:
    """Return the receptive field of each output pixel: (n, height, width, size * size * channels)."""
    if padding == "SAME":  # with stride 1 and odd sizes, as in every ResNet
        inputs = tf.pad(inputs, [[0, 0], [size // 2, size // 2], [size // 2, size // 2], [0, 0]])
    height, width = (stride * ((side - size) // stride) + 1 for side in inputs.shape[1:3])
    shifted = [
        inputs[:, top : top + height : stride, left : left + width : stride]
        for top in range(size)
        for left in range(size)
    ]
    return tf.concat(shifted, axis=-1)


def _sum_columns(columns: tf.Tensor, padding: int) -> tf.Tensor:
    """Sum the column entries of each input pixel: the transpose of `_columns` with stride 1."""
    size = columns.shape[3]
    placed = [
        tf.pad(columns[:, :, :, top, left], [[0, 0], [top, size - 1 - top], [left, size - 1 - left], [0, 0]])
        for top in range(size)
        for left in range(size)
    ]
    height, width = (side + size - 1 - 2 * padding for side in columns.shape[1:3])
    return tf.add_n(placed)[:, padding : padding + height, padding : padding + width]
