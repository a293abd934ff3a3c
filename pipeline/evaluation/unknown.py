"""How well a score tells photos of other classes from those of a model's own, which score higher.

Hendrycks and Gimpel 2017 (arXiv 1610.02136), whose score is the probability of the likeliest class.
"""

from __future__ import annotations

from typing import NamedTuple

import numpy as np
import pandas as pd  # whose ranks are at hand; scipy.stats takes 0.15 s to import


class Rejection(NamedTuple):
    """How well scores separate: the AUROC, and which shares of known photos are kept, of others rejected."""

    auroc: float
    kept: float
    rejected: float


def rejection_at(threshold: float, known: np.ndarray, others: np.ndarray) -> Rejection:
    """Return how well the scores of ``known`` photos (n,) and of ``others`` (m,) separate, also at a threshold.

    The AUROC is the share of pairs in which the known photo scores higher, ties half (Mann and Whitney).
    """
    ranks = pd.Series(np.concatenate([known, others])).rank().to_numpy()[: len(known)]
    auroc = (ranks.mean() - (len(known) + 1) / 2) / len(others)
    return Rejection(float(auroc), float((known >= threshold).mean()), float((others < threshold).mean()))
