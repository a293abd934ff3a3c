"""Share of photos that are known again after a change that leaves them the same picture, and of others that are not.

Every photo is compared with its changed copy alone, so the share does not depend on how many photos there are; pairs
of different photos are compared by hash and grey copy, as `preprocess` does.
"""

from __future__ import annotations

from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import cv2
import numpy as np
import pandas as pd

from benchmarks.measure import compared
from pipeline.config import DataConfig
from pipeline.data.intake import find_photos
from pipeline.data.pixels import decode
from pipeline.data.pixels.fingerprints import Fingerprint, fingerprint
from pipeline.data.sources import photo_source
from pipeline.data.splits.duplicates import similar_pairs

PARTS = 5  # of the photos, for the spread
PHOTOS, PHOTOS_IF_QUICK = 1000, 50


def _jpeg(image: np.ndarray, quality: int) -> np.ndarray:
    encoded = cv2.imencode(".jpg", image[..., ::-1], [cv2.IMWRITE_JPEG_QUALITY, quality])[1]
    return decode(encoded.tobytes())


def _scaled(image: np.ndarray, factor: float) -> np.ndarray:
    return np.asarray(cv2.resize(image, None, fx=factor, fy=factor, interpolation=cv2.INTER_AREA))


def _cropped(image: np.ndarray, share: float) -> np.ndarray:
    top, left = (round(side * share / 2) for side in image.shape[:2])
    return image[top : image.shape[0] - top, left : image.shape[1] - left]


def _toned(image: np.ndarray, gain: float, shift: float) -> np.ndarray:
    return np.clip(image.astype(np.float32) * gain + shift, 0, 255).astype(np.uint8)


def _turned(image: np.ndarray, degrees: float) -> np.ndarray:
    height, width = image.shape[:2]
    matrix = cv2.getRotationMatrix2D((width / 2, height / 2), degrees, 1.0)
    return np.asarray(cv2.warpAffine(image, matrix, (width, height), borderMode=cv2.BORDER_REPLICATE))


def _grey(image: np.ndarray) -> np.ndarray:
    return np.repeat(cv2.cvtColor(image, cv2.COLOR_RGB2GRAY)[..., None], 3, axis=2)


CHANGES: dict[str, Callable[[np.ndarray], np.ndarray]] = {
    "none": lambda image: image,
    "JPEG, quality 30": lambda image: _jpeg(image, 30),
    "half the size": lambda image: _scaled(image, 0.5),
    "mirrored": lambda image: image[:, ::-1],
    "mirrored, half the size, JPEG 50": lambda image: _jpeg(_scaled(image[:, ::-1], 0.5), 50),
    "black and white": _grey,
    "brighter, less contrast": lambda image: _toned(image, 0.8, 40),
    "2 % cropped": lambda image: _cropped(image, 0.02),
    "5 % cropped": lambda image: _cropped(image, 0.05),
    "10 % cropped": lambda image: _cropped(image, 0.1),
    "turned by 2 degrees": lambda image: _turned(image, 2),
    "turned by 90 degrees": lambda image: np.rot90(image),
}


def run(data: str, quick: bool) -> pd.DataFrame:
    """Measure how many are found again, and print the pairs among the photos themselves."""
    source, *_ = photo_source(DataConfig(data=data).data, Path("data/raw"))
    files = [photo.path for photo in find_photos(source, ()).photos]
    with ThreadPoolExecutor() as pool:
        prints = list(pool.map(lambda file: fingerprint(decode(file.read_bytes())), files))
    for left, right in _found(prints):
        print(*(files[place].relative_to(source) for place in (left, right)), flush=True)
    some = np.random.default_rng(0).permutation(len(files))[: PHOTOS_IF_QUICK if quick else PHOTOS]
    shares: dict[str, list[float]] = {}
    for name, change in CHANGES.items():
        with ThreadPoolExecutor() as pool:
            again = [found.result() for found in [pool.submit(_is_found, prints[i], files[i], change) for i in some]]
        shares[name] = [float(np.mean(part)) for part in np.array_split(np.array(again), PARTS)]
    return compared(f"{len(some)} photos", "share found", shares)


def _is_found(original: Fingerprint, file: Path, change: Callable[[np.ndarray], np.ndarray]) -> bool:
    other = fingerprint(np.ascontiguousarray(change(decode(file.read_bytes()))))
    return other.pixels == original.pixels or bool(_found([original, other]))


def _found(prints: list[Fingerprint]) -> list[tuple[int, int]]:
    phashes, mirrored = (
        np.array([getattr(one, name) for one in prints], np.uint64) for name in ("phash", "mirrored_phash")
    )
    return [(pair.left, pair.right) for pair in similar_pairs(phashes, mirrored, lambda place: prints[place].grey)]
