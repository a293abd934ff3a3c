"""What is gained by refusing the photos of which the model is least sure.

Geifman & El-Yaniv 2017, "Selective Classification for Deep Neural Networks" (arXiv 1705.08500).
"""

from __future__ import annotations

import numpy as np
import pandas as pd


def coverage_table(labels: np.ndarray, probabilities: np.ndarray) -> pd.DataFrame:
    """Return coverage, accuracy and photos (those answered) by threshold, from all photos to the surest ones.

    With a threshold, photos whose predicted class has a lower probability are refused. One row per probability that
    occurs, rising: photos of equal probability are answered or refused together.
    """
    confidence = probabilities.max(axis=1)
    correct = probabilities.argmax(axis=1) == labels
    order = np.argsort(-confidence, kind="stable")
    right = np.cumsum(correct[order])
    answered = np.arange(1, len(labels) + 1)
    last_of_equals = np.append(np.diff(confidence[order]) != 0, True)
    table = pd.DataFrame(
        {
            "threshold": confidence[order],
            "coverage": answered / len(labels),
            "accuracy": right / answered,
            "photos": answered,
        }
    )
    return table[last_of_equals][::-1].reset_index(drop=True)


def coverage_at(table: pd.DataFrame, accuracy: float) -> float:
    """Return the largest coverage of a `coverage_table` at which at least so many answers are right; 0 for none."""
    return max(table.loc[table["accuracy"] >= accuracy, "coverage"], default=0.0)
