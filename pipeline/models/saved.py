"""Networks on disk: loaded in Keras' safe mode (built-in layers, no pickle, no KerasHub), and verified by checksums.

The digests of a model's files are recorded when it is saved and when it is registered, and compared when it is loaded.
The package model-signing does the same with keys and certificates, which prove who made a model; here the registry
does.
"""

from __future__ import annotations

import json
import zipfile
import zlib
from collections.abc import Mapping
from pathlib import Path
from typing import TYPE_CHECKING

from pipeline.config import DamagedModel, UserError, first_line
from pipeline.files import SUMS_FILE, read_sums, sha256_of_file, write_sums
from pipeline.models.backend import load_backend

if TYPE_CHECKING:
    import keras

IGNORED_NAMES = ("__pycache__", "registered_model_meta")  # Python and MLflow write these when they load a model


def load_classifier(file: Path) -> keras.Model:
    """Load a .keras file: a network from uint8 RGB (n, size, size, 3) to float32 logits (n, classes)."""
    load_backend()
    import keras

    return keras.models.load_model(file, compile=False, safe_mode=True)


def image_size_of(file: Path) -> int:
    """Return the side of the photos that the network in a .keras file takes, in pixels.

    Raises:
        UserError: it cannot be read, or is no classifier of photos.
    """
    try:
        with zipfile.ZipFile(file) as archive:
            layers = json.loads(archive.read("config.json"))["config"]["layers"]
        return int(layers[0]["config"]["batch_shape"][1])
    except (zipfile.BadZipFile, zlib.error, ValueError, KeyError, TypeError, IndexError) as error:
        raise UserError(f"weights must be a network that Keras can read, got {file}: {first_line(error)}") from error


def model_digests(folder: Path) -> dict[str, str]:
    """Return the hexadecimal SHA-256 of every file of a model's folder, by its path inside."""
    files = {path.relative_to(folder).as_posix(): path for path in sorted(folder.rglob("*")) if path.is_file()}
    return {
        name: sha256_of_file(path)
        for name, path in files.items()
        if not set(IGNORED_NAMES).intersection(name.split("/"))
    }


def check_digests(folder: Path, recorded: Mapping[str, str]) -> None:
    """Raise DamagedModel if a recorded file is missing or has changed, or if a file was not recorded."""
    actual = model_digests(folder)
    changed = sorted(name for name in actual.keys() | recorded.keys() if actual.get(name) != recorded.get(name))
    if changed:
        more = f" and {len(changed) - 1} more" if len(changed) > 1 else ""
        raise DamagedModel(
            f"a model's files must have the SHA-256 that was recorded, got another for {changed[0]}{more} in {folder} "
            "(do not use the model; train it again, or restore its files)"
        )


def write_model_sums(folder: Path) -> None:
    """Write the digests of a model's files to `SUMS_FILE` in its folder."""
    write_sums(folder, {name: digest for name, digest in model_digests(folder).items() if name != SUMS_FILE})


def check_model_sums(folder: Path) -> None:
    """Raise DamagedModel if a file has changed since `write_model_sums`; the earliest models have no list."""
    if (folder / SUMS_FILE).exists():
        check_digests(folder, read_sums(folder) | {SUMS_FILE: sha256_of_file(folder / SUMS_FILE)})
