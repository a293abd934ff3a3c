"""State dicts of timm and torchvision -> KerasHub's ResNet backbone: v1, v2 (pre-activation) and vd (timm's ``d``).

Owns which layer has which name over there, and the order of axes. KerasHub converts v1 and v2, from timm's folders
alone; vd it does not. torchvision's names are timm's of v1.

timm's ResNet-18d and 34d add the input of their first block as it is, where vd has a projection with batch
normalisation (so has PaddleClas, whose weights KerasHub ports). It becomes the identity: a 1x1 convolution with the
identity matrix, and a normalisation that undoes itself. So that it does so in training, too, where batches have their
own statistics, it gets about those that its input has: of a normal distribution behind a ReLU, by the normalisation
before it.
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import TYPE_CHECKING, Any

import numpy as np
from scipy.special import ndtr

from pipeline.config import UserError
from pipeline.models.weights.torch_files import StateDict

if TYPE_CHECKING:
    import keras

HEADS = ("fc.", "head.")  # the classifiers over ImageNet's classes, which have no place in a backbone
NORMALISATION = ("weight", "bias", "running_mean", "running_var")  # in the order of Keras' variables


def load_state_dict(backbone: keras.Model, tensors: StateDict, where: object) -> None:
    """Copy all tensors into a KerasHub ``ResNetBackbone``, layer by layer.

    Args:
        backbone: of the architecture that the tensors are of.
        tensors: by their names in timm or torchvision.
        where: they come from, for messages.

    Raises:
        UserError: a tensor is missing, has another shape, or has no place in this architecture.
    """
    left = {name for name in tensors if not name.startswith(HEADS) and not name.endswith("num_batches_tracked")}
    loaded = []
    for layer, prefix in layer_names(backbone):
        if prefix == "layer1.0.downsample.1" and f"{prefix}.weight" not in tensors:
            loaded += _identity_shortcut(backbone, tensors, where)
            continue
        if prefix == "layer1.0.downsample.2" and "layer1.0.downsample.1.weight" not in tensors:
            continue
        names = [f"{prefix}.{part}" for part in _parts(layer)]
        arrays = [
            _array(tensors, name, tuple(shape.shape), where) for name, shape in zip(names, layer.weights, strict=True)
        ]
        left -= set(names)
        loaded.append((layer, arrays))
    if left:
        raise UserError(f"weights must fit the variant, got an extra {sorted(left)[0]} in {where}")
    for layer, arrays in loaded:
        layer.set_weights(arrays)


def layer_names(backbone: Any) -> Iterator[tuple[keras.layers.Layer, str]]:
    """Yield each layer of a backbone that has weights, with the name of its tensors in timm."""
    names = _stem_names(backbone) | _block_names(backbone)
    for layer in backbone.layers:
        if layer.weights:
            yield layer, names[layer.name]


def _stem_names(backbone: Any) -> dict[str, str]:
    if backbone.use_pre_activation:
        return {"conv1_conv": "stem.conv", "post_bn": "norm"}
    if len(backbone.input_conv_filters) == 1:
        return {"conv1_conv": "conv1", "conv1_bn": "bn1"}
    return {
        "conv1_conv": "conv1.0", "conv1_bn": "conv1.1", "conv2_conv": "conv1.3", "conv2_bn": "conv1.4",
        "conv3_conv": "conv1.6", "conv3_bn": "bn1",
    }  # fmt: skip


def _block_names(backbone: Any) -> dict[str, str]:
    parts: dict[str, str] = {f"{number}_conv": f"conv{number}" for number in (1, 2, 3)}
    if backbone.use_pre_activation:
        parts |= {"0_conv": "downsample.conv", "pre_activation_bn": "norm1", "1_bn": "norm2", "2_bn": "norm3"}
        block_name = "stages.{stack}.blocks.{block}"
    else:
        first = 1 if backbone.block_type.endswith("_vd") else 0  # vd pools before it projects
        parts |= {"0_conv": f"downsample.{first}", "0_bn": f"downsample.{first + 1}"}
        parts |= {f"{number}_bn": f"bn{number}" for number in (1, 2, 3)}
        block_name = "layer{stage}.{block}"
    return {
        f"stack{stack}_block{block}_{ours}": f"{block_name.format(stack=stack, stage=stack + 1, block=block)}.{theirs}"
        for stack, blocks in enumerate(backbone.stackwise_num_blocks)
        for block in range(blocks)
        for ours, theirs in parts.items()
    }


def _parts(layer: keras.layers.Layer) -> tuple[str, ...]:
    return ("weight",) if len(layer.weights) == 1 else NORMALISATION


def _array(tensors: StateDict, name: str, shape: tuple[int, ...], where: object) -> np.ndarray:
    """Return a tensor as Keras has it: kernels (height, width, in, out) instead of (out, in, height, width)."""
    if name not in tensors:
        raise UserError(f"weights must fit the variant, got no {name} in {where}")
    array = tensors[name]
    array = array.transpose(2, 3, 1, 0) if array.ndim == 4 else array
    if array.shape != shape or array.dtype.kind != "f":
        raise UserError(
            f"weights must fit the variant, got {name} of {array.dtype.name} {array.shape} for {shape} in {where}"
        )
    if not np.isfinite(array).all():
        raise UserError(f"weights must be finite numbers, got others in {name} of {where}")
    return array.astype(np.float32)


def _identity_shortcut(
    backbone: keras.Model, tensors: StateDict, where: object
) -> list[tuple[keras.layers.Layer, list[np.ndarray]]]:
    """Return the first projection's weights that make it the identity."""
    convolution, normalisation = (backbone.get_layer(f"stack0_block0_0_{kind}") for kind in ("conv", "bn"))
    *_, filters = convolution.kernel.shape
    scale, shift = (_array(tensors, f"bn1.{part}", (filters,), where) for part in ("weight", "bias"))
    deviation = np.maximum(np.abs(scale), 1e-3).astype(np.float64)
    place = shift / deviation
    density, share = np.exp(-(place**2) / 2) / np.sqrt(2 * np.pi), ndtr(place)
    mean = shift * share + deviation * density
    variance = np.maximum((shift**2 + deviation**2) * share + shift * deviation * density - mean**2, 1e-3)
    undone = [np.sqrt(variance + normalisation.epsilon), mean, mean, variance]
    return [
        (convolution, [np.eye(filters, dtype=np.float32).reshape(1, 1, filters, filters)]),
        (normalisation, [array.astype(np.float32) for array in undone]),
    ]
