"""The forms in which photos come, one answer for each: files, bytes, text, Pillow's images, arrays, tensors.

Owns which of them are one photo and which are many, and how each becomes encoded bytes or uint8 RGB. Decoding is
`data.pixels`'.
"""

from __future__ import annotations

import base64
import binascii
import io
import os
import re
import stat
from collections.abc import Iterable, Iterator, Mapping
from itertools import islice
from pathlib import Path

import numpy as np
import pandas as pd
from PIL import Image, ImageOps

from pipeline.config import first_line
from pipeline.data.pixels import BadImage
from pipeline.data.pixels.decoding_v1 import composite_on_white
from pipeline.data.rules import rule_text

MAX_PHOTOS = 1_000  # of one request to a server: more would keep its other callers waiting for too long
SERVED = "_MLFLOW_IS_IN_SERVING_ENVIRONMENT"  # set by MLflow's scoring server
NUMBERS = "uifbc"  # kinds of NumPy's dtypes
CHANNELS = (1, 3, 4)  # grey, RGB, RGB with transparency
IN_PNG = ("1", "L", "LA", "P", "RGB", "RGBA", "I", "I;16")  # Pillow's modes that PNG keeps
LEAST_TEXT = 64  # characters of base64 without its padding, which could else be the name of a file
MOST_SHOWN = 300  # characters of a text in a message: the names of files are shorter, photos in base64 are not
URL = re.compile(r"^[a-zA-Z][a-zA-Z0-9+.-]*://")
DATA_URL = re.compile(r"^data:[^,]*;base64,")


def photos_of(model_input: object) -> Iterator[object]:
    """Yield the photos of an input, which may be one photo or many.

    That is: bytes, text, a path, an open file, an image of Pillow; a list or an array of those; pixels of shape
    (height, width), (height, width, channels) or (n, height, width, channels), also as a tensor or nested lists; a
    mapping or a DataFrame with a column ``image``, or with one column of any name.

    Raises:
        ValueError: it can hold no photos.
    """
    if isinstance(model_input, pd.DataFrame | Mapping):
        names = list(model_input)
        if "image" not in names and len(names) != 1:
            raise ValueError(f"photos must come in a column named image, got columns {', '.join(map(str, names))}")
        yield from photos_of(model_input["image" if "image" in names else names[0]])
    elif _is_one_photo(model_input):
        yield model_input
    elif _holds_numbers(model_input):
        yield from _photos_of_pixels(_array(model_input))
    elif isinstance(model_input, Iterable) and not (isinstance(model_input, np.ndarray) and model_input.ndim == 0):
        yield from model_input
    else:
        raise ValueError(f"photos must be bytes, paths or pixels, got {type(model_input).__name__}")


def at_most(photos: Iterator[object], limit: int) -> list[object]:
    """Return the photos, of which there may be at most ``limit``; raise ValueError if there are more."""
    taken = list(islice(photos, limit + 1))
    if len(taken) > limit:
        raise ValueError(f"a request must have at most {limit} photos, got more (send them in several requests)")
    return taken


def is_served() -> bool:
    """Return whether this process is MLflow's scoring server."""
    return os.environ.get(SERVED) == "true"


def read_photo(photo: object) -> bytes | np.ndarray:
    """Return one photo as encoded bytes, or as uint8 RGB (height, width, 3).

    Raises:
        BadImage: it is none, or cannot be read.
    """
    if isinstance(photo, bytes | bytearray | memoryview):
        return bytes(photo)
    if isinstance(photo, str):
        return _of_text(photo)
    if isinstance(photo, os.PathLike):
        return _of_file(Path(photo))
    if isinstance(photo, Image.Image):
        return _of_pillow(photo)
    if hasattr(photo, "read"):
        return _of_open_file(photo.read())
    if isinstance(photo, list | tuple | np.ndarray) or hasattr(photo, "__array__"):
        return _rgb(photo)
    raise BadImage(f"a photo must be bytes, a path, base64 text or pixels, got {type(photo).__name__}")


def _is_one_photo(given: object) -> bool:
    return isinstance(given, bytes | bytearray | memoryview | str | os.PathLike | Image.Image) or hasattr(given, "read")


def _holds_numbers(given: object) -> bool:
    """Return whether something is an array or a tensor of numbers, or lists of lists of them."""
    if isinstance(given, list | tuple):
        first: object = given
        depth = 0
        while isinstance(first, list | tuple) and first:
            first, depth = first[0], depth + 1
        return depth > 1 and isinstance(first, int | float | np.number)
    if isinstance(given, pd.Series | pd.Index) or not hasattr(given, "__array__"):
        return False
    array = _array(given)
    return array.ndim > 1 and array.dtype.kind in NUMBERS


def _photos_of_pixels(pixels: np.ndarray) -> Iterator[object]:
    """Yield the photos of an array: the last axis holds channels, or there are none."""
    if pixels.ndim == 2 or (pixels.ndim == 3 and pixels.shape[2] in CHANNELS):
        yield pixels
    elif pixels.ndim == 4 or (pixels.ndim == 3 and pixels.shape[0] not in CHANNELS):
        yield from pixels
    else:
        raise ValueError(
            f"pixels must have shape (height, width, channels) or (n, height, width, channels), got {pixels.shape} "
            "(move the axis of the channels to the end)"
        )


def _array(given: object) -> np.ndarray:
    """Return an array or a tensor of any library as an array of NumPy.

    Raises:
        ValueError: it is ragged, or cannot be copied to the processor's memory.
    """
    try:
        return np.asarray(given)
    except (TypeError, RuntimeError) as error:  # of a tensor that is on a GPU, or has a gradient
        raise ValueError(f"pixels must be an array that NumPy can read, got {first_line(error)}") from None


def _of_text(text: str) -> bytes:
    if URL.match(text):
        raise BadImage("a URL is not opened: download the photo, and give the file or its bytes")
    if is_served() or not _exists(text):
        return _from_base64(text)  # a server must never open files that its callers name
    return _of_file(Path(text))


def _of_file(path: Path) -> bytes:
    try:
        if stat.S_ISREG(path.stat().st_mode):
            return path.read_bytes()
    except (OSError, ValueError) as error:  # ValueError: a NUL inside
        reason = getattr(error, "strerror", None) or error
        raise BadImage(rule_text("cannot be read", f"{reason}: {_shown(str(path))}")) from error
    raise BadImage(rule_text("not a regular file", _shown(str(path))))  # opening a pipe would block for ever


def _shown(text: str) -> str:
    """Return a name as it was given, in quotes and in one line; the middle of a long text is left out."""
    return repr(text if len(text) <= MOST_SHOWN else f"{text[: MOST_SHOWN // 2]}…{text[-MOST_SHOWN // 2 :]}")


def _of_open_file(content: object) -> bytes:
    if not isinstance(content, bytes):
        raise BadImage(f"an open file must give bytes, got {type(content).__name__} (open it with mode 'rb')")
    return content


def _of_pillow(image: Image.Image) -> bytes:
    """Return an image as a PNG, which is decoded as a file of it would be."""
    if image.mode == "F":
        raise BadImage(rule_text("unknown pixel values", image.mode))
    try:
        upright = ImageOps.exif_transpose(image)
        if upright.mode not in IN_PNG:
            upright = upright.convert("RGB")
        buffer = io.BytesIO()
        upright.save(buffer, "PNG", compress_level=0, exif=b"")
        return buffer.getvalue()
    except (OSError, ValueError, SyntaxError) as error:  # it is decoded only now
        raise BadImage(rule_text("truncated or damaged", first_line(error))) from error


def _exists(path: str) -> bool:
    try:
        return os.path.lexists(path)
    except ValueError:  # a NUL inside: no path at all
        return False


def _from_base64(text: str) -> bytes:
    """Decode base64 in any of its forms: with line breaks, URL-safe, without padding, as a data URL."""
    plain = "".join(DATA_URL.sub("", text, count=1).split()).translate(str.maketrans("-_", "+/"))
    missing = -len(plain) % 4
    try:
        if missing and len(plain) < LEAST_TEXT:
            raise ValueError
        return base64.b64decode(plain + "=" * missing, validate=True)
    except (binascii.Error, ValueError):
        raise BadImage(f"neither an existing file nor base64 text, got {_shown(text)}") from None


def _rgb(given: object) -> np.ndarray:
    """Return pixels of any number type as uint8 RGB (height, width, 3)."""
    try:
        pixels = _array(given)
    except ValueError as error:
        ragged = isinstance(given, list | tuple)
        raise BadImage(
            "pixels must be an array of shape (height, width, 3), got a ragged list" if ragged else str(error)
        ) from None
    if pixels.ndim == 2:
        pixels = pixels[..., None]
    if pixels.ndim != 3 or pixels.shape[2] not in CHANNELS or 0 in pixels.shape:
        remedy = " (move the axis of the channels to the end)" if pixels.shape[:1] in ((3,), (4,)) else ""
        raise BadImage(f"pixels must have shape (height, width, 3), got {pixels.shape}{remedy}")
    pixels = _eight_bits(pixels)
    if pixels.shape[2] == 4:
        return composite_on_white(Image.fromarray(pixels))[0]
    return np.ascontiguousarray(np.repeat(pixels, 3, axis=2) if pixels.shape[2] == 1 else pixels)


def _eight_bits(pixels: np.ndarray) -> np.ndarray:
    if pixels.dtype == np.uint8:
        return pixels
    real = pixels.dtype.kind in "uif" and bool(np.isfinite(pixels).all())
    if real and pixels.dtype.kind == "f" and 0 < pixels.max() <= 1 and pixels.min() >= 0:
        raise BadImage("pixels must be whole numbers from 0 to 255, got numbers up to 1 (multiply them by 255)")
    if not real or ((pixels < 0) | (pixels > 255) | (pixels % 1 != 0)).any():
        raise BadImage(f"pixels must be whole numbers from 0 to 255, got {pixels.dtype} outside this range")
    return pixels.astype(np.uint8)
