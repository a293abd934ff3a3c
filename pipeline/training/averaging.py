"""Averages of the statistics of batch normalisation, which go with an optimizer's averages of weights (``ema``).

Keras' optimizers average weights alone. Averaged weights with the statistics of others validate badly while the rate is
high, and jump from epoch to epoch. So statistics are averaged with the same momentum, as timm's ``ModelEmaV2`` does.
Rejected: computing them from training photos before every validation (Izmailov et al. 2018, arXiv 1803.05407), which
costs a forward pass over hundreds of photos.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

if TYPE_CHECKING:
    import keras

STATISTICS = ("moving_mean", "moving_variance")  # Keras' names


class StatisticsAverages:
    """Exponential moving averages of a network's means and variances; create it in the strategy's scope.

    Args:
        network: in training.
        optimizer: has taken no step.
        momentum: what a step leaves of an average, in [0, 1); 0 averages nothing.
    """

    def __init__(self, network: keras.Model, optimizer: keras.Optimizer, momentum: float) -> None:
        import tensorflow as tf

        self._statistics = [weight for weight in network.weights if momentum and weight.name in STATISTICS]
        self.variables = [tf.Variable(statistic.value) for statistic in self._statistics]
        self._momentum = momentum
        self._iterations = getattr(optimizer, "inner_optimizer", optimizer).iterations  # the outer one scales the loss

    def update(self) -> None:
        """Move the averages towards the statistics after a step; the first step sets them, as in Keras' averages."""
        import tensorflow as tf

        share = tf.where(self._iterations.value <= 1, 1.0, 1.0 - self._momentum)
        for average, statistic in zip(self.variables, self._statistics, strict=True):
            average.assign_add(share * (statistic.value - average))

    def read(self) -> None:
        """Begin anew with the network's statistics."""
        for average, statistic in zip(self.variables, self._statistics, strict=True):
            average.assign(statistic.value)

    def write(self) -> None:
        """Write the averages over the network's statistics."""
        for average, statistic in zip(self.variables, self._statistics, strict=True):
            statistic.assign(average)
