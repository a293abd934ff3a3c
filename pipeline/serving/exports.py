"""The network as files that need neither Keras nor TensorFlow: ONNX and LiteRT, prepared photos to probabilities.

Keras writes both; what is ours is the softmax behind the logits, so that nobody has to know of it, and the check that
a file gives what the model gives. Each file takes what `data.decode.prepare` makes: ``classifier.json`` says how.
"""

from __future__ import annotations

import importlib.util
import os
from collections.abc import Callable
from pathlib import Path
from typing import TYPE_CHECKING, NamedTuple

import numpy as np

from pipeline.config import UserError, install_command
from pipeline.models.backend import load_backend
from pipeline.processes import quiet_libraries
from pipeline.serving.classifier import Classifier

if TYPE_CHECKING:
    import keras

TOLERANCE = 1e-4
"""Most that a probability may differ: float32 sums in another order differ by some 1e-6."""


class Export(NamedTuple):
    """A format: the packages it needs, its file's ending, what writes a file, and what runs one on photos."""

    packages: tuple[str, ...]
    suffix: str
    write: Callable[[keras.Model, Path], None]
    run: Callable[[Path, np.ndarray], np.ndarray]


def _write_onnx(model: keras.Model, file: Path) -> None:
    model(np.zeros((1, *model.input_shape[1:]), np.uint8))  # Keras exports to ONNX only what was called before
    model.export(file, format="onnx", verbose=False)


def _run_onnx(file: Path, images: np.ndarray) -> np.ndarray:
    import onnxruntime

    session = onnxruntime.InferenceSession(os.fspath(file), providers=["CPUExecutionProvider"])
    return session.run(None, {session.get_inputs()[0].name: images})[0]


def _write_litert(model: keras.Model, file: Path) -> None:
    model.export(file, format="litert", verbose=False)


def _run_litert(file: Path, images: np.ndarray) -> np.ndarray:
    from ai_edge_litert.interpreter import Interpreter

    interpreter = Interpreter(model_path=os.fspath(file))
    (taken,), (given,) = interpreter.get_input_details(), interpreter.get_output_details()
    interpreter.resize_tensor_input(taken["index"], [1, *images.shape[1:]])
    interpreter.allocate_tensors()
    rows = []
    for image in images:  # as a telephone would: one at a time
        interpreter.set_tensor(taken["index"], image[None])
        interpreter.invoke()
        rows.append(interpreter.get_tensor(given["index"])[0].copy())
    return np.stack(rows)


FORMATS: dict[str, Export] = {
    "onnx": Export(("tf2onnx", "onnxruntime"), ".onnx", _write_onnx, _run_onnx),
    "litert": Export(("ai_edge_litert",), ".tflite", _write_litert, _run_litert),
}


def check_formats(names: tuple[str, ...]) -> None:
    """Raise UserError unless every format is known and its packages are installed."""
    for name in names:
        if name not in FORMATS:
            raise UserError(f"formats must be among {', '.join(FORMATS)}, got {name!r}")
        if missing := [package for package in FORMATS[name].packages if not importlib.util.find_spec(package)]:
            raise UserError(f"format {name} needs {', '.join(missing)}, got none ({install_command('export')})")


def export(classifier: Classifier, name: str, folder: Path, images: np.ndarray) -> tuple[Path, float]:
    """Write a classifier in a format and compare it with itself.

    Args:
        classifier: what is written.
        name: a key of `FORMATS`.
        folder: where to; the file is ``model`` with the format's ending.
        images: prepared photos, uint8 RGB (n, size, size, 3), on which both must agree.

    Returns:
        The file, and the greatest difference between two probabilities.

    Raises:
        UserError: they differ by more than `TOLERANCE`.
    """
    file = folder / f"model{FORMATS[name].suffix}"
    load_backend()
    expected = classifier.probabilities(images)
    with quiet_libraries():
        FORMATS[name].write(_with_probabilities(classifier), file)
        difference = float(np.abs(FORMATS[name].run(file, np.ascontiguousarray(images)) - expected).max())
    if not difference <= TOLERANCE:
        raise UserError(
            f"the exported model must agree with the model to {TOLERANCE}, got a difference of {difference:.2g} in "
            f"format {name} (leave it out of formats)"
        )
    return file, difference


def _with_probabilities(classifier: Classifier) -> keras.Model:
    import keras

    model = classifier.model
    temperature = classifier.about.temperature
    logits = keras.layers.Rescaling(1 / temperature, name="temperature")(model.output)
    return keras.Model(model.inputs[0], keras.layers.Softmax(name="probabilities")(logits), name=model.name)
