"""The cost of a network: parameters, size on disk, FLOPs, and the latency of one photo and of a batch."""

from __future__ import annotations

import time
from pathlib import Path
from statistics import median
from typing import TYPE_CHECKING

import numpy as np

from pipeline.models.predict import BATCH_SIZE, predict_logits

if TYPE_CHECKING:
    import keras

WARM_UP_RUNS, TIMED_RUNS = 3, 15


def network_cost(model: keras.Model, file: Path) -> dict[str, float]:
    """Return parameters, size_mb, gflops of one photo, and latency_ms of one photo and of a batch of `BATCH_SIZE`.

    FLOPs are counted by TensorFlow's profiler: a multiplication and an addition are two. Latencies are medians of
    `TIMED_RUNS` forward passes on this machine, without decoding; other load on the machine makes them longer.
    """
    photo = np.zeros((1, *model.input_shape[1:]), np.uint8)
    return {
        "parameters": float(model.count_params()),
        "size_mb": file.stat().st_size / 1e6,
        "gflops": _flops(model) / 1e9,
        "latency_ms": _latency_ms(model, photo),
        f"latency_ms_batch_{BATCH_SIZE}": _latency_ms(model, np.repeat(photo, BATCH_SIZE, axis=0)),
    }


def _flops(model: keras.Model) -> int:
    import tensorflow as tf

    shape = tf.TensorSpec((1, *model.input_shape[1:]), tf.uint8)
    graph = tf.function(lambda photo: model(photo, training=False)).get_concrete_function(shape).graph
    profiler = tf.compat.v1.profiler
    options = profiler.ProfileOptionBuilder(profiler.ProfileOptionBuilder.float_operation()).with_empty_output()
    return int(profiler.profile(graph, options=options.build()).total_float_ops)


def _latency_ms(model: keras.Model, photos: np.ndarray) -> float:
    seconds = []
    for _ in range(WARM_UP_RUNS + TIMED_RUNS):
        start = time.perf_counter()
        predict_logits(model, photos)
        seconds.append(time.perf_counter() - start)
    return 1000 * median(seconds[WARM_UP_RUNS:])
