"""Bytes of a photo -> the pixels that the network sees. Training, evaluation and serving all call this.

Owns the versions of the pixel rules, and making a photo square; the caller reads the file. `headers` refuses what is
no photo or too large, `decoding_v1` and `decoding_v2` decode.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import NamedTuple

import cv2
import numpy as np

from pipeline.config import MAX_PIXELS
from pipeline.data.pixels.decoding_v1 import decode_v1
from pipeline.data.pixels.decoding_v2 import decode_v2
from pipeline.data.pixels.formats import FORMATS
from pipeline.data.pixels.headers import BadImage, Decoded
from pipeline.data.pixels.image_ops import apply_ops
from pipeline.data.rule_versions import NEWEST

__all__ = [
    "FORMATS", "MAX_PIXELS", "PIXEL_RULES", "RESIZERS", "BadImage", "Decoded", "PixelRules", "decode",
    "decode_with_notes", "prepare",
]  # fmt: skip


def decode(data: bytes, max_pixels: int = MAX_PIXELS, version: int = NEWEST.pixels, image_size: int = 0) -> np.ndarray:
    """Decode an encoded photo.

    Args:
        data: its bytes.
        max_pixels: a photo with more pixels in its header is rejected.
        version: version of the pixel rules: a key of `PIXEL_RULES`.
        image_size: side of the square that `prepare` will make; a large JPEG is decoded at 1/2, 1/4 or 1/8 where that
            is still enough. 0 for the whole photo.

    Returns:
        uint8 RGB of shape (height, width, 3), upright by EXIF, composited on white, first frame.

    Raises:
        BadImage: a rule of `rules.py` rejects it.
        MemoryError: memory is short.
    """
    return decode_with_notes(data, max_pixels, version, image_size).pixels


def decode_with_notes(
    data: bytes, max_pixels: int = MAX_PIXELS, version: int = NEWEST.pixels, image_size: int = 0
) -> Decoded:
    """Decode as `decode` does, and return the format, the conversions and the whole photo's size, too."""
    return PIXEL_RULES[version].decode(data, max_pixels, image_size)


def prepare(
    image: np.ndarray, image_size: int, resize: str, image_ops: Sequence[str] = (), version: int = NEWEST.pixels
) -> np.ndarray:
    """Convert a decoded photo to the network's input: make it square, then apply the image operations.

    Args:
        image: uint8 RGB (height, width, 3).
        image_size: side of the result, in pixels.
        resize: a key of `RESIZERS`.
        image_ops: operations such as ``opening:5``, applied in order.
        version: version of the pixel rules: a key of `PIXEL_RULES`.

    Returns:
        uint8 RGB of shape (image_size, image_size, 3).
    """
    return PIXEL_RULES[version].prepare(image, image_size, resize, image_ops)


def _prepare(image: np.ndarray, image_size: int, resize: str, image_ops: Sequence[str]) -> np.ndarray:
    return apply_ops(RESIZERS[resize](image, image_size), image_ops)


def _scale(image: np.ndarray, width: int, height: int) -> np.ndarray:
    shrinking = width < image.shape[1] or height < image.shape[0]
    return cv2.resize(image, (width, height), interpolation=cv2.INTER_AREA if shrinking else cv2.INTER_CUBIC)


def _stretch(image: np.ndarray, size: int) -> np.ndarray:
    return _scale(image, size, size)


def _pad(image: np.ndarray, size: int) -> np.ndarray:
    height, width = image.shape[:2]
    factor = size / max(height, width)
    scaled = _scale(image, max(1, round(width * factor)), max(1, round(height * factor)))
    top, left = (size - scaled.shape[0]) // 2, (size - scaled.shape[1]) // 2
    bottom, right = size - scaled.shape[0] - top, size - scaled.shape[1] - left
    return cv2.copyMakeBorder(scaled, top, bottom, left, right, cv2.BORDER_CONSTANT, value=(0, 0, 0))


def _crop(image: np.ndarray, size: int) -> np.ndarray:
    side = min(image.shape[:2])
    top, left = (image.shape[0] - side) // 2, (image.shape[1] - side) // 2
    return _scale(image[top : top + side, left : left + side], size, size)


RESIZERS: dict[str, Callable[[np.ndarray, int], np.ndarray]] = {"stretch": _stretch, "pad": _pad, "crop": _crop}


class PixelRules(NamedTuple):
    """One version of decoding (bytes -> pixels) and preparing (pixels -> the network's input).

    ``decode`` takes the bytes, ``max_pixels`` and ``image_size``.
    """

    decode: Callable[[bytes, int, int], Decoded]
    prepare: Callable[[np.ndarray, int, str, Sequence[str]], np.ndarray]


# See `rule_versions`. Version 2: colours by embedded profiles, large JPEGs reduced, orientation by any spelling, only
# the bits that are in use, and JPEGs whose data end early are found out.
PIXEL_RULES: dict[int, PixelRules] = {1: PixelRules(decode_v1, _prepare), 2: PixelRules(decode_v2, _prepare)}
