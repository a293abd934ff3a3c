"""About how long a training takes, before it is begun: by its operations and this machine's speed."""

from __future__ import annotations

import math
import time
from functools import cache
from pathlib import Path
from typing import NamedTuple

import numpy as np

from pipeline.config import TrainConfig
from pipeline.models.variants import VARIANTS
from pipeline.processes import run_tasks
from pipeline.training import measure_speed, phases_of

GPU_FILE = Path("/dev/nvidiactl")
BACKWARD = 2  # passes backward cost that many forward
PHOTO_PX = 224  # of the published costs of the variants
MATRIX_SIDE, MATRIX_PRODUCTS = 1024, 12
# A training's operations per second, in those of NumPy's matrix product: 0.4 at 64 px, 0.8 at 160 px; about what a
# training takes besides, and how much of that the first step is (docs/log.md, "What a search will take").
EFFICIENCY, STARTUP_S, STARTUPS = 0.6, 6.0, 2.3
AFTER_SHARE = 0.1  # of a short time, which what follows the last training may take
REACHED = 0.85  # of the speed of the bare step; reading and augmentation share the processor with it


class MachineSpeed(NamedTuple):
    """How many billions of multiplications and additions a second a training does, and what it takes besides."""

    gigaflops: float
    startup_s: float = STARTUP_S


def trainings_end(began: float, timeout_s: float, after_s: float) -> float:
    """Return when the last training must have ended, as a Unix time in seconds; never, without a ``timeout_s``.

    Args:
        began: when the command did.
        timeout_s: seconds for all of it; 0 for no limit.
        after_s: what follows the last training takes: plots, a report, a registration.
    """
    return began + timeout_s - min(after_s, AFTER_SHARE * timeout_s) if timeout_s else math.inf


def expected_seconds(config: TrainConfig, train_photos: int, val_photos: int, speed: MachineSpeed) -> float:
    """Return about how long a training takes alone on a machine of this ``speed``."""
    return speed.startup_s + _passes(config, train_photos, val_photos) * _gigaflops_of(config) / speed.gigaflops


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


def measured_speed(config: TrainConfig, classes: int) -> MachineSpeed:
    """Measure how fast a training of this network is here, by some of its steps."""
    one_epoch = config.model_copy(update={"epochs": 1, "head_epochs": 0, "warmup_epochs": 0.0})
    step = measure_speed(one_epoch, classes)
    gigaflops = (1 + BACKWARD) * REACHED * step.images_per_second * _gigaflops_of(config)
    return MachineSpeed(gigaflops, STARTUPS * step.startup_s)


@cache
def machine_speed(config: TrainConfig, classes: int) -> MachineSpeed | None:
    """Return `measured_speed`, from a process of its own, so that this one stays free of TensorFlow.

    Where the network does not fit into memory, or for another reason cannot be measured, it is estimated.
    """
    training = config.model_copy(update={"weights": "none"})
    (outcome,) = run_tasks(measured_speed, [(training, classes)], workers=1)
    return outcome.value or estimated_speed()


def estimated_speed() -> MachineSpeed | None:
    """Return about the same in a tenth of a second, without TensorFlow; None where there is a GPU."""
    if GPU_FILE.exists():
        return None
    matrix, seconds = np.ones((MATRIX_SIDE, MATRIX_SIDE), np.float32), []
    for _ in range(MATRIX_PRODUCTS):
        start = time.perf_counter()
        matrix @ matrix
        seconds.append(time.perf_counter() - start)
    # The fastest: the first starts the threads, and any may wait for other work of the machine.
    return MachineSpeed(EFFICIENCY * 2 * MATRIX_SIDE**3 / 1e9 / min(seconds))
