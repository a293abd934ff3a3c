"""Loads TensorFlow and Keras without the page of device news that they print on start.

The news comes from C++ before any log level is read, so the process's standard error is turned away while they load.
"""

from __future__ import annotations

import contextlib
import os
import sys
import tempfile
from collections.abc import Iterator


def load_backend() -> None:
    """Import TensorFlow and Keras quietly; the second call does nothing. What was printed is shown if that fails."""
    if "keras" in sys.modules:
        return
    os.environ.setdefault("KERAS_BACKEND", "tensorflow")
    os.environ.setdefault("TF_CPP_MIN_LOG_LEVEL", "3")
    with _quiet_stderr():
        import keras  # noqa: F401
        import tensorflow as tf

        tf.config.list_physical_devices()  # looks for GPUs now rather than later, and loudly
    tf.get_logger().setLevel("ERROR")  # it warns of retracing where every trial brings a network of its own


def on_gpu() -> bool:
    """Return whether TensorFlow computes on a GPU."""
    import tensorflow as tf

    return bool(tf.config.list_physical_devices("GPU"))


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
