"""Thumbnails as base64 JPEG for the report's page, also of damaged photos."""

from __future__ import annotations

import base64
import io

import cv2
import numpy as np
from PIL import Image, ImageFile

from pipeline.data.pixels.formats import pillow_formats

SIDE = 128  # pixels
QUALITY = 75  # of JPEG: 3 to 6 kB per thumbnail


def thumbnail(data: bytes, max_pixels: int) -> str:
    """Return the thumbnail of an encoded photo as base64 JPEG, or an empty string if nothing can be decoded.

    Of a truncated photo it shows the part that is there. It sets a global Pillow switch while it runs: call it in a
    process of its own.
    """
    try:
        ImageFile.LOAD_TRUNCATED_IMAGES = True
        with Image.open(io.BytesIO(data), formats=pillow_formats(data)) as image:
            if image.width * image.height > max_pixels:
                return ""
            image.draft("RGB", (SIDE, SIDE))
            small = image.convert("RGB")
        small.thumbnail((SIDE, SIDE))
        buffer = io.BytesIO()
        small.save(buffer, "JPEG", quality=QUALITY)
        return base64.b64encode(buffer.getvalue()).decode()
    except Exception:  # the same damage that made the photo unusable
        return ""
    finally:
        ImageFile.LOAD_TRUNCATED_IMAGES = False


def thumbnail_of_pixels(image: np.ndarray) -> str:
    """Return uint8 RGB (height, width, 3) as base64 JPEG."""
    factor = min(1.0, SIDE / max(image.shape[:2]))
    small = cv2.resize(image, None, fx=factor, fy=factor, interpolation=cv2.INTER_AREA)
    encoded = cv2.imencode(".jpg", cv2.cvtColor(small, cv2.COLOR_RGB2BGR), [cv2.IMWRITE_JPEG_QUALITY, QUALITY])[1]
    return base64.b64encode(encoded.tobytes()).decode()
