"""Mixes of a training batch with itself in reverse order, in which the targets have the same shares as the photos.

One share, and one rectangle, for the whole batch, so that a mix is one pass over memory.
"""

from __future__ import annotations

from collections.abc import Callable

import cv2
import numpy as np

from pipeline.config import TrainingConfig

Batch = tuple[np.ndarray, np.ndarray]  # uint8 images (batch, side, side, 3) and float32 targets (batch, classes)


def mixup(images: np.ndarray, targets: np.ndarray, alpha: float, rng: np.random.Generator) -> Batch:
    """Blend every photo with another (Zhang et al. 2018, arXiv 1710.09412)."""
    share = float(rng.beta(alpha, alpha))
    flat = images.reshape(len(images), -1)
    blended = cv2.addWeighted(flat, share, np.ascontiguousarray(flat[::-1]), 1 - share, 0).reshape(images.shape)
    return blended, _shared(targets, share)


def cutmix(images: np.ndarray, targets: np.ndarray, alpha: float, rng: np.random.Generator) -> Batch:
    """Put a rectangle of another photo into every photo (Yun et al. 2019, arXiv 1905.04899)."""
    sides = np.array(images.shape[1:3])
    half = sides * np.sqrt(1 - rng.beta(alpha, alpha)) / 2
    centre = rng.uniform(0, sides)
    (top, left), (bottom, right) = np.clip([centre - half, centre + half], 0, sides).round().astype(int)
    cut = images.copy()
    cut[:, top:bottom, left:right] = images[::-1, top:bottom, left:right]
    return cut, _shared(targets, 1 - (bottom - top) * (right - left) / sides.prod())


def _shared(targets: np.ndarray, share: float) -> np.ndarray:
    return (share * targets + (1 - share) * targets[::-1]).astype(np.float32)


MIXES: dict[str, Callable[[np.ndarray, np.ndarray, float, np.random.Generator], Batch]] = {
    "mixup": mixup,
    "cutmix": cutmix,
}  # flag -> what it does


def is_mixed(config: TrainingConfig) -> bool:
    """Return whether a training mixes its photos."""
    return any(getattr(config, name) for name in MIXES)


def mixed(images: np.ndarray, targets: np.ndarray, config: TrainingConfig, key: tuple[int, ...]) -> Batch:
    """Mix a batch as the config says and ``key`` determines; of several ways every batch draws one."""
    rng = np.random.default_rng(key)
    ways = [name for name in MIXES if getattr(config, name)]
    if not ways:
        return images, targets
    name = ways[rng.integers(len(ways))]
    return MIXES[name](images, targets, getattr(config, name), rng)
