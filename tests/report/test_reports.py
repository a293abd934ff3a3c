"""What the reports say of a search and of a test, in words that can be checked against the tables."""

from __future__ import annotations

from dataclasses import replace
from html import unescape
from xml.etree import ElementTree

import numpy as np
import pandas as pd
import pytest

from pipeline.config import OBJECTIVES
from pipeline.evaluation import classification_metrics, prediction_table
from pipeline.report import EvaluationReport, SearchReport, evaluation_report, interactive_page, search_report
from pipeline.report.search_report import NOT_FLAGS, searched_flags
from pipeline.report.trial_drawings import draw_curves, draw_parameter, draw_progress
from pipeline.search.study_plots import COLUMNS

NAMES = ("daisy", "rose", "tulip")
LABELS = np.repeat([0, 1, 2], [4, 4, 2])
PREDICTED = np.array([0, 0, 0, 0, 2, 2, 1, 0, 2, 2])  # rose is weakest: 1 of 4, two taken for tulip
PROBABILITIES = np.full((10, 3), 0.1) + 0.7 * np.eye(3)[PREDICTED]
IMAGES = np.random.default_rng(0).integers(0, 255, (10, 16, 16, 3), np.uint8)
SVG = "{http://www.w3.org/2000/svg}"


@pytest.fixture(scope="module")
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


def test_the_search_begins_with_its_answer(search: SearchReport) -> None:
    page = unescape(search_report(search)).replace("\N{NO-BREAK SPACE}", " ")
    assert "Trial 1 won (optimizer sgd, learning_rate 0.1)" in page
    assert "right on 71.0 % of 10 validation photos (mean of 2 fresh seeds)" in page
    assert "The registered model has 70.0 % (95 % interval " in page
    assert "weakest on rose: 25 % of 4 photos recognised, most often taken for tulip (2)" in page
    assert "That may be no better than always answering daisy, the largest class (40.0 %)" in page
    assert page.index("The best config is right") < page.index("Trial 1 won")
    assert "2 complete, 1 pruned, 1 fail" in page
    assert "models:/flowers/1" in page


def test_the_winner_is_the_first_row_and_the_others_follow_by_value(search: SearchReport) -> None:
    page = search_report(replace(search, winner=0))
    rows = [part.split('"')[0] for part in page.split('<tr class="')[1:5]]
    assert rows == ["trial-0 winner", "trial-1", "trial-2", "trial-3"]


def test_a_search_for_a_loss_says_so_and_has_the_lowest_first(search: SearchReport) -> None:
    for_loss = replace(search, objective=OBJECTIVES["val_loss"], winner=2, value=0.4)
    page = unescape(search_report(for_loss))
    rows = [part.split('"')[0] for part in page.split('<tr class="')[1:5]]
    assert rows == ["trial-2 winner", "trial-0", "trial-1", "trial-3"]
    assert "a loss of 0.400 on 10 validation photos (mean of 2 fresh seeds)" in page
    assert "val_loss is the cross-entropy of its probabilities in nats: less is better." in page
    assert "The registered model is right on 70.0" in page
    assert "val_accuracy" not in page


def test_a_search_that_confirmed_nothing_says_so(search: SearchReport) -> None:
    nothing = replace(search, confirmations=search.confirmations.iloc[:0], seeds=0, predictions=None)
    page = search_report(nothing)
    assert "confirm_top_k=0" in page
    assert "its best epoch" in page
    assert "Where it fails" not in page


def test_only_flags_that_differ_are_shown(trials: pd.DataFrame) -> None:
    assert searched_flags(trials) == ["optimizer", "learning_rate"]
    assert set(COLUMNS) <= NOT_FLAGS


def test_every_trial_with_a_value_has_a_mark_that_says_what_it_is(trials: pd.DataFrame, search: SearchReport) -> None:
    trials = trials.assign(value=trials["value"].astype(float), config="optimizer <sgd>")
    for drawing in (
        draw_progress(trials, 1, search.objective),
        draw_parameter(trials, "optimizer", 1, search.objective),
        draw_parameter(trials, "learning_rate", 1, search.objective),
        draw_curves(search.curves, trials, 1, search.objective),
    ):
        root = ElementTree.fromstring(drawing)
        marks = {
            group.get("class"): group.findtext(f"{SVG}title") for group in root.iter(f"{SVG}g") if group.get("class")
        }
        assert marks.keys() >= {"trial-0", "trial-1", "trial-2"}
        assert marks["trial-2"] == "trial 2: 40.0\N{NO-BREAK SPACE}%, pruned\noptimizer <sgd>"
        assert not [group for group in root.iter(f"{SVG}g") if group.get("id")]
        assert "currentColor" in drawing
        assert root.get("viewBox")


def test_the_test_begins_with_its_answer_and_shows_the_photos(predictions: pd.DataFrame) -> None:
    metrics = classification_metrics(LABELS, PROBABILITIES, NAMES) | {"accuracy_ci_low": 0.4, "accuracy_ci_high": 0.9}
    extra = pd.DataFrame({"corruption": ["blur"], "accuracy": [0.5]})
    page = unescape(
        evaluation_report(EvaluationReport("m on 10", metrics, predictions, IMAGES, NAMES, {}, {"corruptions": extra}))
    )
    assert "right on 7 of 10 test photos: 70.0 % (95 % interval 40.0 to 90.0 %)" in page
    assert "too sure of itself: on average it says 80 %" in page
    assert page.count("<b>") == 3
    assert "p4.jpg" in page
    assert "How it stands bad photos</h2>" in page


def test_the_interactive_page_brings_its_script_once_and_fetches_nothing() -> None:
    import plotly.graph_objects

    figures = {name: plotly.graph_objects.Figure(plotly.graph_objects.Scatter(y=[1, 2])) for name in ("<a>", "b")}
    page = interactive_page("Search", figures)
    assert page.count("plotly.js v") == 1
    assert "&lt;a&gt;</h2>" in page
    assert "<script src" not in page
    assert 'rel="stylesheet"' not in page


def test_no_error_is_said_and_needs_no_photos() -> None:
    right = prediction_table([f"{index}" for index in range(10)], LABELS, np.eye(3)[LABELS], NAMES)
    page = evaluation_report(EvaluationReport("m", {"accuracy": 1.0}, right, IMAGES, NAMES, {}))
    assert "It made no error here." in page
    assert "0 of 10 photos are taken for another class." in page
