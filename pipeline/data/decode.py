"""Bytes of a photo -> the pixels that the network sees. Training, evaluation and serving all call this.

Owns decoding and shaping; reading files is the caller's. OpenCV decodes (it applies EXIF orientation and
refuses truncated JPEGs when given bytes instead of a file name); Pillow reads the header first, so that a
small file which claims a huge picture costs nothing, and decodes what OpenCV gets wrong: transparency, which it drops
(16-bit grey apart, which Pillow would clip), and the orientation of AVIF.
"""

from __future__ import annotations

import io
from collections.abc import Callable, Sequence

import cv2
import numpy as np
from PIL import Image, ImageOps, UnidentifiedImageError

from pipeline.data.image_ops import apply_ops

MAX_PIXELS = 89_478_485  # where Pillow begins to warn of decompression bombs: 0.25 GiB of RGB
TOO_LARGE = f"more than {MAX_PIXELS} pixels"


class BadImage(ValueError):
    """Bytes that are no usable photo; the message is the reason, in a few words."""


def decode(data: bytes) -> np.ndarray:
    """Decode an encoded photo.

    Returns:
        uint8 RGB of shape (height, width, 3), upright by EXIF, transparency laid on white, first frame.

    Raises:
        BadImage: the bytes are empty, no image, truncated, or more than `MAX_PIXELS`.
    """
    if not data:
        raise BadImage("empty file")
    try:
        with Image.open(io.BytesIO(data)) as header:
            if header.width * header.height > MAX_PIXELS:
                raise BadImage(TOO_LARGE)
            transparent = "A" in header.getbands() or "transparency" in header.info
            if header.format == "AVIF" or (transparent and not header.mode.startswith("I")):
                return _on_white(header)
    except BadImage:
        raise
    except Image.DecompressionBombError:  # Pillow's own limit is twice as high
        raise BadImage(TOO_LARGE) from None
    except UnidentifiedImageError:
        raise BadImage("not an image") from None
    except Exception as error:  # Pillow's readers raise whatever the damage makes them raise
        raise BadImage(f"damaged ({error})") from error
    try:
        pixels = cv2.imdecode(np.frombuffer(data, np.uint8), cv2.IMREAD_COLOR_RGB)
    except cv2.error as error:
        raise BadImage(f"damaged ({error.err})") from error
    if pixels is None:
        raise BadImage("truncated or damaged")
    return pixels


def _on_white(image: Image.Image) -> np.ndarray:
    upright = ImageOps.exif_transpose(image).convert("RGBA")
    canvas = Image.new("RGBA", upright.size, (255, 255, 255, 255))
    return np.asarray(Image.alpha_composite(canvas, upright).convert("RGB"))


def prepare(image: np.ndarray, image_size: int, resize: str, image_ops: Sequence[str] = ()) -> np.ndarray:
    """Shape a decoded photo into the network's input: make it square, then apply the image operations.

    Args:
        image: uint8 RGB (height, width, 3).
        image_size: side of the result in pixels.
        resize: a key of `RESIZERS`.
        image_ops: operations such as ``opening:5``, applied in order.

    Returns:
        uint8 RGB of shape (image_size, image_size, 3).
    """
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
