"""Fingerprints for finding duplicates: digests of the pixels and of their mirror image, a hash of looks, a grey copy.

Computed from the decoded photo before it is resized for the network, so that no data flag changes which photos count as
duplicates. The hash is pHash (Zauner 2010): whether each of the 64 lowest-frequency coefficients of the cosine
transform is above their median. Rejected: imagehash, whose same hash takes five times as long (a sixth of decoding a
photo) and needs a second transform for the mirror image, where flipping the sign of every second coefficient is enough;
imagededup (needs PyTorch); cv2.img_hash (not in opencv-python).
"""

from __future__ import annotations

from typing import NamedTuple

import cv2
import numpy as np
import xxhash

GREY_PX = 32  # side of the grey copy that pHash starts from
HASH_SIDE = 8  # side of the square of coefficients: 64 bits
MIRROR_SIGNS = np.array([1, -1] * (HASH_SIDE // 2), np.float32)  # mirroring left to right flips these signs
SAMPLED_PX = 128  # a photo is first subsampled to at least this many pixels a side


class Fingerprint(NamedTuple):
    """The fingerprint of one photo.

    Attributes:
        pixels: hexadecimal 128-bit digest; equal for files that decode to the same pixels, whatever their format.
        mirrored_pixels: that digest of the left-right mirror image.
        phash: 64-bit perceptual hash.
        mirrored_phash: the perceptual hash of the left-right mirror image.
        grey: uint8 (`GREY_PX`, `GREY_PX`), the photo stretched to a square.
    """

    pixels: str
    mirrored_pixels: str
    phash: int
    mirrored_phash: int
    grey: np.ndarray


def fingerprint(image: np.ndarray) -> Fingerprint:
    """Return the fingerprint of a decoded photo, uint8 RGB (height, width, 3)."""
    mirrored_pixels = _pixel_digest(cv2.flip(image, 1))  # NumPy's mirror image takes ten times as long to copy
    step = max(1, min(image.shape[:2]) // SAMPLED_PX)
    sampled = cv2.cvtColor(image[::step, ::step], cv2.COLOR_RGB2GRAY)
    grey = cv2.resize(sampled, (GREY_PX, GREY_PX), interpolation=cv2.INTER_AREA)
    coefficients = cv2.dct(grey.astype(np.float32))[:HASH_SIDE, :HASH_SIDE]
    return Fingerprint(
        _pixel_digest(image),
        mirrored_pixels,
        _hash_bits(coefficients),
        _hash_bits(coefficients * MIRROR_SIGNS),
        grey,
    )


def _pixel_digest(image: np.ndarray) -> str:
    return xxhash.xxh3_128(np.ascontiguousarray(image).data, seed=image.shape[1]).hexdigest()


def _hash_bits(coefficients: np.ndarray) -> int:
    ordered = np.sort(coefficients, axis=None)
    middle = coefficients.size // 2
    median = (ordered[middle - 1] + ordered[middle]) / 2  # np.median takes as long as the transform
    return int.from_bytes(np.packbits(coefficients > median).tobytes(), "big")
