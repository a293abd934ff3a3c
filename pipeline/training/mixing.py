"""Mixup and CutMix: mix a training batch with itself in reverse order, photos and targets with the same weights.

One weight, and one rectangle, for the whole batch, so that mixing is one pass over memory.
"""

from __future__ import annotations

from collections.abc import Callable

import cv2
import numpy as np

from pipeline.config import TrainingConfig

Batch = tuple[np.ndarray, np.ndarray]  # uint8 images (batch, side, side, 3) and float32 targets (batch, classes)


def mixup(images: np.ndarray, targets: np.ndarray, alpha: float, rng: np.random.Generator) -> Batch:
    """Blend every photo with another (Zhang et al. 2018, arXiv 1710.09412)."""
    weight = float(rng.beta(alpha, alpha))
    flat = images.reshape(len(images), -1)
    blended = cv2.addWeighted(flat, weight, np.ascontiguousarray(flat[::-1]), 1 - weight, 0).reshape(images.shape)
    return blended, _mix_targets(targets, weight)


def cutmix(images: np.ndarray, targets: np.ndarray, alpha: float, rng: np.random.Generator) -> Batch:
    """Paste a rectangle of another photo into every photo (Yun et al. 2019, arXiv 1905.04899)."""
    sides = np.array(images.shape[1:3])
    half = sides * np.sqrt(1 - rng.beta(alpha, alpha)) / 2
    centre = rng.uniform(0, sides)
    (top, left), (bottom, right) = np.clip([centre - half, centre + half], 0, sides).round().astype(int)
    cut = images.copy()
    cut[:, top:bottom, left:right] = images[::-1, top:bottom, left:right]
    return cut, _mix_targets(targets, 1 - (bottom - top) * (right - left) / sides.prod())


def _mix_targets(targets: np.ndarray, weight: float) -> np.ndarray:
    return (weight * targets + (1 - weight) * targets[::-1]).astype(np.float32)


MIXES: dict[str, Callable[[np.ndarray, np.ndarray, float, np.random.Generator], Batch]] = {
    "mixup": mixup,
    "cutmix": cutmix,
}  # flag -> function


def uses_mixing(config: TrainingConfig) -> bool:
    """Return whether the config mixes photos."""
    return any(getattr(config, name) for name in MIXES)


def mix_batch(images: np.ndarray, targets: np.ndarray, config: TrainingConfig, key: tuple[int, ...]) -> Batch:
    """Mix a batch by the config's flags, seeded by ``key``; if several flags are set, each batch draws one of them."""
    rng = np.random.default_rng(key)
    names = [name for name in MIXES if getattr(config, name)]
    if not names:
        return images, targets
    name = names[rng.integers(len(names))]
    return MIXES[name](images, targets, getattr(config, name), rng)
