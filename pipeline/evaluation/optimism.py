"""What a model that was picked by its validation photos will have on others: its score there without the luck.

The best epoch of many, of the best of several trainings, looks better than it is, because the photos that it is scored
on have picked it. The bootstrap's estimate of that optimism (Efron, "Estimating the error rate of a prediction rule",
JASA 78, 1983) repeats the picking: photos are drawn with replacement, the best is picked by those that are drawn, and
is as much worse on all photos as it will be on others. Simulated, it finds 60 to 90 % of the luck, and its interval
holds in 90 to 99 % of searches; scoring by the photos that were not drawn (Tsamardinos et al. 2018) finds 135 to 185 %,
and its interval holds in 82 to 94 % (docs/log.md, "How lucky the best epoch is").
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import NamedTuple

import numpy as np

from pipeline.evaluation.intervals import interval_of_shares

DRAWS = 1000
DRAWS_AT_ONCE = 100


class ExpectedAccuracy(NamedTuple):
    """The accuracy to expect on other photos, its 95 % interval, and the accuracy on those that picked the model."""

    value: float
    low: float
    high: float
    picked: float

    @property
    def sentence(self) -> str:
        """What to expect, in a sentence, with the part of the picked accuracy that is luck."""
        value, low, high, picked = (100 * share for share in self)
        return (
            f"On new photos of this kind expect about {value:.1f} % right (95 % interval {low:.1f} to {high:.1f} %): "
            f"{picked - value:.1f} points of the {picked:.1f} % on the validation photos are luck: they also chose it."
        )


def expected_accuracy(
    configs: Sequence[Sequence[np.ndarray]], groups: np.ndarray, seed: int = 0
) -> ExpectedAccuracy | None:
    """Return the accuracy to expect of the config with the best mean over its trainings of the best epoch.

    Of that config's trainings, the model is that of the best one. The interval is Wilson's of the picked model, moved.

    Args:
        configs: of every config its trainings, each bool (epochs, n): whether a photo is right after an epoch.
        groups: of every photo, (n,): photos of one group are drawn together.
        seed: of the draws.

    Returns:
        None where all photos are of one group.
    """
    names, members = np.unique(groups, return_inverse=True)
    if len(names) < 2:
        return None
    size = np.bincount(members).astype(float)
    of_groups = [[_sums(training, members, len(names)) for training in trainings] for trainings in configs]
    everything = np.ones((len(names), 1))
    config, training, epoch = (int(choice[0]) for choice in _picked(of_groups, size, everything))
    model = configs[config][training][epoch]
    rng, gaps = np.random.default_rng(seed), []
    for _ in range(DRAWS // DRAWS_AT_ONCE):
        drawn = rng.multinomial(len(names), np.full(len(names), 1 / len(names)), DRAWS_AT_ONCE).T.astype(float)
        choices = zip(*_picked(of_groups, size, drawn), strict=True)
        for place, (config, training, epoch) in enumerate(choices):
            right, weights = of_groups[config][training][epoch], drawn[:, place]
            gaps.append(right @ weights / (size @ weights) - right.sum() / size.sum())
    luck = max(0.0, float(np.mean(gaps)))
    low, high = interval_of_shares(model, groups)
    value = float(model.mean())
    return ExpectedAccuracy(value - luck, max(0.0, low - luck), high - luck, value)


def _sums(right: np.ndarray, members: np.ndarray, groups: int) -> np.ndarray:
    """Return the right photos of every group after every epoch, (epochs, groups), of bool (epochs, n)."""
    return np.stack([np.bincount(members, weights=epoch, minlength=groups) for epoch in right])


def _picked(
    configs: Sequence[Sequence[np.ndarray]], size: np.ndarray, drawn: np.ndarray
) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Return config, training and epoch that are picked by each draw of groups, ``drawn`` (groups, draws)."""
    shares = [[right @ drawn / (size @ drawn) for right in trainings] for trainings in configs]
    best = [np.stack([share.max(axis=0) for share in trainings]) for trainings in shares]  # (trainings, draws)
    config = np.stack([trainings.mean(axis=0) for trainings in best]).argmax(axis=0)
    draws = np.arange(drawn.shape[1])
    training = np.array([best[number][:, draw].argmax() for number, draw in zip(config, draws, strict=True)])
    chosen = zip(config, training, draws, strict=True)
    return config, training, np.array([shares[one][two][:, draw].argmax() for one, two, draw in chosen])
