"""Grey copies -> how well the fine structure of two photos agrees: their best correlation over small shifts.

All pairs of a chunk are compared at once, by the fast Fourier transform: about 20 µs a pair, where `cv2.matchTemplate`
pair by pair takes 80 to 110. The measure is symmetric: only what both photos show after a shift is compared.
"""

from __future__ import annotations

from collections.abc import Callable
from functools import lru_cache

import numpy as np
from scipy import fft
from scipy.ndimage import gaussian_filter1d
from tqdm import tqdm

from pipeline.data.splits.duplicates import BORDER_PX, FINE_PX, MIN_CONTRAST, SHIFT_PX

GreyOf = Callable[[int], np.ndarray]
EDGE_PX = BORDER_PX // 2  # left out on each side: there the blur says as much as the photo
CHUNK = 2048  # pairs at a time: what they need stays in the processor's cache
SHIFTS = np.arange(-SHIFT_PX, SHIFT_PX + 1)
assert 2 * EDGE_PX >= SHIFT_PX  # so that a shift does not wrap around


def agreements(left: np.ndarray, right: np.ndarray, is_mirrored: np.ndarray, grey_of: GreyOf) -> np.ndarray:
    """Return the agreement of each pair, float32 up to 1; 0 where a photo has no fine structure.

    Args:
        left: indices (m,) of photos; sorted ones are fastest.
        right: indices (m,).
        is_mirrored: bool (m,): whether the mirror image of the right photo is compared.
        grey_of: index -> grey copy, uint8 (side, side).
    """
    found = np.zeros(len(left), np.float32)
    with tqdm(total=len(left), desc="comparing", unit="pair", disable=None, leave=False, delay=1) as bar:
        for mirrored in (False, True):
            pairs = np.flatnonzero(is_mirrored == mirrored)
            for begin in range(0, len(pairs), CHUNK):
                part = pairs[begin : begin + CHUNK]
                found[part] = _correlations(left[part], right[part], grey_of, mirrored)
                bar.update(len(part))
    return found


def _correlations(left: np.ndarray, right: np.ndarray, grey_of: GreyOf, mirrored: bool) -> np.ndarray:
    spectra, energies = [], []
    for photos, flip, sign in ((left, False, 1), (right, mirrored, -1)):
        distinct, places = np.unique(photos, return_inverse=True)
        greys = np.stack([grey_of(photo) for photo in distinct.tolist()])
        fine = _fine_structure(greys)
        fine = fine[:, :, ::-1] if flip else fine
        spectra.append(fft.rfft2(fine, greys.shape[1:])[places])
        energies.append(_energies(fine)[places][:, ::sign, ::sign])
    products = fft.irfft2(spectra[0] * spectra[1].conj(), greys.shape[1:])[:, SHIFTS[:, None], SHIFTS]
    scales = np.sqrt(energies[0] * energies[1])
    return np.divide(products, scales, out=np.zeros_like(products), where=scales > 0).max(axis=(1, 2))


def _fine_structure(greys: np.ndarray) -> np.ndarray:
    """Return the high-pass of grey copies, float32 (n, inner side, inner side); zero where there is no contrast."""
    fine = greys.astype(np.float32)
    blur = _blur(greys.shape[1])
    fine -= blur @ (fine @ blur.T)
    flat = fine[:, BORDER_PX:-BORDER_PX, BORDER_PX:-BORDER_PX].std(axis=(1, 2)) < MIN_CONTRAST
    fine[flat] = 0
    return fine[:, EDGE_PX:-EDGE_PX, EDGE_PX:-EDGE_PX]


@lru_cache
def _blur(side: int) -> np.ndarray:
    """Return the Gaussian blur of columns as a matrix."""
    return np.asarray(gaussian_filter1d(np.eye(side, dtype=np.float32), FINE_PX, axis=0, mode="mirror"))


def _energies(fine: np.ndarray) -> np.ndarray:
    """Return the sum of squares of what each of the `SHIFTS` leaves of the photo, (n, shifts, shifts)."""
    side = fine.shape[1]
    sums = np.zeros((len(fine), side + 1, side + 1), np.float32)
    sums[:, 1:, 1:] = np.square(fine).cumsum(axis=1).cumsum(axis=2)
    low, high = np.maximum(SHIFTS, 0), side + np.minimum(SHIFTS, 0)
    rows = sums[:, high] - sums[:, low]
    return np.maximum(rows[:, :, high] - rows[:, :, low], 0)
