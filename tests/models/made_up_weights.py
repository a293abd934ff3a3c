"""Made-up weights, the same for the same names, and the features that timm and torchvision compute with them.

The features are in ``tests/fixtures/timm_features.npz``, with the names and shapes of the tensors, and a file of
``torch.save`` is beside it, so that the tests need none of the libraries. To make them again, where they are installed
(PyTorch is not among this project's requirements):

    pip install torch torchvision timm && python tests/models/made_up_weights.py
"""

from __future__ import annotations

import json
import math
import zlib
from pathlib import Path
from typing import Any

import numpy as np

FILE = Path(__file__).parents[1] / "fixtures" / "timm_features.npz"
TORCH_FILE = FILE.with_name("torch_save.pth")
MEAN, STD = (0.4, 0.5, 0.6), (0.2, 0.25, 0.3)  # no library's, so that a default would show
OF_TIMM = (
    "resnet18", "resnet34", "resnet50", "resnet101", "resnet152", "resnetv2_18",
    "resnetv2_34", "resnetv2_50", "resnetv2_101", "resnetv2_152", "resnet18d", "resnet34d",
    "resnet50d", "resnet101d", "resnet152d",
)  # fmt: skip
OF_TORCHVISION = ("resnet18", "resnet50")


def made_up_tensor(name: str, shape: tuple[int, ...]) -> np.ndarray:
    """Return a tensor that follows from its name and shape, of a size that a trained network's would have."""
    random = np.random.default_rng(zlib.crc32(name.encode()))
    if not shape:
        return np.array(7, np.int64)  # num_batches_tracked
    if len(shape) > 1:
        return random.normal(0, math.sqrt(2 / math.prod(shape[1:])), shape).astype(np.float32)
    if name.endswith("running_var"):
        return random.uniform(0.5, 1.5, shape).astype(np.float32)
    if name.endswith("weight"):
        return random.uniform(0.3, 0.9, shape).astype(np.float32)
    return random.normal(0, 0.1, shape).astype(np.float32)


def made_up_state_dict(model: str) -> dict[str, np.ndarray]:
    """Return the tensors of a model of timm or torchvision, by their names there."""
    with np.load(FILE) as stored:
        shapes = json.loads(str(stored[f"{model}_shapes"]))
    return {name: made_up_tensor(name, tuple(shape)) for name, shape in shapes}


def expected_features(model: str) -> np.ndarray:
    """Return what the library computes of `photos` with the made-up weights: float32 (n, features)."""
    with np.load(FILE) as stored:
        return np.asarray(stored[f"{model}_features"])


def photos(size: int = 64, count: int = 2) -> np.ndarray:
    """Return made-up photos, uint8 RGB (n, size, size, 3)."""
    return np.random.default_rng(0).integers(0, 256, (count, size, size, 3), dtype=np.uint8)


def _features_of(model: Any) -> tuple[str, np.ndarray]:
    """Load the made-up weights into a PyTorch model; return its tensors' names and shapes as JSON, and its features."""
    import torch

    shapes = [(name, list(tensor.shape)) for name, tensor in model.state_dict().items()]
    tensors = {name: torch.from_numpy(made_up_tensor(name, tuple(shape))) for name, shape in shapes}
    model.load_state_dict(tensors)
    scaled = (photos().astype(np.float64) / 255 - MEAN) / STD
    pixels = torch.from_numpy(scaled.astype(np.float32).transpose(0, 3, 1, 2))
    with torch.no_grad():
        return json.dumps(shapes), model.eval()(pixels).numpy()


def main() -> None:
    """Compute and store the features of all models, and save some tensors."""
    import timm
    import torch
    import torchvision

    stored = {}
    for name in OF_TIMM:
        shapes, features = _features_of(timm.create_model(name, num_classes=0))
        stored |= {f"{name}_shapes": np.array(shapes), f"{name}_features": features}
    for name in OF_TORCHVISION:
        model = torchvision.models.get_model(name)
        model.fc = torch.nn.Identity()
        shapes, features = _features_of(model)
        stored |= {f"torchvision_{name}_shapes": np.array(shapes), f"torchvision_{name}_features": features}
    np.savez_compressed(FILE, **stored)
    torch.save({name: torch.from_numpy(array) for name, array in saved_tensors().items()} | _views(torch), TORCH_FILE)


def saved_tensors() -> dict[str, np.ndarray]:
    """Return what `TORCH_FILE` holds of each type of numbers, beside `_views` of which it holds the first."""
    kinds = (np.float32, np.float64, np.float16, np.int64, np.int32, np.int16, np.int8, np.uint8, np.bool_)
    return {np.dtype(kind).name: (np.arange(6).reshape(2, 3) % 5).astype(kind) for kind in kinds}


def _views(torch: Any) -> dict[str, Any]:
    numbers = torch.arange(12, dtype=torch.float32).reshape(3, 4)
    return {
        "whole": numbers, "transposed": numbers.T, "middle": numbers[1:, 1:3], "scalar": torch.tensor(7),
        "empty": torch.empty(0, 3), "parameter": torch.nn.Parameter(numbers[0]),
    }  # fmt: skip


if __name__ == "__main__":
    main()
