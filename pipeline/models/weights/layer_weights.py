"""Reads what Keras' ``save_weights`` wrote: a backbone alone, or within a classifier of this project.

Keras numbers the layers of each class in order, whatever they are called. Its own ``load_weights`` takes no part of a
file, and of a file that does not fit it may leave layers at random with a warning; it is left to read the layouts of
its earlier versions, and then what it has read is checked.
"""

from __future__ import annotations

import warnings
from collections import Counter
from pathlib import Path
from typing import Any

import numpy as np

from pipeline.config import UserError, first_line

PLACES = ("layers/functional/layers", "layers")  # of a backbone within a classifier, and alone
NAMES = {"Conv2D": "conv2d", "BatchNormalization": "batch_normalization"}


def load_layer_weights(backbone: Any, file: Path) -> None:
    """Copy the weights of a ``.weights.h5`` file into a KerasHub ``ResNetBackbone``.

    Raises:
        UserError: the file is damaged, or of another architecture.
    """
    import h5py

    try:
        with h5py.File(file) as opened:
            place = next((place for place in PLACES if f"{place}/conv2d" in opened), None)
            arrays = _read_layers(opened[place], backbone) if place else []
        if not place:
            _load_earlier_layout(backbone, file)
        for layer, weights in arrays:
            layer.set_weights(weights)
    except (OSError, KeyError, ValueError) as error:
        reason = first_line(error)
        raise UserError(
            f"weights must be complete, and fit the variant, got {file}: {reason} (fetch it again)"
        ) from None


def _load_earlier_layout(backbone: Any, file: Path) -> None:
    kernels = [layer for layer in backbone.layers if hasattr(layer, "kernel")]
    before = [layer.kernel.numpy() for layer in kernels]
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # of layers that it skips, which may be found under another name
        backbone.load_weights(file)
    for layer, random in zip(kernels, before, strict=True):
        if np.array_equal(layer.kernel.numpy(), random):
            raise ValueError(f"it has no weights for {layer.name}")


def _read_layers(saved: Any, backbone: Any) -> list[tuple[Any, list[np.ndarray]]]:
    """Return the weights of each layer; raise KeyError or ValueError for a layer too few or too many."""
    seen: Counter[str] = Counter()
    found = []
    for layer in (layer for layer in backbone.layers if layer.weights):
        name = NAMES[type(layer).__name__]
        variables = saved[f"{name}_{seen[name]}" if seen[name] else name]["vars"]
        seen[name] += 1
        found.append((layer, [np.asarray(variables[number], np.float32) for number in sorted(variables, key=int)]))
    for name, count in seen.items():
        if f"{name}_{count}" in saved:
            raise ValueError(f"the variant has no place for its {name}_{count}")
    return found
