"""What an evaluation logs and prints of very many classes."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
from mlflow import MlflowClient

from pipeline import evaluation, tracking
from pipeline.config import PreprocessConfig
from pipeline.promotion import evaluate
from pipeline.promotion.assessment import Assessment, HeatMaps
from pipeline.promotion.decision import Decision
from pipeline.promotion.model_card import evaluation_card
from pipeline.promotion.unseen import JudgedPhotos
from pipeline.serving import About

CLASSES = tuple(f"class {number:03d}" for number in range(evaluation.MOST_SQUARE + 1))


@pytest.fixture
def assessment() -> Assessment:
    labels = np.repeat(np.arange(len(CLASSES)), 2)
    probabilities = np.random.default_rng(0).dirichlet(np.ones(len(CLASSES)), len(labels))
    paths = [f"{label}.jpg" for label in labels]
    tables = {
        "predictions.csv": evaluation.prediction_table(paths, labels, probabilities, CLASSES),
        "per_class.json": evaluation.per_class_table(labels, probabilities, CLASSES),
        "confusion_matrix.json": evaluation.confusion_table(labels, probabilities.argmax(axis=1), CLASSES),
    }
    baseline = evaluation.compare_with_baseline(labels, probabilities, CLASSES)
    no_heat_maps = HeatMaps(np.zeros((0, 8, 8, 3), np.uint8), np.zeros((0, 8, 8)), [])
    return Assessment(probabilities, {}, pd.DataFrame(), tables, {}, {}, baseline, no_heat_maps)


def test_predictions_of_many_classes_are_a_short_table_and_a_whole_one(
    tracking_store: MlflowClient, assessment: Assessment
) -> None:
    about = About(CLASSES, 32, "crop", (), "0" * 64, "photos", {})
    with tracking.run("evaluate", "many", PreprocessConfig()) as run_id:
        evaluate._log(assessment, about)
    short = pd.read_csv(tracking_store.download_artifacts(run_id, "predictions.csv"))
    whole = pd.read_parquet(tracking_store.download_artifacts(run_id, "predictions.parquet"))
    assert list(short.columns) == list(evaluation.PREDICTION_COLUMNS)
    assert list(whole.columns) == [*evaluation.PREDICTION_COLUMNS, *CLASSES]
    np.testing.assert_allclose(whole[list(CLASSES)], assessment.probabilities, rtol=1e-6)
    assert Path(tracking_store.download_artifacts(run_id, "confusion_matrix.json")).stat().st_size < 50_000


def test_of_many_classes_the_weakest_are_printed(assessment: Assessment, capsys: pytest.CaptureFixture[str]) -> None:
    classes = assessment.tables["per_class.json"]
    classes.loc["class 100", "recall"] = -1.0
    evaluate._print_classes(classes)
    lines = capsys.readouterr().out.splitlines()
    assert lines[0] == f"the 25 weakest of {len(CLASSES)} classes:"
    assert lines[3].startswith("class 100")
    assert len(lines) == 28
    evaluate._print_classes(classes.head(25))
    assert "weakest" not in capsys.readouterr().out


def test_a_model_that_knows_nothing_is_called_so(assessment: Assessment) -> None:
    nothing, missed = assessment.warnings
    assert nothing.startswith("It is not proven better than chance: ")
    assert missed.startswith("It recognises no test photo of class ")
    assert missed.endswith(" more.")


@pytest.mark.parametrize(("ece", "said"), [(0.02, "they are calibrated: "), (0.09, "they are not calibrated: ")])
def test_the_card_says_calibrated_only_of_what_is(assessment: Assessment, ece: float, said: str) -> None:
    config = {"variant": "resnet18", "weights": "none", "data": "photos", "split_seed": 0}
    about = About(CLASSES, 32, "crop", (), "0" * 64, "photos", config)
    assessment.metrics.update({"ece": ece, "ece_uncalibrated": 0.05, "ece_by_chance": 0.03, "coverage_at_95": 0.5})
    cost = dict.fromkeys(("parameters", "size_mb", "gflops", "latency_ms"), 1.0)
    names = ["accuracy", *(f"recall {name}" for name in CLASSES)]
    whole = replace(assessment, cost=cost, intervals=pd.DataFrame(0.5, names, ["value", "low", "high"]))
    card = evaluation_card(
        "models:/m/1", about, whole, JudgedPhotos(None), Decision(False, "it is no better"), "0", "1"
    )
    card = " ".join(card.split())
    assert said in card
    assert ("and was 0.050 without it" in card) is (ece < 0.05)
    assert ("more than the 0.050 without it" in card) is (ece > 0.05)


def test_heat_maps_without_any_heat_are_counted() -> None:
    heats = np.zeros((3, 8, 8), np.float32)
    heats[1, 2, 3] = 0.5
    assert HeatMaps(np.zeros((3, 8, 8, 3), np.uint8), heats, list("abc")).unmarked == 2
