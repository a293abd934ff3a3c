"""What a search will do, and about how long it will take: said at its start, before anything is measured."""

from __future__ import annotations

import time
from pathlib import Path
from statistics import fmean

import numpy as np

from pipeline.config import TuneConfig
from pipeline.models.variants import VARIANTS
from pipeline.search.plan import FINE_TUNED_VARIANTS
from pipeline.search.space_file import HEADS_FIRST_MODE, mode_of, space_of
from pipeline.search.study import trial_goal

GPU_FILE = Path("/dev/nvidiactl")
BACKWARD = 2  # passes backward cost that many forward
PHOTO_PX = 224  # of the published costs of the variants
MATRIX_SIDE, MATRIX_PRODUCTS = 1024, 5
# A training's operations per second, in those of NumPy's matrix product: 0.4 at 64 px, 0.8 at 160 px; and about what a
# trial takes besides (docs/log.md, "What a search will take").
EFFICIENCY, TRIAL_S = 0.6, 6.0


def describe_plan(config: TuneConfig) -> str:
    """Return a line on what the search will do."""
    goal, variants = trial_goal(config), space_of(config).choices("variant")
    parts = [f"{goal} trials of {config.epochs} epochs at {config.image_size} px"]
    if mode_of(config) == HEADS_FIRST_MODE:
        heads, few = min(config.head_trials, goal), min(FINE_TUNED_VARIANTS, len(variants))
        parts = [
            f"{heads} heads on features of {', '.join(map(str, variants))} at {config.image_size} px",
            f"{goal - heads} times fine-tuning for {config.epochs} epochs"
            + (f", of the best {few}" if few > 1 else ""),
        ]
    again = config.confirm_top_k * config.confirm_seeds
    if again:
        parts.append(f"{again} of them again, {round(config.confirm_epochs_factor * config.epochs)} epochs")
    return f"plan: {', then '.join(parts)}"


def expected_seconds(config: TuneConfig, train_photos: int, val_photos: int) -> float | None:
    """Return what the whole plan takes on this machine's processor if no trial is pruned; None where there is a GPU."""
    if GPU_FILE.exists() or config.ray_address:
        return None
    goal, variants = trial_goal(config), space_of(config).choices("variant")
    heads_first, of_frozen = mode_of(config) == HEADS_FIRST_MODE, config.freeze_backbone
    heads = min(config.head_trials, goal) if heads_first else goal if of_frozen else 0
    again = config.confirm_top_k * config.confirm_seeds
    forward = fmean(VARIANTS[str(variant)].gigaflops for variant in variants)
    forward *= (config.width * config.image_size / PHOTO_PX) ** 2

    def trained(epochs: float) -> float:
        """Return the photos that pass forward, or as much work, in a training of so many epochs."""
        head_epochs = config.head_epochs
        unfrozen = (epochs - head_epochs) * (train_photos * (1 + BACKWARD) + val_photos)
        return unfrozen + min(head_epochs, config.feature_views) * train_photos

    views = config.feature_views if of_frozen and config.augment != "none" else 1
    features = len(variants) * (views * train_photos + val_photos) if heads else 0
    full = 0 if of_frozen else (goal - heads) * trained(config.epochs)
    confirmed = 0 if of_frozen else again * trained(config.confirm_epochs_factor * config.epochs)
    return (features + full + confirmed) * forward / machine_gigaflops() + (goal + again) * TRIAL_S


def machine_gigaflops() -> float:
    """Return about how many billions of multiplications and additions a second a training gets of this processor."""
    matrix = np.ones((MATRIX_SIDE, MATRIX_SIDE), np.float32)
    matrix @ matrix  # starts the threads
    start = time.perf_counter()
    for _ in range(MATRIX_PRODUCTS):
        matrix @ matrix
    return EFFICIENCY * MATRIX_PRODUCTS * 2 * MATRIX_SIDE**3 / 1e9 / (time.perf_counter() - start)
