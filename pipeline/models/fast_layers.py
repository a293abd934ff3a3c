"""The same layers, faster on a CPU: what the network in training uses where its saved twin has the built-in ones.

Weights, outputs and gradients are those of the built-in layers but for rounding. Three things are slow in the built-in
ones (docs/log.md has the figures; together they double the speed of a ResNet-18):

- oneDNN's convolutions, above all their weight gradients, where the image has shrunk to a few pixels and the channels
  are many. There a convolution is one large matrix product (im2col, Chellapilla et al. 2006).
- Keras composes batch normalisation of elementwise operations, each of which passes over the whole activation.
- TensorFlow's additions and ReLUs of bfloat16 go number by number, twice as long as memory takes. The bits of a
  bfloat16 are those of a 16-bit integer that is negative if the number is, so the greater of it and 0 is the ReLU; and
  a sum with its ReLU, and the ReLU's gradient, are compiled by XLA, which is slow with convolutions but not with these.
"""

from __future__ import annotations

from collections import Counter
from typing import Any

import keras
import tensorflow as tf


class FastConv2D(keras.layers.Conv2D):
    """``Conv2D`` by matrix product: forward and backward for `is_tiny` images, else for the weights' gradient alone."""

    def convolution_op(self, inputs: tf.Tensor, kernel: tf.Tensor) -> tf.Tensor:
        """Convolve, without the bias."""
        by = _by_product if is_tiny(self) else _by_convolution
        return by(inputs, tf.convert_to_tensor(kernel), self.strides[0], self.padding.upper())


class FastBatchNormalization(keras.layers.BatchNormalization):
    """``BatchNormalization`` over the last axis as one operation."""

    def call(self, inputs: tf.Tensor, training: bool | None = None, mask: tf.Tensor | None = None) -> tf.Tensor:
        """Normalise by the batch and move the averages or, outside training, normalise by the averages."""
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
        self._move(self.moving_mean, mean)
        self._move(self.moving_variance, variance * (count - 1) / count)  # Keras keeps the variance without the -1
        return outputs

    def _move(self, average: keras.Variable, value: tf.Tensor) -> None:
        average.assign(average * self.momentum + value * (1 - self.momentum))


class FastReLU(keras.layers.Activation):
    """``Activation("relu")`` of bfloat16."""

    def call(self, inputs: tf.Tensor) -> tf.Tensor:
        """Return the inputs, with 0 for what is negative."""
        return _relu(inputs)


class FastAddReLU(keras.layers.Add):
    """``Add`` of two bfloat16 tensors and the ReLU that follows it."""

    def call(self, inputs: list[tf.Tensor]) -> tf.Tensor:
        """Return the sum, with 0 for what is negative."""
        return _relu_of_sum(*inputs)


def with_fast_layers(model: keras.Model) -> keras.Model:
    """Return a copy with equal weights in which the layers that gain from it are those of this module."""
    sums = _sums_before_a_relu(model)

    def replace(layer: keras.layers.Layer) -> keras.layers.Layer:
        config, kind = layer.get_config(), type(layer)
        if kind is keras.layers.Conv2D and gains(layer):
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


def _sums_before_a_relu(model: keras.Model) -> set[keras.KerasTensor]:
    """Return the outputs of additions that a ReLU alone makes use of."""
    uses = Counter(tensor for layer in model.layers for tensor in keras.tree.flatten(layer.input))
    before_relu = {layer.input for layer in model.layers if _is_relu(layer)}
    added = {layer.output for layer in model.layers if type(layer) is keras.layers.Add and len(layer.input) == 2}
    return {tensor for tensor in added & before_relu if uses[tensor] == 1}


def gains(layer: keras.layers.Conv2D) -> bool:
    """Return whether the weights' gradient is faster as a product: kernels of a pixel, or many channels, few pixels."""
    plain = layer.groups == 1 and layer.dilation_rate == (1, 1) and layer.data_format == "channels_last"
    height, width = layer.output.shape[1:3]
    of_one_pixel = layer.kernel_size == (1, 1) and layer.compute_dtype != "float32"
    return plain and (of_one_pixel or bool(layer.input.shape[-1] >= 256 and height * width <= 64))


def is_tiny(layer: keras.layers.Conv2D) -> bool:
    """Return whether all of the convolution is faster as a product."""
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
        of_each = _where_positive(outputs, upstream)
        return of_each, of_each

    return outputs, gradient


@tf.function(jit_compile=True)  # type: ignore[untyped-decorator]
def _compiled_relu_of_sum(left: tf.Tensor, right: tf.Tensor) -> tf.Tensor:
    return tf.nn.relu(left + right)


@tf.function(jit_compile=True)  # type: ignore[untyped-decorator]
def _where_positive(values: tf.Tensor, upstream: tf.Tensor) -> tf.Tensor:
    return tf.where(values > 0, upstream, tf.zeros_like(upstream))


def _by_product(inputs: tf.Tensor, kernel: tf.Tensor, stride: int, padding: str) -> tf.Tensor:
    size, channels, filters = kernel.shape[1:]

    @tf.custom_gradient  # type: ignore[untyped-decorator]
    def convolve(inputs: tf.Tensor, kernel: tf.Tensor) -> Any:
        flat = tf.reshape(kernel, (-1, filters))
        columns = _columns(inputs, size, stride, padding)

        def gradient(upstream: tf.Tensor) -> tuple[tf.Tensor, tf.Tensor]:
            upstream = _rows(upstream)
            of_kernel = tf.matmul(_rows(columns), upstream, transpose_a=True)
            of_columns = tf.matmul(upstream, flat, transpose_b=True)
            of_columns = tf.reshape(of_columns, (-1, *columns.shape[1:3], size, size, channels))
            return _of_inputs(of_columns, size // 2 if padding == "SAME" else 0), tf.reshape(of_kernel, kernel.shape)

        return tf.tensordot(columns, flat, axes=1), gradient

    return convolve(inputs, kernel)


def _by_convolution(inputs: tf.Tensor, kernel: tf.Tensor, stride: int, padding: str) -> tf.Tensor:
    @tf.custom_gradient  # type: ignore[untyped-decorator]
    def convolve(inputs: tf.Tensor, kernel: tf.Tensor) -> Any:
        def gradient(upstream: tf.Tensor) -> tuple[tf.Tensor, tf.Tensor]:
            columns = _rows(_columns(inputs, kernel.shape[0], stride, padding))
            of_kernel = tf.matmul(columns, _rows(upstream), transpose_a=True)
            of_inputs = tf.nn.conv2d_transpose(upstream, kernel, tf.shape(inputs), stride, padding)
            return of_inputs, tf.reshape(of_kernel, kernel.shape)

        return tf.nn.conv2d(inputs, kernel, stride, padding), gradient

    return convolve(inputs, kernel)


def _rows(images: tf.Tensor) -> tf.Tensor:
    return tf.reshape(images, (-1, images.shape[-1]))


def _columns(inputs: tf.Tensor, size: int, stride: int, padding: str) -> tf.Tensor:
    """Return what each output pixel sees: (n, height, width, size * size * channels)."""
    if padding == "SAME":  # with stride 1 and odd sizes, as in every ResNet
        inputs = tf.pad(inputs, [[0, 0], [size // 2, size // 2], [size // 2, size // 2], [0, 0]])
    height, width = (stride * ((side - size) // stride) + 1 for side in inputs.shape[1:3])
    shifted = [
        inputs[:, top : top + height : stride, left : left + width : stride]
        for top in range(size)
        for left in range(size)
    ]
    return tf.concat(shifted, axis=-1)


def _of_inputs(columns: tf.Tensor, padding: int) -> tf.Tensor:
    """Add up, per input pixel, what `_columns` with stride 1 made of it."""
    size = columns.shape[3]
    placed = [
        tf.pad(columns[:, :, :, top, left], [[0, 0], [top, size - 1 - top], [left, size - 1 - left], [0, 0]])
        for top in range(size)
        for left in range(size)
    ]
    height, width = (side + size - 1 - 2 * padding for side in columns.shape[1:3])
    return tf.add_n(placed)[:, padding : padding + height, padding : padding + width]
