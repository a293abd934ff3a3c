"""What the reports say of a search and of a test, in words that can be checked against the tables."""

from __future__ import annotations

from dataclasses import replace
from html import unescape
from xml.etree import ElementTree

import numpy as np
import pandas as pd
import pytest
from matplotlib.figure import Figure

from pipeline.config import OBJECTIVES
from pipeline.evaluation import prediction_table
from pipeline.report import (
    AblationReport,
    SearchReport,
    ablation_report,
    evaluation_report,
    interactive_page,
    search_report,
)
from pipeline.report.search_report import NOT_FLAGS, searched_flags
from pipeline.report.trial_drawings import draw_curves, draw_parameter, draw_progress
from pipeline.search.study_plots import COLUMNS
from tests.report.conftest import IMAGES, LABELS, NAMES, evaluation

SVG = "{http://www.w3.org/2000/svg}"


def test_the_search_begins_with_its_answer(search: SearchReport) -> None:
    page = unescape(search_report(search)).replace("\N{NO-BREAK SPACE}", " ")
    answer = page[page.index('<div class="answer">') : page.index("<nav")]
    assert "The search found no useful model yet: 70.0 % of 10 validation photos right (95 % interval " in answer
    assert "and always answering daisy, the largest class, gets 40.0 %, which may be as good" in answer
    assert "Its settings are right on 71.0 % of 10 validation photos (mean of 2 fresh seeds)." in answer
    assert "python -m pipeline evaluate --model_uri=models:/flowers/1" in answer
    assert "It is weakest on rose: it recognises 1 of 4 photos (25 %), and most often says tulip instead (2" in answer
    assert "learning_rate" not in answer
    assert "Trial 1 won (optimizer sgd, learning_rate 0.1)" in page
    assert "2 complete, 1 pruned, 1 fail" in page


def test_a_search_that_beats_one_answer_says_so(search: SearchReport) -> None:
    labels = np.repeat([0, 1, 2], 10)
    right = prediction_table([f"{index}" for index in range(30)], labels, np.eye(3)[labels], NAMES)
    images = np.repeat(IMAGES, 3, axis=0)
    page = search_report(replace(search, predictions=right, images=images, groups=np.arange(30), seeds=1))
    assert "The search found a model worth testing: 100.0\N{NO-BREAK SPACE}% of 30 validation photos right" in page
    assert "Its settings" not in page  # one seed tells nothing more


def test_the_winner_is_the_first_row_and_the_others_follow_by_value(search: SearchReport) -> None:
    page = search_report(replace(search, winner=0)).partition("What was tried</h2>")[2]
    rows = [part.split('"')[0] for part in page.split('<tr class="')[1:5]]
    assert rows == ["trial-0 winner", "trial-1", "trial-2", "trial-3"]


def test_a_search_for_a_loss_says_so_and_has_the_lowest_first(search: SearchReport) -> None:
    for_loss = replace(search, objective=OBJECTIVES["val_loss"], winner=2, value=0.4)
    page = unescape(search_report(for_loss))
    rows = [part.split('"')[0] for part in page.split('<tr class="')[1:5]]
    assert rows == ["trial-2 winner", "trial-0", "trial-1", "trial-3"]
    assert "Its settings reach a loss of 0.400 on 10 validation photos (mean of 2 fresh seeds)" in page
    assert "val_loss is the cross-entropy of the probabilities in nats: lower is better." in page
    assert "70.0\N{NO-BREAK SPACE}% of 10 validation photos right" in page
    assert "val_accuracy" not in page


def test_a_search_that_confirmed_nothing_says_so(search: SearchReport) -> None:
    nothing = replace(search, confirmations=search.confirmations.iloc[:0], seeds=0, predictions=None)
    page = search_report(nothing)
    assert "No trial was trained again with a fresh seed." in page
    assert "a fresh seed: for a reason." in search_report(replace(nothing, unconfirmed="for a reason"))
    assert "its best epoch" in page
    assert "Where it fails" not in page


def test_the_marks_of_the_trials_are_explained_where_there_are_such(search: SearchReport, trials: pd.DataFrame) -> None:
    page = search_report(search)
    marks = (
        "A dot is a complete trial; a cross one that was pruned, that is, stopped early. 1 trial has no value and so"
    )
    assert marks in page
    assert "triangle" not in page
    assert "its marks are those of the plots above" in page
    trials.loc[3, "value"] = 0.1
    assert "stopped early; a triangle one that failed. Point at" in search_report(replace(search, trials=trials))
    trials["state"] = "complete"
    assert "A dot is a complete trial. Point at" in search_report(replace(search, trials=trials))


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
    corruptions = pd.DataFrame(
        {"corruption": ["none", "blur", "blur", "noise", "noise"], "strength": [0, 1, 2, 1, 2], "photos": 10}
        | {"accuracy": [0.8, 0.8, 0.4, 0.2, 0.1]}
    )
    heat_maps = [(np.zeros((8, 16, 3), np.uint8), "rose → tulip 80 %")]
    difference = pd.DataFrame(np.diag([1, -2, 0]), NAMES, NAMES)
    page = unescape(
        evaluation_report(evaluation(predictions, corruptions=corruptions, heat_maps=heat_maps, difference=difference))
    )
    answer = page[page.index('<div class="answer">') : page.index("<nav")].replace("\N{NO-BREAK SPACE}", " ")
    assert answer.index("Do not use it.") < answer.index("It is weakest on rose")
    assert "Its probabilities can be trusted: its mean confidence is 80 %, and 70 % of its labels are right." in answer
    assert page.count("<b>") == 4  # three errors and a heat map
    assert "p4.jpg" in page
    assert "10–90\N{NO-BREAK SPACE}%" in page
    assert page.index('<th scope="row">noise</th>') < page.index('<th scope="row">blur</th>')  # the worst comes first
    assert '<td class="worse" style="--shade:0.50">40</td>' in page
    assert '<td style="--shade:0.50">+1</td>' in page  # one more daisy right than the champion
    assert '<td class="worse" style="--shade:1.00">-2</td>' in page


def test_photos_without_any_mark_are_explained_below_the_picture(predictions: pd.DataFrame) -> None:
    heat_maps = [(np.zeros((8, 16, 3), np.uint8), f"rose → tulip {share} %") for share in (80, 70)]
    marked = evaluation_report(evaluation(predictions, heat_maps=heat_maps))
    page = evaluation_report(evaluation(predictions, heat_maps=heat_maps, unmarked=1))
    note = (
        "In 1 of these 2 photos nothing is marked: no part of them raised the score of the label, as is common for a "
    )
    assert page.index("rose → tulip 70 %") < page.index(note)
    assert "nothing is marked" not in marked


def test_probabilities_that_are_too_high_beyond_chance_are_called_so(predictions: pd.DataFrame) -> None:
    many = pd.concat([predictions] * 20, ignore_index=True)
    page = evaluation_report(replace(evaluation(many), images=np.repeat(IMAGES, 20, axis=0)))
    page = page.replace("\N{NO-BREAK SPACE}", " ")
    assert "Its probabilities are too high: its mean confidence is 80 %, and 70 % of its labels are right." in page


@pytest.mark.parametrize("classes", [2, 5, 200])
def test_the_confusion_matrix_shows_the_classes_that_fit(classes: int) -> None:
    names = [f"class {number}" for number in range(classes)]
    labels = np.arange(classes).repeat(2)
    predicted = np.where(labels < 2, 1 - labels, labels)
    table = prediction_table([str(place) for place in range(len(labels))], labels, np.eye(classes)[predicted], names)
    images = np.zeros((len(labels), 4, 4, 3), np.uint8)
    page = evaluation_report(replace(evaluation(table), images=images, class_names=names))
    matrix = page[page.index('<p class="caption">Confusion matrix') :]
    matrix = matrix[: matrix.index("</table>")]
    assert matrix.count("<tr>") == min(classes, 2 if classes > 25 else classes) + 1
    assert ("These are the 2 most confused of 200 classes." in matrix) == (classes == 200)


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
    page = evaluation_report(evaluation(right))
    assert "It made no error on these photos." in page
    assert "0 of 10 photos are labelled wrongly." in page
    assert "The most frequent errors" not in page


def test_an_ablation_begins_with_what_to_keep() -> None:
    rows = [("ema", "0.99", 0.02, 0.01, 0.03, "helps"), ("augment", "none", -0.05, -0.08, -0.02, "hurts")]
    table = pd.DataFrame(rows, columns=["factor", "value", "difference", "low", "high", "verdict"]).assign(minutes=1.5)
    report = AblationReport("t", "The base.", table, ["A sentence."], "A caveat.", Figure(), OBJECTIVES["val_accuracy"])
    page = unescape(ablation_report(report))
    assert "Of 2 settings 1 helps, 1 hurts: keep ema=0.99." in page
    assert page.index('<th scope="row">ema = 0.99</th>') < page.index('<th scope="row">augment = none</th>')
    assert ">+1.0 to +3.0<" in page
    untold = replace(report, table=table.assign(verdict="cannot be told"))
    assert "No setting differs from the base beyond chance: keep the base" in ablation_report(untold)
