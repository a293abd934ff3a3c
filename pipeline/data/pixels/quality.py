"""Photos that a person should look at: nearly black or white, blurred, or of one colour. They are used all the same.

Rules, not opinions: each is one number of the grey photo, scaled to about `SIDE` pixels on its longer side, and a
limit. The limits were chosen on Flower Photos, of whose 3,670 photos they name few (docs/log.md).
"""

from __future__ import annotations

import cv2
import numpy as np

from pipeline.data.rules import rule_text

SIDE = 128
DARK, BRIGHT = 40, 235  # of 255: all but a hundredth of the pixels are darker, all but a twentieth brighter
FLAT = 3.0  # standard deviation of the brightness
BLURRED = 0.2  # standard deviation of the Laplacian, as a share of that of the brightness


def quality_notes(image: np.ndarray) -> list[str]:
    """Return the rule texts that hold of a decoded photo, uint8 RGB (height, width, 3)."""
    step = max(1, min(image.shape[:2]) // (2 * SIDE))
    grey = cv2.cvtColor(image[::step, ::step], cv2.COLOR_RGB2GRAY)
    factor = max(1, round(max(grey.shape) / SIDE))  # a whole one, which OpenCV scales by in a tenth of the time
    height, width = (max(1, side // factor) for side in grey.shape)
    grey = cv2.resize(grey[: height * factor, : width * factor], (width, height), interpolation=cv2.INTER_AREA)
    brighter = [np.count_nonzero(grey > limit) / grey.size for limit in (DARK, BRIGHT)]
    spread = float(cv2.meanStdDev(grey)[1].item())
    if brighter[0] < 0.01:
        return [rule_text("nearly black")]
    if brighter[1] > 0.95:
        return [rule_text("nearly white")]
    if spread < FLAT:
        return [rule_text("of one colour")]
    edges = float(cv2.meanStdDev(cv2.Laplacian(grey, cv2.CV_16S))[1].item())
    return [rule_text("blurred")] if edges < BLURRED * spread else []
