"""The weight of each class in the training loss, by its number of training photos.

A photo's loss is multiplied by the weight of its class; a mixed photo's by those of both, in the shares of its mix, so
that the loss of a mix is the mix of the losses. Validation is never weighted.

Rejected: batches with equally many photos of each class. They show the network the same few photos again and again
in the epochs in which it sees a fraction of the others, and they need an order of their own.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping

import numpy as np

from pipeline.config import TrainingConfig

# Of the effective number of photos, (1 - beta^n) / (1 - beta), which grows towards 1 / (1 - beta) = 100: a class of
# hundreds counts like one of a hundred. Cui et al. use 0.9 to 0.9999 for data sets of 10,000 photos and more; from
# 0.999 on it would be all but "balanced" for classes of up to some hundred photos.
BETA = 0.99

# Name -> function of the number of photos per class, int (classes,), none of them 0.
_WEIGHTS: Mapping[str, Callable[[np.ndarray], np.ndarray]] = {
    "balanced": lambda photos: 1 / photos,
    "effective": lambda photos: (1 - BETA) / (1 - BETA**photos),  # Cui et al. 2019, arXiv 1901.05555
}


def class_weights(config: TrainingConfig, labels: np.ndarray, classes: int) -> np.ndarray | None:
    """Return the weight of every class, float32 (classes,), or None where all are 1.

    They are scaled so that their mean over the photos is 1, which keeps the scale of the loss, and with it the learning
    rate. "balanced" is then n / (K n_c), of n photos of K classes, n_c of them in class c. A class without a training
    photo has weight 0.

    Args:
        config: the training.
        labels: of the training photos, int (n,).
        classes: number of classes.
    """
    if config.class_weights == "none":
        return None
    photos = np.bincount(labels, minlength=classes)
    weights = np.zeros(classes)
    weights[photos > 0] = _WEIGHTS[config.class_weights](photos[photos > 0])
    return (weights * len(labels) / (weights @ photos)).astype(np.float32)
