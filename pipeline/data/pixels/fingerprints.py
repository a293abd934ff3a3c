"""What tells whether two photos are the same picture: a digest of the pixels, a perceptual hash, and a small grey copy.

Computed from the decoded photo, before it is cut to the network's size, so that no data flag changes which photos are
found alike. The hash is pHash (Zauner 2010): the signs of the 64 slowest waves of the cosine transform around their
median. Rejected: imagehash, which has the same hash at five times the price, a sixth of decoding a photo, and needs the
mirror image transformed anew, where it is only every second wave upside down; imagededup (needs PyTorch); cv2.img_hash
(not in opencv-python).
"""

from __future__ import annotations

from typing import NamedTuple

import cv2
import numpy as np
import xxhash

GREY_PX = 32  # the side from which pHash begins
HASH_SIDE = 8  # of the square of waves: 64 bits
MIRROR = np.array([1, -1] * (HASH_SIDE // 2), np.float32)  # what mirroring left to right makes of the waves
SAMPLED_PX = 128  # a photo is first thinned out to at least this many pixels a side


class Fingerprint(NamedTuple):
    """Of one photo.

    Attributes:
        pixels: hexadecimal 128-bit digest; equal for files that decode to the same pixels, whatever their format.
        phash: 64-bit perceptual hash.
        mirrored_phash: that of the photo's mirror image, left to right.
        grey: uint8 (`GREY_PX`, `GREY_PX`), the photo stretched to a square.
    """

    pixels: str
    phash: int
    mirrored_phash: int
    grey: np.ndarray


def fingerprint(image: np.ndarray) -> Fingerprint:
    """Return the fingerprint of a decoded photo, uint8 RGB (height, width, 3)."""
    pixels = xxhash.xxh3_128(np.ascontiguousarray(image).data, seed=image.shape[1])
    step = max(1, min(image.shape[:2]) // SAMPLED_PX)
    sampled = cv2.cvtColor(image[::step, ::step], cv2.COLOR_RGB2GRAY)
    grey = cv2.resize(sampled, (GREY_PX, GREY_PX), interpolation=cv2.INTER_AREA)
    waves = cv2.dct(grey.astype(np.float32))[:HASH_SIDE, :HASH_SIDE]
    return Fingerprint(pixels.hexdigest(), _signs(waves), _signs(waves * MIRROR), grey)


def _signs(waves: np.ndarray) -> int:
    ordered = np.sort(waves, axis=None)
    median = (ordered[waves.size // 2 - 1] + ordered[waves.size // 2]) / 2  # np.median takes as long as the transform
    return int.from_bytes(np.packbits(waves > median).tobytes(), "big")
