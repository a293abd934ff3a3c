"""Named OpenCV operations for the ``image_ops`` flag: one small function each, one line in `IMAGE_OPS`.

Each takes and returns uint8 RGB (height, width, 3); an operation is spelled ``name`` or ``name:size`` with
the size of its square kernel in pixels, as in ``opening:5``.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from functools import partial

import cv2
import numpy as np

from pipeline.config import UserError

DEFAULT_KERNEL, MAX_KERNEL = 3, 31


def _morphology(operation: int, image: np.ndarray, size: int) -> np.ndarray:
    kernel = cv2.getStructuringElement(cv2.MORPH_ELLIPSE, (size, size))
    return cv2.morphologyEx(image, operation, kernel)


def _gaussian_blur(image: np.ndarray, size: int) -> np.ndarray:
    return cv2.GaussianBlur(image, (size, size), 0)


def _median_blur(image: np.ndarray, size: int) -> np.ndarray:
    return cv2.medianBlur(image, size)


def _grey(image: np.ndarray, size: int) -> np.ndarray:
    return cv2.cvtColor(cv2.cvtColor(image, cv2.COLOR_RGB2GRAY), cv2.COLOR_GRAY2RGB)


def _equalize(image: np.ndarray, size: int) -> np.ndarray:
    luma, *chroma = cv2.split(cv2.cvtColor(image, cv2.COLOR_RGB2YCrCb))
    return cv2.cvtColor(cv2.merge([cv2.equalizeHist(luma), *chroma]), cv2.COLOR_YCrCb2RGB)


IMAGE_OPS: dict[str, Callable[[np.ndarray, int], np.ndarray]] = {
    "erosion": partial(_morphology, cv2.MORPH_ERODE),
    "dilation": partial(_morphology, cv2.MORPH_DILATE),
    "opening": partial(_morphology, cv2.MORPH_OPEN),
    "closing": partial(_morphology, cv2.MORPH_CLOSE),
    "gradient": partial(_morphology, cv2.MORPH_GRADIENT),
    "top_hat": partial(_morphology, cv2.MORPH_TOPHAT),
    "black_hat": partial(_morphology, cv2.MORPH_BLACKHAT),
    "gaussian_blur": _gaussian_blur,
    "median_blur": _median_blur,
    "grey": _grey,
    "equalize": _equalize,
}


def check_ops(ops: Sequence[str]) -> None:
    """Raise `UserError` unless every operation is known and its kernel an odd size from 1 to `MAX_KERNEL`."""
    for op in ops:
        name, _, size = op.partition(":")
        if name not in IMAGE_OPS:
            raise UserError(f"image_ops must name operations of {', '.join(IMAGE_OPS)}, got {op!r} (try opening:5)")
        if size and not (size.isdecimal() and int(size) % 2 and int(size) <= MAX_KERNEL):
            raise UserError(f"image_ops takes an odd kernel size up to {MAX_KERNEL}, got {op!r} (try {name}:5)")


def apply_ops(image: np.ndarray, ops: Sequence[str]) -> np.ndarray:
    """Apply the checked operations to uint8 RGB (height, width, 3), in order."""
    for op in ops:
        name, _, size = op.partition(":")
        image = IMAGE_OPS[name](image, int(size or DEFAULT_KERNEL))
    return image
