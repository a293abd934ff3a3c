"""Selective classification: accuracy when the model refuses the photos that it is least confident about.

Geifman & El-Yaniv 2017, "Selective Classification for Deep Neural Networks" (arXiv 1705.08500).
"""

from __future__ import annotations

import numpy as np
import pandas as pd


def coverage_table(labels: np.ndarray, probabilities: np.ndarray) -> pd.DataFrame:
    """Return coverage, accuracy and photos (answered) by threshold, from all photos to the most confident ones.

    Photos whose predicted class has a probability below the threshold are refused. There is one row per distinct
    probability, ascending: photos of equal probability are answered or refused together.
    """
    confidence = probabilities.max(axis=1)
    correct = probabilities.argmax(axis=1) == labels
    order = np.argsort(-confidence, kind="stable")
    correct_so_far = np.cumsum(correct[order])
    answered = np.arange(1, len(labels) + 1)
    is_last_of_equals = np.append(np.diff(confidence[order]) != 0, True)
    table = pd.DataFrame(
        {
            "threshold": confidence[order],
            "coverage": answered / len(labels),
            "accuracy": correct_so_far / answered,
            "photos": answered,
        }
    )
    return table[is_last_of_equals][::-1].reset_index(drop=True)


def coverage_at(table: pd.DataFrame, accuracy: float) -> float:
    """Return the largest coverage of a `coverage_table` with at least this accuracy; 0 if there is none."""
    return max(table.loc[table["accuracy"] >= accuracy, "coverage"], default=0.0)
