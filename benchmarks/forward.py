"""Photos per second through a network outside training: as built, and with batch normalisation folded.

This is what serving, evaluation and the features of a frozen backbone spend their time on. Both are one compiled graph
on batches in memory, the pixels' scaling and the head included.
"""

from __future__ import annotations

from functools import partial

import numpy as np
import pandas as pd

from benchmarks.measure import in_turns, per_second
from pipeline.config import TrainConfig
from pipeline.models.backend import load_backend, policy_of
from pipeline.models.builder import build_classifier
from pipeline.models.predict import BATCH_SIZE, compiled_forward

CASES = [("resnet18", 64), ("resnet18", 128), ("resnet50", 192), ("resnet50", 224), ("resnet50_v2", 224)]
ROUNDS, QUICK_ROUNDS, CLASSES = 7, 3, 5


def run(data: str, quick: bool) -> pd.DataFrame:
    """Measure all cases in both number formats, or the first alone; the photos are noise, whatever ``data`` is."""
    load_backend()
    tables = [
        _compare(variant, size, precision, QUICK_ROUNDS if quick else ROUNDS)
        for variant, size in (CASES[:1] if quick else CASES)
        for precision in ("float32", "bfloat16")
    ]
    return pd.concat(tables, ignore_index=True)


def _compare(variant: str, size: int, precision: str, rounds: int) -> pd.DataFrame:
    import tensorflow as tf

    config = TrainConfig.model_validate({"variant": variant, "image_size": size})
    model = build_classifier(config, CLASSES, policy_of(precision))
    photos = np.random.default_rng(0).integers(0, 256, (BATCH_SIZE, size, size, 3), np.uint8)
    as_built = tf.function(lambda images: model(images, training=False))
    forwards = {"folded": compiled_forward(model), "as built": lambda images: as_built(images).numpy()}
    timed = {name: partial(per_second, BATCH_SIZE, partial(forward, photos)) for name, forward in forwards.items()}
    return in_turns(f"{variant}, {size} px, {precision}", "photos/s", timed, rounds)
