"""Random augmentation of training photos: named policies, each a short list of transforms, one line in `POLICIES`.

Mirroring, which turns one letter into another, is apart from them, and so is what makes a poor photo of a good one
(`DEGRADATIONS`). A transform takes uint8 RGB (height, width, 3) and a
generator and returns the same shape and dtype. The result depends only on (seed, epoch, index), never on batches,
threads or earlier photos. OpenCV transforms uint8: about 0.1 ms a photo at 128 px, where the training step takes 7 ms.
"""

from __future__ import annotations

from collections.abc import Callable

import cv2
import numpy as np

from pipeline.config import TrainingConfig

LEFT_TO_RIGHT, TOP_TO_BOTTOM = 1, 0  # axes of cv2.flip
Transform = Callable[[np.ndarray, np.random.Generator], np.ndarray]


def shift(fraction: float) -> Transform:
    """Shift by up to ``fraction`` of the side; borders are mirrored."""
    return warp(scale=(1.0, 1.0), degrees=0.0, shift=fraction)


def warp(scale: tuple[float, float], degrees: float, shift: float) -> Transform:
    """Scale (log-uniform), rotate by up to ``degrees`` and shift, in one interpolation; borders are mirrored."""
    low, high = np.log(scale)

    def transform(image: np.ndarray, rng: np.random.Generator) -> np.ndarray:
        height, width = image.shape[:2]
        factor = float(np.exp(rng.uniform(low, high)))
        matrix: np.ndarray = cv2.getRotationMatrix2D(
            (width / 2 - 0.5, height / 2 - 0.5), rng.uniform(-degrees, degrees), factor
        )
        matrix[:, 2] += rng.uniform(-shift, shift, 2) * np.array([width, height])
        return cv2.warpAffine(image, matrix, (width, height), flags=cv2.INTER_LINEAR, borderMode=cv2.BORDER_REFLECT_101)

    return transform


def light(contrast: float, brightness: float) -> Transform:
    """Multiply by 1 +- ``contrast`` and add +- ``brightness`` of the full range."""

    def transform(image: np.ndarray, rng: np.random.Generator) -> np.ndarray:
        gain = 1 + rng.uniform(-contrast, contrast)
        offset = 127.5 * (1 - gain) + 255 * rng.uniform(-brightness, brightness)
        table = np.clip(np.arange(256) * gain + offset, 0, 255).astype(np.uint8)
        return cv2.LUT(image, table)

    return transform


def saturation(amount: float) -> Transform:
    """Blend towards the photo's own grey, or away from it, by up to ``amount``."""

    def transform(image: np.ndarray, rng: np.random.Generator) -> np.ndarray:
        keep = 1 + rng.uniform(-amount, amount)
        grey = cv2.cvtColor(cv2.cvtColor(image, cv2.COLOR_RGB2GRAY), cv2.COLOR_GRAY2RGB)
        return cv2.addWeighted(image, keep, grey, 1 - keep, 0)

    return transform


def erase(max_share: float) -> Transform:
    """Grey out a rectangle of up to ``max_share`` of each side with probability 1/2 (Zhong et al. 2017)."""

    def transform(image: np.ndarray, rng: np.random.Generator) -> np.ndarray:
        if rng.random() < 0.5:
            return image
        sides = np.array(image.shape[:2])
        height, width = (rng.uniform(0.1, max_share, 2) * sides).astype(int)
        top, left = rng.integers(0, sides - (height, width) + 1)
        erased = image.copy()
        erased[top : top + height, left : left + width] = 127
        return erased

    return transform


POLICIES: dict[str, tuple[Transform, ...]] = {
    "none": (),
    "light": (shift(0.08),),
    "medium": (warp((0.85, 1.3), 15, 0.08), light(0.2, 0.1), saturation(0.3)),
    "strong": (warp((0.7, 1.6), 30, 0.12), light(0.4, 0.2), saturation(0.6), erase(0.5)),
}


def shrink(factor: tuple[float, float]) -> Transform:
    """Shrink to a share of the side (log-uniform) and enlarge again: a thumbnail, or out of focus."""
    low, high = np.log(factor)

    def transform(image: np.ndarray, rng: np.random.Generator) -> np.ndarray:
        height, width = image.shape[:2]
        share = np.exp(rng.uniform(low, high))
        small = cv2.resize(
            image, (max(1, round(width * share)), max(1, round(height * share))), interpolation=cv2.INTER_AREA
        )
        return cv2.resize(small, (width, height), interpolation=cv2.INTER_LINEAR)

    return transform


def shot_noise(photons: tuple[float, float]) -> Transform:
    """Add noise of few photons (log-uniform number for full brightness), each of whose counts has its root as sigma."""
    low, high = np.log(photons)

    def transform(image: np.ndarray, rng: np.random.Generator) -> np.ndarray:
        sigma = np.sqrt(image * np.float32(255 / np.exp(rng.uniform(low, high))))
        noisy = image + sigma * rng.standard_normal(image.shape, np.float32)
        return np.clip(np.rint(noisy), 0, 255).astype(np.uint8)

    return transform


def haze(transmission: tuple[float, float], air: tuple[float, float]) -> Transform:
    """Blend with a grey between ``air``: of the light, a share (``transmission``) comes through (Koschmieder 1924)."""

    def transform(image: np.ndarray, rng: np.random.Generator) -> np.ndarray:
        share, grey = rng.uniform(*transmission), rng.uniform(*air)
        table = np.clip(np.rint(np.arange(256) * share + grey * (1 - share)), 0, 255).astype(np.uint8)
        return cv2.LUT(image, table)

    return transform


# What befalls other people's photos. Not the corruptions that `evaluate` measures with: those blur by a Gaussian, add
# noise of equal strength everywhere, and move contrast towards the photo's own mean.
DEGRADATIONS: dict[str, Transform] = {
    "small": shrink((0.2, 0.7)),
    "noisy": shot_noise((8, 200)),
    "hazy": haze(transmission=(0.08, 0.6), air=(60, 220)),
    "dark": haze(transmission=(0.1, 0.5), air=(0, 0)),
}


def changes_photos(config: TrainingConfig) -> bool:
    """Return whether the network sees a photo in several forms."""
    return config.augment != "none"


def augment(image: np.ndarray, config: TrainingConfig, key: tuple[int, ...]) -> np.ndarray:
    """Return the photo augmented by a config, seeded by ``key``: seed, epoch and index.

    Each wanted mirror image is taken with probability 1/2. Then come the transforms of the policy ``config.augment``,
    and with probability ``config.degrade`` one of `DEGRADATIONS`.
    """
    if not changes_photos(config):
        return image
    rng = np.random.default_rng(key)
    for is_wanted, axis in ((config.horizontal_flip, LEFT_TO_RIGHT), (config.vertical_flip, TOP_TO_BOTTOM)):
        if is_wanted and rng.random() < 0.5:
            image = cv2.flip(image, axis)
    for transform in POLICIES[config.augment]:
        image = transform(image, rng)
    if config.degrade and rng.random() < config.degrade:
        image = list(DEGRADATIONS.values())[rng.integers(len(DEGRADATIONS))](image, rng)
    return image
