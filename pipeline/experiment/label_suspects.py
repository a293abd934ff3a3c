"""Out-of-sample probabilities -> the photos whose label is probably wrong, by confident learning.

cleanlab does the estimation (Northcutt, Jiang and Chuang 2021); it is an optional extra. The caller passes
probabilities of a model that was not trained on the photos: a network has memorised the wrong labels of its own.
"""

from __future__ import annotations

import warnings
from collections.abc import Sequence
from importlib.util import find_spec

import numpy as np
import pandas as pd

from pipeline.config import install_command

COLUMNS = ("path", "label", "suggested", "label_probability", "suggested_probability")
REGULARISATION = 0.01  # inverse strength: few photos have more features than the classes have photos


def missing_extra() -> str:
    """Return a line that says why there is no search for suspects, and how to get one."""
    return f"no search for label suspects: cleanlab is not installed ({install_command('suspects')})"


def can_find_suspects() -> bool:
    """Return whether the extra is installed."""
    return find_spec("cleanlab") is not None


def cross_validated(
    features: np.ndarray, labels: np.ndarray, groups: Sequence[str], folds: int, seed: int
) -> np.ndarray:
    """Return the probabilities (n, classes) of photos that a logistic regression on the others' features gives them.

    Args:
        features: (n, features).
        labels: class indices (n,).
        groups: photos of one group are learned from together or judged together.
        folds: parts of the photos.
        seed: draws the parts.
    """
    from sklearn.linear_model import LogisticRegression
    from sklearn.model_selection import StratifiedGroupKFold, cross_val_predict
    from sklearn.pipeline import make_pipeline
    from sklearn.preprocessing import StandardScaler

    model = make_pipeline(StandardScaler(), LogisticRegression(C=REGULARISATION, max_iter=1000))
    parts = StratifiedGroupKFold(folds, shuffle=True, random_state=seed)
    return cross_val_predict(model, features, labels, groups=groups, cv=parts, method="predict_proba")


def suspect_table(
    paths: Sequence[str], labels: np.ndarray, probabilities: np.ndarray, class_names: Sequence[str]
) -> pd.DataFrame:
    """Return the suspects, the most doubtful label first, with `COLUMNS`.

    Args:
        paths: of the photos, as in the manifest.
        labels: class indices (n,).
        probabilities: out of sample, (n, classes).
        class_names: by index.
    """
    from cleanlab.filter import find_label_issues

    certain = np.asarray(probabilities, np.float64)
    certain = certain / certain.sum(axis=1, keepdims=True)
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # it warns of every class with few photos
        ranked = find_label_issues(labels, certain, return_indices_ranked_by="self_confidence", n_jobs=1)
    found = np.asarray(ranked, np.int64)
    names, suggested = np.array(class_names, dtype=object), certain.argmax(axis=1)
    rows = {
        "path": np.array(paths, dtype=object)[found],
        "label": names[labels[found]],
        "suggested": names[suggested[found]],
        "label_probability": certain[found, labels[found]].round(4),
        "suggested_probability": certain[found, suggested[found]].round(4),
    }
    return pd.DataFrame(rows, columns=list(COLUMNS))
