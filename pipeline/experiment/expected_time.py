"""About how long a training takes, before it is begun: by its operations and this machine's speed."""

from __future__ import annotations

import time
from functools import cache
from pathlib import Path

import numpy as np

from pipeline.config import TrainConfig
from pipeline.models.variants import VARIANTS
from pipeline.training import phases_of

GPU_FILE = Path("/dev/nvidiactl")
BACKWARD = 2  # passes backward cost that many forward
PHOTO_PX = 224  # of the published costs of the variants
MATRIX_SIDE, MATRIX_PRODUCTS = 1024, 5
# A training's operations per second, in those of NumPy's matrix product: 0.4 at 64 px, 0.8 at 160 px; and about what a
# training takes besides (docs/log.md, "What a search will take").
EFFICIENCY, TRAINING_S = 0.6, 6.0
REACHED = 0.85  # of the speed of the bare step; reading and augmentation share the processor with it


def expected_seconds(config: TrainConfig, train_photos: int, val_photos: int) -> float | None:
    """Return about how long a training takes on this machine's processor; None where there is a GPU."""
    if GPU_FILE.exists():
        return None
    work = _passes(config, train_photos, val_photos) * _gigaflops_of(config)
    return work / _machine_gigaflops() + TRAINING_S


def seconds_at(speed: float, config: TrainConfig, train_photos: int, val_photos: int) -> float:
    """Return how long a training takes at a measured ``speed``, in photos of full size trained a second."""
    return TRAINING_S + _passes(config, train_photos, val_photos) / ((1 + BACKWARD) * REACHED * speed)


def _passes(config: TrainConfig, train_photos: int, val_photos: int) -> float:
    """Return how many photos of full size pass forward in a training, or as much work."""
    total = 0.0
    for phase in phases_of(config):
        epochs = phase.last - phase.first + 1
        if phase.config.freeze_backbone:
            views = config.feature_views if config.augment != "none" else 1
            total += min(epochs, views) * train_photos + val_photos
        else:
            shrunk = (phase.pixels / config.image_size) ** 2
            total += epochs * (train_photos * (1 + BACKWARD) * shrunk + val_photos)
    return total


def _gigaflops_of(config: TrainConfig) -> float:
    """Return about how many billions of multiplications and additions a photo's pass forward takes."""
    return float(VARIANTS[config.variant].gigaflops * (config.width * config.image_size / PHOTO_PX) ** 2)


@cache
def _machine_gigaflops() -> float:
    """Return about how many billions of multiplications and additions a second a training gets of this processor."""
    matrix = np.ones((MATRIX_SIDE, MATRIX_SIDE), np.float32)
    matrix @ matrix  # starts the threads
    start = time.perf_counter()
    for _ in range(MATRIX_PRODUCTS):
        matrix @ matrix
    return EFFICIENCY * MATRIX_PRODUCTS * 2 * MATRIX_SIDE**3 / 1e9 / (time.perf_counter() - start)
