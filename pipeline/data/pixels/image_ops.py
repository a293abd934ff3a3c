"""Named OpenCV operations for the ``image_ops`` flag: one small function each, one line in `IMAGE_OPS`.

Each takes and returns uint8 RGB (height, width, 3) of any size, and is deterministic. An operation is written ``name``
or ``name:parameter:parameter`` with integers in the order of its line in `IMAGE_OPS`, as in ``opening:5`` or
``canny:50:150``; omitted parameters have their defaults.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from functools import partial
from typing import NamedTuple

import cv2
import numpy as np

from pipeline.config import UserError

MIN_FOREGROUND_SHARE = 0.05  # if background removal leaves less of a photo, it has removed the flower
GRABCUT_COLOURS = 5  # GrabCut's Gaussians for each of foreground and background: it needs as many pixels


class Parameter(NamedTuple):
    """An integer parameter of an operation: its default and its valid range."""

    name: str
    default: int
    lowest: int
    highest: int
    odd: bool = False

    def allows(self, text: str) -> bool:
        """Return whether the text is a valid value, written in plain digits."""
        if not (text.isascii() and text.isdecimal()):
            return False
        return self.lowest <= int(text) <= self.highest and not (self.odd and int(text) % 2 == 0)

    def __str__(self) -> str:
        return f"{self.name}, {'odd, ' if self.odd else ''}{self.lowest} to {self.highest}"


class Operation(NamedTuple):
    """A function of the image and the values of its parameters."""

    apply: Callable[..., np.ndarray]
    parameters: tuple[Parameter, ...] = ()


def _morphology(operation: int, image: np.ndarray, size: int) -> np.ndarray:
    kernel = cv2.getStructuringElement(cv2.MORPH_ELLIPSE, (size, size))
    return cv2.morphologyEx(image, operation, kernel)


def _gaussian_blur(image: np.ndarray, size: int) -> np.ndarray:
    return cv2.GaussianBlur(image, (size, size), 0)


def _median_blur(image: np.ndarray, size: int) -> np.ndarray:
    return cv2.medianBlur(image, size)


def _bilateral_blur(image: np.ndarray, size: int, strength: int) -> np.ndarray:
    """Blur differences below about ``strength`` grey levels and keep edges (Tomasi and Manduchi 1998)."""
    return cv2.bilateralFilter(image, size, strength, size / 2)


def _unsharp(image: np.ndarray, size: int, percent: int) -> np.ndarray:
    """Add ``percent`` of the detail that a Gaussian blur removes."""
    share = percent / 100
    return cv2.addWeighted(image, 1 + share, cv2.GaussianBlur(image, (size, size), 0), -share, 0)


def _grey(image: np.ndarray) -> np.ndarray:
    return cv2.cvtColor(cv2.cvtColor(image, cv2.COLOR_RGB2GRAY), cv2.COLOR_GRAY2RGB)


def _equalize(image: np.ndarray) -> np.ndarray:
    return _apply_to_luma(image, cv2.equalizeHist)


def _clahe(image: np.ndarray, clip_limit: int, tiles: int) -> np.ndarray:
    """Equalise ``tiles`` x ``tiles`` tiles with limited contrast (Zuiderveld 1994); no tile is below 2 pixels."""
    across, down = (min(tiles, max(1, side // 2)) for side in (image.shape[1], image.shape[0]))
    return _apply_to_luma(image, cv2.createCLAHE(clip_limit, (across, down)).apply)


def _apply_to_luma(image: np.ndarray, change: Callable[[np.ndarray], np.ndarray]) -> np.ndarray:
    luma, *chroma = cv2.split(cv2.cvtColor(image, cv2.COLOR_RGB2YCrCb))
    return cv2.cvtColor(cv2.merge([change(luma), *chroma]), cv2.COLOR_YCrCb2RGB)


def _canny(image: np.ndarray, low: int, high: int) -> np.ndarray:
    """Replace the blue channel, which contributes least to luma (11 %), by the edges (Canny 1986), 0 or 255."""
    edged = image.copy()
    edged[..., 2] = cv2.Canny(cv2.cvtColor(image, cv2.COLOR_RGB2GRAY), low, high)
    return edged


def _grabcut(image: np.ndarray, margin: int, rounds: int) -> np.ndarray:
    """Blacken what has the colours of the outer ``margin`` % of the photo (GrabCut, Rother et al. 2004).

    A photo that is too small, or of which less than `MIN_FOREGROUND_SHARE` would be left, is returned unchanged.
    """
    height, width = image.shape[:2]
    left, top = (max(1, side * margin // 100) for side in (width, height))
    inside = max(0, width - 2 * left) * max(0, height - 2 * top)
    if min(inside, height * width - inside) < GRABCUT_COLOURS:
        return image
    mask = np.zeros((height, width), np.uint8)
    back, front = (np.zeros((1, 13 * GRABCUT_COLOURS)) for _ in range(2))
    cv2.setRNGSeed(0)  # per thread: GrabCut starts with k-means from random centres
    rectangle = (left, top, width - 2 * left, height - 2 * top)
    cv2.grabCut(np.ascontiguousarray(image), mask, rectangle, back, front, rounds, cv2.GC_INIT_WITH_RECT)
    return _blacken(image, (mask == cv2.GC_BGD) | (mask == cv2.GC_PR_BGD))


def _hsv_mask(image: np.ndarray, first: int, last: int, saturation: int, value: int) -> np.ndarray:
    """Blacken pixels of hues ``first`` to ``last`` with at least this saturation and value; by default green.

    Hues are OpenCV's: half the degrees on the colour circle; with ``first`` above ``last`` the range wraps around red.
    A photo of which less than `MIN_FOREGROUND_SHARE` would be left is returned unchanged.
    """
    hue, saturations, values = cv2.split(cv2.cvtColor(image, cv2.COLOR_RGB2HSV))
    in_range = (hue >= first) & (hue <= last) if first <= last else (hue >= first) | (hue <= last)
    return _blacken(image, in_range & (saturations >= saturation) & (values >= value))


def _blacken(image: np.ndarray, background: np.ndarray) -> np.ndarray:
    if np.mean(~background) < MIN_FOREGROUND_SHARE:
        return image
    return np.where(background[..., None], np.uint8(0), image)


SIZE = Parameter("size of the kernel in pixels", 3, 1, 31, odd=True)

IMAGE_OPS: dict[str, Operation] = {
    "erosion": Operation(partial(_morphology, cv2.MORPH_ERODE), (SIZE,)),
    "dilation": Operation(partial(_morphology, cv2.MORPH_DILATE), (SIZE,)),
    "opening": Operation(partial(_morphology, cv2.MORPH_OPEN), (SIZE,)),
    "closing": Operation(partial(_morphology, cv2.MORPH_CLOSE), (SIZE,)),
    "gradient": Operation(partial(_morphology, cv2.MORPH_GRADIENT), (SIZE,)),
    "top_hat": Operation(partial(_morphology, cv2.MORPH_TOPHAT), (SIZE,)),
    "black_hat": Operation(partial(_morphology, cv2.MORPH_BLACKHAT), (SIZE,)),
    "clahe": Operation(_clahe, (Parameter("clip limit", 2, 1, 40), Parameter("tiles a side", 8, 1, 32))),
    "equalize": Operation(_equalize),
    "grey": Operation(_grey),
    "gaussian_blur": Operation(_gaussian_blur, (SIZE,)),
    "median_blur": Operation(_median_blur, (SIZE,)),
    "bilateral_blur": Operation(
        _bilateral_blur, (SIZE._replace(default=5), Parameter("strength in grey levels", 50, 1, 255))
    ),
    "unsharp": Operation(_unsharp, (SIZE._replace(default=5, lowest=3), Parameter("percent", 100, 1, 500))),
    "canny": Operation(
        _canny, (Parameter("lower threshold", 100, 0, 2000), Parameter("upper threshold", 200, 0, 2000))
    ),
    "grabcut": Operation(_grabcut, (Parameter("margin in percent", 5, 1, 45), Parameter("rounds", 3, 1, 10))),
    "hsv_mask": Operation(
        _hsv_mask,
        (
            Parameter("first hue", 35, 0, 179),
            Parameter("last hue", 85, 0, 179),
            Parameter("least saturation", 40, 0, 255),
            Parameter("least value", 20, 0, 255),
        ),
    ),
}


def check_ops(ops: Sequence[str]) -> None:
    """Raise `UserError` unless every operation is known and its parameters are valid."""
    for op in ops:
        name, *texts = op.split(":")
        if name not in IMAGE_OPS:
            raise UserError(f"image_ops must name operations of {', '.join(IMAGE_OPS)}, got {op!r} (try opening:5)")
        parameters = IMAGE_OPS[name].parameters
        allowed = len(texts) <= len(parameters) and all(map(Parameter.allows, parameters, texts))
        if not allowed:
            values = "; ".join(map(str, parameters))
            takes = f"takes {len(parameters)} ({values})" if parameters else "takes none"
            rule = "image_ops parameters must fit their operation"
            raise UserError(f"{rule}, got {op!r}: {name} {takes} (try {_with_defaults(name)})")


def _with_defaults(name: str) -> str:
    return ":".join([name, *(str(parameter.default) for parameter in IMAGE_OPS[name].parameters)])


def apply_ops(image: np.ndarray, ops: Sequence[str]) -> np.ndarray:
    """Apply the checked operations to uint8 RGB (height, width, 3), in order."""
    return [image, *(changed for _, changed in stages(image, ops))][-1]


def stages(image: np.ndarray, ops: Sequence[str]) -> Iterator[tuple[str, np.ndarray]]:
    """Yield each checked operation with the image after it, in order."""
    for op in ops:
        name, *texts = op.split(":")
        apply, parameters = IMAGE_OPS[name]
        values = [int(text) for text in texts] + [parameter.default for parameter in parameters[len(texts) :]]
        image = apply(image, *values)
        yield op, image
