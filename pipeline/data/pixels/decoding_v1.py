"""Version 1 of decoding, for the photos and models that were made by it: every photo whole, its colours as they are.

OpenCV decodes (given bytes instead of a file name, it applies EXIF orientation and rejects truncated JPEGs), except for
what it gets wrong: transparency, which it drops, and the orientation of AVIF. Pillow decodes these (but not 16-bit
grey, which it would clip), and GIF, for which OpenCV's decoder is young.
"""

from __future__ import annotations

from collections.abc import Iterator

import cv2
import numpy as np
from PIL import Image, ImageOps

from pipeline.data.pixels.headers import (
    BadImage,
    Decoded,
    conversion_notes,
    has_16_bits,
    is_for_pillow,
    opened,
    orientation_of,
)
from pipeline.data.pixels.large_photos import turn
from pipeline.data.rules import rule_text


def decode_v1(data: bytes, max_pixels: int, image_size: int = 0) -> Decoded:
    """Decode by version 1 of the pixel rules, whatever the image size."""
    del image_size
    with opened(data, max_pixels) as header, turn(header.width * header.height):
        notes = tuple(_notes(header, data))
        name = str(header.format)
        if is_for_pillow(header):
            pixels, was_transparent = composite_on_white(ImageOps.exif_transpose(header))
            notes = (*notes, *[rule_text("laid on white")] * was_transparent)
        else:
            pixels = decode_with_opencv(data, cv2.IMREAD_COLOR_RGB)
        return Decoded(pixels, name, notes, pixels.shape[1], pixels.shape[0])


def _notes(header: Image.Image, data: bytes) -> Iterator[str]:
    if (orientation := orientation_of(header, data)) > 1:
        yield rule_text("turned upright", f"EXIF orientation {orientation}")
    yield from conversion_notes(header, data)
    if has_16_bits(header, data):
        yield rule_text("16 bits made 8")


def decode_with_opencv(data: bytes, flags: int) -> np.ndarray:
    """Decode by OpenCV, which gets bytes and never a file name; raise BadImage if it cannot."""
    pixels = try_opencv(data, flags)
    if pixels is None:
        raise BadImage(rule_text("truncated or damaged"))
    return pixels


def try_opencv(data: bytes, flags: int) -> np.ndarray | None:
    """Decode by OpenCV, or return None if it cannot.

    Raises:
        BadImage: OpenCV says what is wrong.
        MemoryError: memory is short.
    """
    try:
        return cv2.imdecode(np.frombuffer(data, np.uint8), flags)
    except cv2.error as error:
        if error.code == cv2.Error.STS_NO_MEM:
            raise MemoryError(error.err) from error
        raise BadImage(rule_text("truncated or damaged", error.err)) from error


def composite_on_white(image: Image.Image) -> tuple[np.ndarray, bool]:
    """Return the pixels opaque, uint8 RGB (height, width, 3), and whether any of them were transparent."""
    coloured = image.convert("RGBA")
    canvas = Image.new("RGBA", coloured.size, (255, 255, 255, 255))
    was_transparent = bool(np.asarray(coloured)[..., 3].min() < 255)
    return np.asarray(Image.alpha_composite(canvas, coloured).convert("RGB")), was_transparent
