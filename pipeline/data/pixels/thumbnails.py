"""Small pictures for people to look at, as text that fits into a page: also of photos that are damaged."""

from __future__ import annotations

import base64
import io

import cv2
import numpy as np
from PIL import Image, ImageFile

from pipeline.data.pixels.decode import FORMATS

SIDE = 128  # pixels
QUALITY = 75  # of JPEG: 3 to 6 kB a picture


def thumbnail(data: bytes, max_pixels: int) -> str:
    """Return what can be seen of an encoded photo, as base64 JPEG, or empty text if nothing can.

    A truncated photo shows the part that is there. Sets a switch of Pillow's for as long as it runs: for a process of
    its own.
    """
    try:
        ImageFile.LOAD_TRUNCATED_IMAGES = True
        with Image.open(io.BytesIO(data), formats=list(FORMATS)) as image:
            if image.width * image.height > max_pixels:
                return ""
            image.draft("RGB", (SIDE, SIDE))
            small = image.convert("RGB")
        small.thumbnail((SIDE, SIDE))
        buffer = io.BytesIO()
        small.save(buffer, "JPEG", quality=QUALITY)
        return base64.b64encode(buffer.getvalue()).decode()
    except Exception:  # whatever made the photo unusable
        return ""
    finally:
        ImageFile.LOAD_TRUNCATED_IMAGES = False


def thumbnail_of_pixels(image: np.ndarray) -> str:
    """Return uint8 RGB (height, width, 3) as base64 JPEG."""
    factor = min(1.0, SIDE / max(image.shape[:2]))
    small = cv2.resize(image, None, fx=factor, fy=factor, interpolation=cv2.INTER_AREA)
    encoded = cv2.imencode(".jpg", cv2.cvtColor(small, cv2.COLOR_RGB2BGR), [cv2.IMWRITE_JPEG_QUALITY, QUALITY])[1]
    return base64.b64encode(encoded.tobytes()).decode()
