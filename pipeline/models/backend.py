"""Loads TensorFlow and Keras without the page of device news that they print on start, and says what computes.

The news comes from C++ before any log level is read, so the process's standard error is turned away while they load.
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


@cache
def load_backend() -> None:
    """Import TensorFlow and Keras quietly, and find the devices. What was printed is shown if that fails."""
    with _quiet_stderr():
        import_backend()
        import tensorflow as tf

        tf.config.list_physical_devices()  # looks for GPUs now rather than later, and loudly


def import_backend() -> None:
    """Import TensorFlow and Keras and touch no device, so that a process may still fork."""
    os.environ.setdefault("KERAS_BACKEND", "tensorflow")
    os.environ.setdefault("TF_CPP_MIN_LOG_LEVEL", "3")
    with _quiet_stderr():
        import keras  # noqa: F401
        import tensorflow as tf
    tf.get_logger().setLevel("ERROR")  # it warns of retracing where every trial brings a network of its own


def on_gpu() -> bool:
    """Return whether TensorFlow computes on a GPU."""
    import tensorflow as tf

    return bool(tf.config.list_physical_devices("GPU"))


def policy_of(precision: str) -> str:
    """Return the Keras dtype policy that computes in ``precision`` and keeps the weights in float32."""
    return precision if precision == "float32" else f"mixed_{precision}"


@cache  # a second strategy would give its sums over the devices the numbers of the first one's
def strategy_for(devices: int) -> tf.distribute.Strategy:
    """Return what spreads a step over so many GPUs or, where there is none, TensorFlow's logical CPUs.

    Raises:
        UserError: there are not so many.
    """
    import tensorflow as tf

    if devices == 1:
        return tf.distribute.get_strategy()
    kind = "GPU" if on_gpu() else "CPU"
    found = tf.config.list_logical_devices(kind)
    if len(found) < devices:
        raise UserError(f"devices must be at most what TensorFlow finds, got {devices} for {len(found)} {kind}")
    return tf.distribute.MirroredStrategy([device.name for device in found[:devices]])


@contextlib.contextmanager
def _quiet_stderr() -> Iterator[None]:
    sys.stderr.flush()
    kept = os.dup(2)
    with tempfile.TemporaryFile() as turned_away:
        os.dup2(turned_away.fileno(), 2)
        try:
            yield
        except BaseException:
            turned_away.seek(0)
            os.write(kept, turned_away.read())
            raise
        finally:
            os.dup2(kept, 2)
            os.close(kept)
