"""Reads state dicts that ``torch.save`` or safetensors wrote, without PyTorch, and without executing anything.

A ``.pth`` file is a zip archive of raw numbers and of a pickle that says which tensor they are. A pickle is a program,
so it is run by an unpickler that knows no names but those of tensors and of the dicts around them, each as a stand-in
of this module; whatever else it asks for is refused by name. safetensors files hold no program at all.

Rejected: PyTorch itself (``weights_only=True`` does the same, for 200 MB and more, to read one file), tinygrad (a
framework whose reader turns unknown names into placeholders instead of refusing them), fickling and picklescan (they
judge pickles, and do not read tensors).
"""

from __future__ import annotations

import collections
import io
import pickle
import zipfile
from collections.abc import Mapping
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np

from pipeline.config import UserError, first_line

StateDict = dict[str, np.ndarray]
TORCH_SUFFIXES = (".pth", ".pt", ".bin")
WRAPPERS = ("state_dict", "model")  # under which training scripts keep the state dict of a checkpoint
STORAGES = {
    "DoubleStorage": np.float64, "FloatStorage": np.float32, "HalfStorage": np.float16, "LongStorage": np.int64,
    "IntStorage": np.int32, "ShortStorage": np.int16, "CharStorage": np.int8, "ByteStorage": np.uint8,
    "BoolStorage": np.bool_,
}  # fmt: skip


def read_state_dict(file: Path) -> StateDict:
    """Return the tensors of a ``.pth`` or ``.safetensors`` file by name.

    Raises:
        UserError: the file cannot be read, or is more than a dict of tensors.
    """
    if file.suffix == ".safetensors":
        return _read_safetensors(file)
    return _read_torch(file)


def _read_safetensors(file: Path) -> StateDict:
    from safetensors import SafetensorError
    from safetensors.numpy import load_file

    try:
        return load_file(file)
    except (SafetensorError, OSError, TypeError, ValueError, KeyError) as error:  # KeyError: a format NumPy lacks
        raise UserError(
            f"a safetensors file must be complete, got {file}: {first_line(error)} (fetch it again)"
        ) from None


def _read_torch(file: Path) -> StateDict:
    try:
        archive = zipfile.ZipFile(file)
    except (zipfile.BadZipFile, OSError) as error:
        remedy = "fetch it again"
        if _is_pickle(file):
            remedy = (
                "it is of PyTorch before 1.6, or a bare pickle: torch.save(torch.load(FILE, weights_only=True), FILE)"
            )
        raise UserError(f"a .pth file must be a zip archive of torch.save, got {file}: {error} ({remedy})") from None
    with archive:
        try:
            found = _Unpickler(archive).load()
        except _Refused as refused:
            raise UserError(f"a .pth file must hold tensors and nothing else, got {refused} in {file}") from None
        except Exception as error:  # a damaged pickle raises whatever its bytes happen to mean
            raise UserError(f"a .pth file must be complete, got {file}: {first_line(error)} (fetch it again)") from None
    for wrapper in WRAPPERS:
        if isinstance(found, Mapping) and isinstance(found.get(wrapper), Mapping):
            found = found[wrapper]
    items = found.items() if isinstance(found, Mapping) else ()
    tensors = {name: value for name, value in items if isinstance(value, np.ndarray)}
    if not tensors or not all(isinstance(name, str) for name in tensors):
        raise UserError(f"a .pth file must hold a state dict, got a {type(found).__name__} without tensors in {file}")
    return tensors


def _is_pickle(file: Path) -> bool:
    try:
        with file.open("rb") as opened:
            return opened.read(2)[:1] == pickle.PROTO
    except OSError:
        return False


class _Refused(Exception):
    """What the pickle asks for is not among the stand-ins."""


class _Storage(NamedTuple):
    """The class of a storage, which the pickle names before each tensor."""

    dtype: type[np.generic]


class _Unpickler(pickle.Unpickler):
    """Runs a pickle with the stand-ins below for everything that it can name."""

    def __init__(self, archive: zipfile.ZipFile) -> None:
        self._archive = archive
        pickles = [name for name in archive.namelist() if name.rpartition("/")[2] == "data.pkl"]
        if len(pickles) != 1:
            raise _Refused(f"{len(pickles)} files named data.pkl")
        self._folder = pickles[0].removesuffix("data.pkl")
        if f"{self._folder}byteorder" in archive.namelist() and self._read("byteorder") != b"little":
            raise _Refused("big-endian numbers")
        super().__init__(io.BytesIO(self._read("data.pkl")))
        self._stand_ins: dict[tuple[str, str], Any] = {
            ("collections", "OrderedDict"): collections.OrderedDict,
            ("torch._utils", "_rebuild_tensor_v2"): _rebuild_tensor,
            ("torch._utils", "_rebuild_parameter"): _rebuild_parameter,
            **{("torch", name): _Storage(dtype) for name, dtype in STORAGES.items()},
        }

    def find_class(self, module: str, name: str) -> Any:
        """Return the stand-in for what the pickle names."""
        if (module, name) not in self._stand_ins:
            raise _Refused(f"{module}.{name}")
        return self._stand_ins[module, name]

    def persistent_load(self, reference: Any) -> np.ndarray:
        """Return the numbers of a storage, one-dimensional."""
        kind, storage, key, _, count = reference
        if kind != "storage" or not isinstance(storage, _Storage):
            raise _Refused(f"a reference to {kind!r}")
        numbers = np.frombuffer(self._read(f"data/{key}"), np.dtype(storage.dtype).newbyteorder("<"))
        if len(numbers) != count:
            raise ValueError(f"storage {key} has {len(numbers)} of {count} numbers")
        return numbers

    def _read(self, name: str) -> bytes:
        entry = self._archive.getinfo(self._folder + name)
        if entry.compress_type != zipfile.ZIP_STORED:  # torch.save never compresses; a bomb would
            raise _Refused("compressed data")
        return self._archive.read(entry)


def _rebuild_tensor(
    numbers: np.ndarray, offset: int, shape: tuple[int, ...], strides: tuple[int, ...], *_: object
) -> np.ndarray:
    """Return the part of a storage that is a tensor; strides are in numbers, not in bytes."""
    reach = offset + sum((length - 1) * stride for length, stride in zip(shape, strides, strict=True))
    if offset < 0 or min((0, *strides, *shape)) < 0 or (0 not in shape and reach >= len(numbers)):
        raise ValueError(f"a tensor of shape {tuple(shape)} reaches beyond its {len(numbers)} numbers")
    bytes_apart = [stride * numbers.itemsize for stride in strides]
    return np.lib.stride_tricks.as_strided(numbers[offset:], shape, bytes_apart, writeable=False)


def _rebuild_parameter(tensor: np.ndarray, *_: object) -> np.ndarray:
    return tensor
