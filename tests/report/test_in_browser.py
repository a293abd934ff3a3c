"""Every report in a real browser: on a phone and a screen, in light and dark, on paper, and by keyboard."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

import cv2
import numpy as np
import pandas as pd
import pytest

from pipeline import plots
from pipeline.config import OBJECTIVES, DataConfig
from pipeline.data.store import prepared_store, report
from pipeline.data.store.report_page import report_page
from pipeline.evaluation import coverage_table, interval_table, prediction_table, reliability_table
from pipeline.report import AblationReport, SearchReport, ablation_report, evaluation_report, search_report
from tests.browsers import A4_WIDTH_PX, ASIDE, BROKEN, OFF_PAPER, chromium, faults_of
from tests.report.conftest import evaluation

if TYPE_CHECKING:
    from playwright.sync_api import Browser

Open = Callable[..., Any]


@pytest.fixture(scope="module")
def browser() -> Iterator[Browser]:
    with chromium() as browser:
        yield browser


@pytest.fixture
def opened(browser: Browser, tmp_path: Path) -> Iterator[Open]:
    """Return a function that opens a page in a window, and checks that it asks nobody and complains of nothing."""
    contexts, said = [], []

    def open_page(html: str, width: int, scheme: Any) -> Any:
        file = tmp_path / "report.html"
        file.write_text(html, encoding="utf-8")
        contexts.append(browser.new_context(viewport={"width": width, "height": 844}, color_scheme=scheme))
        page = contexts[-1].new_page()
        page.on("console", lambda message: said.append(message.text))
        page.on("request", lambda asked: asked.url.startswith(("data:", "file:")) or said.append(asked.url))
        page.goto(file.as_uri())
        return page

    yield open_page
    for context in contexts:
        context.close()
    assert said == []


def _evaluation_page(classes: int) -> str:
    """Return the report of a model of many or few classes with long names, which has everything a report may have."""
    rng = np.random.default_rng(0)
    names = [f"North American woodpecker {number}" for number in range(classes)]
    labels = np.arange(classes).repeat(60 // classes + 2)
    predicted = np.where(rng.random(len(labels)) < 0.8, labels, (labels + 1) % classes)
    probabilities = 0.3 * rng.dirichlet(np.ones(classes), len(labels)) + 0.7 * np.eye(classes)[predicted]
    paths = [f"a/long/folder/IMG_{number:09}.jpg" for number in range(len(labels))]
    table = prediction_table(paths, labels, probabilities, names)
    corrupted = [(kind, step, 0.9 - step / 10, 100) for kind in ("contrast", "noise") for step in range(1, 6)]
    images = rng.integers(0, 255, (len(labels), 16, 16, 3), np.uint8)
    return evaluation_report(
        replace(
            evaluation(table),
            images=images,
            class_names=names,
            intervals=interval_table(labels, probabilities, np.arange(len(labels)), names).reset_index(),
            figures={
                "calibration": plots.draw_reliability(reliability_table(labels, probabilities), 0.1, "Calibration"),
                "coverage": plots.draw_coverage(coverage_table(labels, probabilities), "Coverage"),
            },
            corruptions=pd.DataFrame(
                [("none", 0, 0.9, 100), *corrupted], columns=["corruption", "strength", "accuracy", "photos"]
            ),
            difference=pd.DataFrame(rng.integers(-2, 3, (classes, classes)), names, names),
            heat_maps=[(np.concatenate([images[0]] * 2, axis=1), f"{names[0]} → {names[1]} 71 %")],
            facts={"Data digest": "02c5fea28517"},
        )
    )


def _ablation_page() -> str:
    rows = [(f"factor_{number}", "0.001", number / 100, -0.02, 0.04, "cannot be told") for number in range(5)]
    table = pd.DataFrame(rows, columns=["factor", "value", "difference", "low", "high", "verdict"]).assign(minutes=1.5)
    seeds = table[["factor", "value", "difference"]]
    figure = plots.draw_ablation(table, seeds, "Ablation")
    said = ("Ablation", "The base.", table, ["A sentence."], "A caveat.")
    return ablation_report(AblationReport(*said, figure, OBJECTIVES["val_accuracy"]))


def _data_page(photo_folder: Path, folder: Path) -> str:
    found = report.report_on(prepared_store(DataConfig(data=str(photo_folder), image_size=32), folder))
    return report_page(found, report.count_rules(found.files), report.TABLE)


def _check(html: str, opened: Open) -> None:
    """Check a page on a phone, on a screen and on paper."""
    for width, scheme in ((390, "dark"), (1280, "light")):
        page = opened(html, width, scheme)
        assert page.evaluate("document.documentElement.scrollWidth") <= width
        assert page.evaluate(ASIDE) == []
        assert page.evaluate(BROKEN) == 0
        assert faults_of(page) == []
        red, green, blue = page.evaluate("getComputedStyle(document.body).backgroundColor.match(/\\d+/g).map(Number)")
        assert (red + green + blue < 200) == (scheme == "dark")
    page = opened(html, A4_WIDTH_PX, "dark")
    page.emulate_media(media="print")
    assert page.evaluate(OFF_PAPER) == []
    assert page.evaluate("getComputedStyle(document.body).backgroundColor") == "rgb(255, 255, 255)"


def test_a_table_that_goes_on_beyond_a_phones_edge_shows_it(opened: Open) -> None:
    page = opened(_evaluation_page(25), 390, "light")
    page.evaluate("document.querySelectorAll('details').forEach(part => part.open = true)")
    goes_on = []
    for table in page.locator(".scroll").all():
        goes_on.append(table.evaluate("table => table.scrollWidth > table.clientWidth"))
        assert _is_shaded_at_the_edge(table) == goes_on[-1]
        table.evaluate("table => table.scrollLeft = table.scrollWidth")
        assert not _is_shaded_at_the_edge(table)
    assert set(goes_on) == {True, False}


def _is_shaded_at_the_edge(table: Any) -> bool:
    """Return whether the right edge of the head, where no cell has a colour, is darker than paper in most places."""
    pixels = cv2.imdecode(np.frombuffer(table.screenshot(), np.uint8), cv2.IMREAD_GRAYSCALE)
    height = table.evaluate("table => table.querySelector('thead').offsetHeight")
    return bool(np.median(pixels[:height, -3:]) < 230)


@pytest.mark.parametrize("classes", [2, 200])
def test_an_evaluation_can_be_read_anywhere(classes: int, opened: Open) -> None:
    _check(_evaluation_page(classes), opened)


def test_a_search_can_be_read_anywhere(search: SearchReport, opened: Open) -> None:
    trials = search.trials.assign(value=search.trials["value"].astype(float))
    parameters = [plots.Parameter("optimizer", ("adamw", "sgd")), plots.Parameter("learning_rate", log=True)]
    figures = {"optuna_parallel_coordinates.png": plots.draw_parallel_coordinates(trials, parameters, "Trials")}
    html = search_report(replace(search, figures=figures))
    _check(html, opened)
    page = opened(html, 390, "light")
    picture = page.locator(".plot")
    before = picture.bounding_box()["width"]
    page.locator(".enlarge summary").focus()
    page.keyboard.press("Enter")
    assert before <= 390 < 2 * before < picture.bounding_box()["width"]


def test_an_ablation_can_be_read_anywhere(opened: Open) -> None:
    _check(_ablation_page(), opened)


def test_a_data_report_can_be_read_anywhere(photo_folder: Path, tmp_path: Path, opened: Open) -> None:
    _check(_data_page(photo_folder, tmp_path), opened)
