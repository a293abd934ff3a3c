"""How far photos that are encoded again are from what they were, and others from each other, by perceptual hash.

Percent of the photos within `MAX_DISTANCE_BITS` and other limits: of themselves for every way to save them again, and
of any other photo. Where the limit of `data.store.known_photos` comes from.
"""

from __future__ import annotations

from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import cv2
import numpy as np
import pandas as pd

from benchmarks.measure import compared
from pipeline.data.intake import find_photos
from pipeline.data.pixels import decode
from pipeline.data.pixels.fingerprints import fingerprint
from pipeline.data.sources import photo_source
from pipeline.data.store.known_photos import MAX_DISTANCE_BITS

LIMITS = (0, 2, MAX_DISTANCE_BITS, 6, 8, 10)  # bits
IF_QUICK = 60  # photos


def _encoded(suffix: str, *options: int) -> Callable[[np.ndarray], np.ndarray]:
    def encode(image: np.ndarray) -> np.ndarray:
        return np.asarray(cv2.imdecode(cv2.imencode(suffix, image, options)[1], cv2.IMREAD_COLOR))

    return encode


def _half(image: np.ndarray) -> np.ndarray:
    return cv2.resize(image, None, fx=0.5, fy=0.5, interpolation=cv2.INTER_AREA)


def _cropped(image: np.ndarray) -> np.ndarray:
    height, width = image.shape[0] // 50, image.shape[1] // 50
    return np.ascontiguousarray(image[height:-height, width:-width])


CHANGES: dict[str, Callable[[np.ndarray], np.ndarray]] = {
    "JPEG of quality 30": _encoded(".jpg", cv2.IMWRITE_JPEG_QUALITY, 30),
    "JPEG of quality 75": _encoded(".jpg", cv2.IMWRITE_JPEG_QUALITY, 75),
    "WebP of quality 75": _encoded(".webp", cv2.IMWRITE_WEBP_QUALITY, 75),
    "half the size": _half,
    "brighter by 15 %": lambda image: cv2.convertScaleAbs(image, alpha=1.15, beta=8),
    "2 % cut from each side": _cropped,
}


def run(data: str, quick: bool) -> pd.DataFrame:
    """Compare hashes."""
    source, *_ = photo_source(data, Path("data/raw"))
    paths = [photo.path for photo in find_photos(source, ()).photos][: IF_QUICK if quick else None]
    with ThreadPoolExecutor() as pool:
        hashes = np.array(list(pool.map(_hashes, paths)), np.uint64)
    own = hashes[:, 0]
    distances = {name: np.bitwise_count(own ^ hashes[:, place]) for place, name in enumerate(CHANGES, start=1)}
    distances["another photo"] = np.array(
        [np.bitwise_count(np.delete(own, place) ^ own[place]).min() for place in range(len(own))]
    )
    return pd.concat(
        [
            compared(
                f"within {limit} of 64 bits",
                f"% of {len(own)} photos",
                {name: [100 * float((found <= limit).mean())] for name, found in distances.items()},
            )
            for limit in LIMITS
        ],
        ignore_index=True,
    )


def _hashes(path: Path) -> list[int]:
    image = decode(path.read_bytes())
    return [fingerprint(changed).phash for changed in (image, *(change(image) for change in CHANGES.values()))]
