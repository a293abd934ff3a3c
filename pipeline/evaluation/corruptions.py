"""Robustness: accuracy on photos with named corruptions at five strengths.

After Hendrycks & Dietterich 2019, "Benchmarking Neural Network Robustness to Common Corruptions and Perturbations"
(arXiv 1903.12261), with the strengths of their Tiny ImageNet-C, whose photos have 64 pixels; blur scales with the side
of the photo. Rotation and occlusion are ours. Rejected: the package imagecorruptions, which needs numba and
scikit-image, and has only the strengths for 224 pixels. A new corruption is a function and a line in `CORRUPTIONS`.
"""

from __future__ import annotations

import zlib
from collections.abc import Callable

import cv2
import numpy as np
import pandas as pd
from tqdm import tqdm

from pipeline.evaluation.intervals import interval_of_shares

Corruption = Callable[[np.ndarray, int, np.random.Generator], np.ndarray]
STRENGTHS = (1, 2, 3, 4, 5)
CLEAN = "none"  # strength 0


def _blur(image: np.ndarray, strength: int, rng: np.random.Generator) -> np.ndarray:
    sigma = (0.5, 0.75, 1, 1.25, 1.5)[strength - 1] * image.shape[0] / 64
    return cv2.GaussianBlur(image, (0, 0), sigma)


def _noise(image: np.ndarray, strength: int, rng: np.random.Generator) -> np.ndarray:
    sigma = 255 * (0.04, 0.08, 0.12, 0.15, 0.18)[strength - 1]
    return _as_pixels(image + rng.normal(scale=sigma, size=image.shape))


def _jpeg(image: np.ndarray, strength: int, rng: np.random.Generator) -> np.ndarray:
    quality = (65, 58, 50, 40, 25)[strength - 1]
    encoded = cv2.imencode(".jpg", image[..., ::-1], [cv2.IMWRITE_JPEG_QUALITY, quality])[1]
    return np.asarray(cv2.imdecode(encoded, cv2.IMREAD_COLOR_RGB))


def _brightness(image: np.ndarray, strength: int, rng: np.random.Generator) -> np.ndarray:
    hsv = cv2.cvtColor(image, cv2.COLOR_RGB2HSV)
    hsv[..., 2] = _as_pixels(hsv[..., 2] + 255 * strength / 10)
    return cv2.cvtColor(hsv, cv2.COLOR_HSV2RGB)


def _contrast(image: np.ndarray, strength: int, rng: np.random.Generator) -> np.ndarray:
    factor = (0.4, 0.3, 0.2, 0.1, 0.05)[strength - 1]
    mean = image.mean(axis=(0, 1))
    return _as_pixels((image - mean) * factor + mean)


def _rotation(image: np.ndarray, strength: int, rng: np.random.Generator) -> np.ndarray:
    degrees = (8, 15, 25, 35, 45)[strength - 1] * rng.choice((-1, 1))
    height, width = image.shape[:2]
    turn = cv2.getRotationMatrix2D(((width - 1) / 2, (height - 1) / 2), degrees, 1)
    return cv2.warpAffine(image, turn, (width, height), borderMode=cv2.BORDER_REFLECT_101)


def _occlusion(image: np.ndarray, strength: int, rng: np.random.Generator) -> np.ndarray:
    """Cover a tenth to half of the photo with a grey rectangle at a random position."""
    height, width = image.shape[:2]
    side = np.sqrt(strength / 10)
    rows, columns = round(height * side), round(width * side)
    top, left = rng.integers(height - rows + 1), rng.integers(width - columns + 1)
    covered = image.copy()
    covered[top : top + rows, left : left + columns] = 127
    return covered


CORRUPTIONS: dict[str, Corruption] = {
    "blur": _blur,
    "noise": _noise,
    "jpeg": _jpeg,
    "brightness": _brightness,
    "contrast": _contrast,
    "rotation": _rotation,
    "occlusion": _occlusion,
}


def corrupt_images(images: np.ndarray, name: str, strength: int, seed: int = 0) -> np.ndarray:
    """Return corrupted uint8 RGB (n, height, width, 3); with the same seed, photo i is always corrupted equally."""
    key = zlib.crc32(name.encode())  # not its index in the table: a new corruption changes no other
    streams = (np.random.default_rng((seed, key, strength, index)) for index in range(len(images)))
    corrupted = [
        CORRUPTIONS[name](np.asarray(image), strength, rng) for image, rng in zip(images, streams, strict=True)
    ]
    return np.stack(corrupted)


def corruption_table(
    predict: Callable[[np.ndarray], np.ndarray], images: np.ndarray, labels: np.ndarray, groups: np.ndarray
) -> pd.DataFrame:
    """Return accuracy, low and high (95 %) by corruption and strength; the first row is for the clean photos.

    Args:
        predict: prepared uint8 RGB (n, height, width, 3) -> probabilities (n, classes).
        images: the prepared photos; all copies of one corruption and strength are in memory at once.
        labels: int (n,).
        groups: ids (n,), equal for near-duplicate photos.
    """
    rows: list[dict[str, object]] = []
    plan = [(CLEAN, 0), *((name, strength) for name in CORRUPTIONS for strength in STRENGTHS)]
    for name, strength in tqdm(plan, desc="corruptions", disable=None, leave=False):
        photos = images if name == CLEAN else corrupt_images(images, name, strength)
        correct = predict(photos).argmax(axis=1) == labels
        low, high = interval_of_shares(correct, groups)
        rows.append(
            {"corruption": name, "strength": strength, "accuracy": correct.mean(), "low": low, "high": high}
            | {"photos": len(labels)}
        )
    return pd.DataFrame(rows)


def mean_corrupted_accuracy(table: pd.DataFrame) -> float:
    """Return the mean accuracy over all corruptions and strengths of a `corruption_table`."""
    return float(table.loc[table["corruption"] != CLEAN, "accuracy"].mean())


def _as_pixels(values: np.ndarray) -> np.ndarray:
    return np.clip(np.rint(values), 0, 255).astype(np.uint8)
