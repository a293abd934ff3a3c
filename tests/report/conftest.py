"""A small search and a small evaluation to report on."""

from __future__ import annotations

from typing import Any

import numpy as np
import pandas as pd
import pytest

from pipeline.config import OBJECTIVES
from pipeline.evaluation import classification_metrics, prediction_table
from pipeline.report import EvaluationReport, SearchReport

NAMES = ("daisy", "rose", "tulip")
LABELS = np.repeat([0, 1, 2], [4, 4, 2])
PREDICTED = np.array([0, 0, 0, 0, 2, 2, 1, 0, 2, 2])  # rose is weakest: 1 of 4, two taken for tulip
PROBABILITIES = np.full((10, 3), 0.1) + 0.7 * np.eye(3)[PREDICTED]
IMAGES = np.random.default_rng(0).integers(0, 255, (10, 16, 16, 3), np.uint8)


@pytest.fixture(scope="session")
def predictions() -> pd.DataFrame:
    return prediction_table([f"p{index}.jpg" for index in range(10)], LABELS, PROBABILITIES, NAMES)


@pytest.fixture
def trials() -> pd.DataFrame:
    return pd.DataFrame(
        {
            "number": [0, 1, 2, 3],
            "state": ["complete", "complete", "pruned", "fail"],
            "value": [0.6, 0.7, 0.4, None],
            "epochs_run": [2, 2, 1, 0],
            "seconds": [60.0, 60.0, 30.0, np.nan],
            "run_id": list("abcd"),
            "optimizer": ["adamw", "sgd", "sgd", None],
            "learning_rate": [1e-3, 0.1, 0.5, np.nan],
            "epochs": [2, 2, 2, 2],
            "classes": [[], [], [], []],
        }
    )


@pytest.fixture
def search(trials: pd.DataFrame, predictions: pd.DataFrame) -> SearchReport:
    return SearchReport(
        title="Search",
        trials=trials,
        curves=pd.DataFrame({"number": [0, 0, 1, 1, 2], "epoch": [1, 2, 1, 2, 1], "value": [0.5, 0.6, 0.6, 0.7, 0.4]}),
        confirmations=pd.DataFrame({"trial": [1, 1, 0], "seed": [1, 2, 1], "value": [0.7, 0.72, 0.65]}),
        winner=1,
        value=0.71,
        objective=OBJECTIVES["val_accuracy"],
        seeds=2,
        model_uri="models:/flowers/1",
        class_names=NAMES,
        images=IMAGES,
        groups=np.arange(10),
        predictions=predictions,
        figures={},
    )


def evaluation(predictions: pd.DataFrame, **more: Any) -> EvaluationReport:
    metrics = classification_metrics(LABELS, PROBABILITIES, NAMES)
    intervals = pd.DataFrame({"metric": ["accuracy", "recall rose"], "value": [0.7, 0.25], "low": 0.1, "high": 0.9})
    return EvaluationReport("m on 10", ["Do not use it."], metrics, intervals, predictions, IMAGES, NAMES, **more)
