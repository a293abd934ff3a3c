"""Loads TensorFlow and Keras without the page of device messages that they print on start, and reports the device.

The messages come from C++ before any log level is read, so the process's standard error is redirected while they load.
"""

from __future__ import annotations

import contextlib
import os
import sys
import tempfile
from collections.abc import Iterator
from functools import cache
from typing import TYPE_CHECKING

from pipeline.config import UserError

if TYPE_CHECKING:
    import tensorflow as tf

BACKEND = "tensorflow"
THREADS = "TF_NUM_INTRAOP_THREADS"


@cache
def load_backend() -> None:
    """Import TensorFlow and Keras quietly, and find the devices. If that fails, show what was printed."""
    with _quiet_stderr():
        import_backend()
        import tensorflow as tf

        tf.config.list_physical_devices()  # looks for GPUs now, while its messages are redirected
        for gpu in tf.config.list_physical_devices("GPU"):
            with contextlib.suppress(RuntimeError):  # another program in this process uses it already
                tf.config.experimental.set_memory_growth(gpu, True)  # several workers, and other programs, share it


def import_backend() -> None:
    """Import TensorFlow and Keras without touching a device, so that the process may still fork.

    Raises:
        UserError: Keras computes by something else in this process.
    """
    os.environ.setdefault("KERAS_BACKEND", BACKEND)
    os.environ.setdefault("TF_CPP_MIN_LOG_LEVEL", "3")
    with _quiet_stderr():
        import keras
        import tensorflow as tf
    if (found := keras.config.backend()) != BACKEND:
        raise UserError(f"Keras must use {BACKEND}, got {found} (set KERAS_BACKEND={BACKEND}, in a new process)")
    tf.get_logger().setLevel("ERROR")  # else it warns about retracing, because every trial has a network of its own


def threads() -> int:
    """Return how many threads an operation may use. Sums are split among them, so results depend on it."""
    import tensorflow as tf

    chosen = tf.config.threading.get_intra_op_parallelism_threads() or int(os.environ.get(THREADS) or 0)
    return chosen or len(os.sched_getaffinity(0) if hasattr(os, "sched_getaffinity") else range(os.cpu_count() or 1))


def keep_threads(count: int) -> None:
    """Compute with so many threads, whatever this process has been given; say so, or that it is too late."""
    import tensorflow as tf

    if (own := threads()) == count:
        return
    try:
        tf.config.threading.set_intra_op_parallelism_threads(count)
    except RuntimeError:  # something has been computed
        print(
            f"this was started with {count} threads, and continues with {own}: its results will not be the same to the "
            f"last bit (set {THREADS}={count} to keep them so)",
            flush=True,
        )
    else:
        print(f"threads: {count}, as when this was started, instead of {own}", flush=True)


def set_up_keras() -> None:
    """Let Keras build and train what it is meant to, whatever the user's keras.json says."""
    import keras

    keras.config.set_image_data_format("channels_last")
    keras.config.set_floatx("float32")


def on_gpu() -> bool:
    """Return whether TensorFlow computes on a GPU."""
    import tensorflow as tf

    return bool(tf.config.list_physical_devices("GPU"))


def policy_of(precision: str) -> str:
    """Return the Keras dtype policy that computes in ``precision`` and keeps the weights in float32."""
    return precision if precision == "float32" else f"mixed_{precision}"


@cache  # a second strategy would reuse the numbers of the first one's all-reduces
def strategy_for(devices: int) -> tf.distribute.Strategy:
    """Return the strategy that distributes a step over this many GPUs, or TensorFlow's logical CPUs if there is no GPU.

    Raises:
        UserError: there are fewer devices.
    """
    import tensorflow as tf

    if devices == 1:
        return tf.distribute.get_strategy()
    kind = "GPU" if on_gpu() else "CPU"
    devices_found = tf.config.list_logical_devices(kind)
    if len(devices_found) < devices:
        raise UserError(f"devices must be at most what TensorFlow finds, got {devices} for {len(devices_found)} {kind}")
    return tf.distribute.MirroredStrategy([device.name for device in devices_found[:devices]])


@contextlib.contextmanager
def _quiet_stderr() -> Iterator[None]:
    with contextlib.ExitStack() as opened:
        try:
            stderr_copy = os.dup(2)
            opened.callback(os.close, stderr_copy)
            captured = opened.enter_context(tempfile.TemporaryFile())
        except OSError:  # it is closed, or there is no folder for temporary files: then nothing is held back
            yield
            return
        if sys.stderr:
            sys.stderr.flush()
        os.dup2(captured.fileno(), 2)
        try:
            yield
        except BaseException:
            captured.seek(0)
            os.write(stderr_copy, captured.read())
            raise
        finally:
            os.dup2(stderr_copy, 2)
