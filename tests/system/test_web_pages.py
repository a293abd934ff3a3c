"""What people look at, in a real browser on a real store: MLflow's UI, the reports, and the page to try the model."""

from __future__ import annotations

import importlib.util
import os
import re
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Any, NamedTuple

import pytest

from tests.browsers import ASIDE, BROKEN, IS_INSTALLED, chromium, faults_of
from tests.servers import free_port, running_server

if TYPE_CHECKING:
    from playwright.sync_api import Browser, Locator, Page

    from tests.conftest import Tuned

if not IS_INSTALLED or not importlib.util.find_spec("streamlit"):
    pytest.skip("needs chromium, playwright and streamlit (extras test and demo)", allow_module_level=True)
PATIENCE_MS = 60_000  # a busy machine is slow, which is no fault of a page


class Site(NamedTuple):
    """A project in which a model was searched and evaluated, with MLflow's UI and the demo running on it."""

    project: Tuned
    ui: str
    demo: str


@pytest.fixture(scope="module")
def site(evaluated_project: Tuned, environment_of_a_user: dict[str, str]) -> Iterator[Site]:
    folder, ui = evaluated_project.folder, ("mlflow", "ui", "--backend-store-uri", evaluated_project.uri, "--workers=1")
    with (
        _server(folder, environment_of_a_user, "health", *ui) as ui_address,
        _server(folder, environment_of_a_user, "_stcore/health", "pipeline", "demo") as demo_address,
    ):
        yield Site(evaluated_project, ui_address, demo_address)


@pytest.fixture(scope="module")
def environment_of_a_user(tuned_project: Tuned) -> dict[str, str]:
    settings = {"MLFLOW_DISABLE_TELEMETRY": "true", "MLFLOW_SERVER_ENABLE_JOB_EXECUTION": "false"}  # 8 processes more
    return os.environ | {"MLFLOW_TRACKING_URI": tuned_project.uri} | settings


@contextmanager
def _server(folder: Path, environment: dict[str, str], health: str, *module: str) -> Iterator[str]:
    port = free_port()
    command, address = [sys.executable, "-m", *module, f"--port={port}"], f"http://127.0.0.1:{port}"
    with running_server(command, folder, environment, f"{address}/{health}"):
        yield address


@pytest.fixture(scope="module")
def browser() -> Iterator[Browser]:
    with chromium() as browser:
        yield browser


@pytest.fixture
def page(browser: Browser) -> Iterator[Page]:
    """A page that remembers which other machines it asked for something, and refuses to."""
    context = browser.new_context(viewport={"width": 1500, "height": 950}, accept_downloads=False)
    context.set_default_timeout(PATIENCE_MS)
    page = context.new_page()
    page.asked_elsewhere = []  # type: ignore[attr-defined]

    def route(asked: Any) -> None:
        if asked.request.url.startswith(("http://127.0.0.1:", "data:", "blob:", "file:")):
            asked.continue_()
        else:
            page.asked_elsewhere.append(asked.request.url)  # type: ignore[attr-defined]
            asked.abort()

    page.route("**/*", route)
    yield page
    context.close()


def _run_ids(site: Site, stage: str) -> list[str]:
    return [run.info.run_id for run in site.project.runs if run.data.tags["stage"] == stage]


def _without_assistant(page: Page) -> None:
    """Close the panel that the UI opens by itself on a first visit."""
    close = page.get_by_role("button", name="Close")
    if page.get_by_text("MLflow Assistant").count() and close.count():
        close.first.click()


def _unfolded_trials(site: Site, page: Page) -> Locator:
    """Open the list of runs and return the rows of the two trials below their search."""
    page.goto(f"{site.ui}/#/experiments/0/runs")
    searches = page.get_by_role("row").filter(has_text=", 2 trials")
    parent = searches.filter(has=page.get_by_role("button")).first  # the same search again has nothing to unfold
    parent.wait_for()
    _without_assistant(page)
    trials = page.get_by_role("row").filter(has_text=re.compile(r"trial-00\d resnet18"))
    if not trials.count():
        parent.get_by_role("button").first.click()
    trials.nth(1).wait_for()
    return trials


def test_the_search_is_one_row_with_its_trials_below(site: Site, page: Page) -> None:
    assert _unfolded_trials(site, page).count() == 2


def test_the_printed_page_opens_on_the_runs_and_their_accuracies(site: Site, page: Page, tuned_project: Tuned) -> None:
    page.set_viewport_size({"width": 1280, "height": 900})
    (line,) = (line for line in tuned_project.printed.splitlines() if "compare the runs:" in line)
    address = re.search(r"http://127.0.0.1:5000(/\S+)", line)
    assert address
    page.goto(f"{site.ui}{address[1]}")
    page.get_by_role("row").filter(has_text=", 2 trials").first.wait_for()
    column = page.get_by_role("columnheader").filter(has_text="best_val_accuracy").first.bounding_box()
    assert column
    assert column["x"] < 1100


def test_no_page_has_a_broken_picture_or_anything_off_the_screen(site: Site, page: Page) -> None:
    page.set_viewport_size({"width": 1280, "height": 900})
    assert {run.data.tags["stage"] for run in site.project.runs} == {"tune", "trial", "confirm", "evaluate"}
    for run in site.project.runs:
        page.goto(f"{site.ui}/#/experiments/0/runs/{run.info.run_id}?workflowType=machine_learning")
        _check_page(page, "About this run", "get-artifact" in run.data.tags.get("mlflow.note.content", ""))
        facts = page.get_by_text("About this run").first.bounding_box()
        assert facts
        assert facts["x"] < 860  # beside MLflow's own table of metrics, which takes as much where a run has a model
    for version in site.project.client.search_model_versions("name = 'flower-classifier'"):
        address = f"{site.ui}/#/models/flower-classifier/versions/{version.version}?workflowType=machine_learning"
        page.goto(address)
        _check_page(page, "Source Run", "get-artifact" in version.description)
    page.goto(f"{site.ui}/#/models/flower-classifier?workflowType=machine_learning")
    _check_page(page, "Version 1", has_picture=True)


def _check_page(page: Page, text: str, has_picture: bool) -> None:
    """Check that a page of the UI shows a text on a screen of 1280 pixels, and that its pictures are whole and fit."""
    shown = page.get_by_text(text).first
    shown.wait_for()
    if has_picture:
        page.locator("img[src*='get-artifact']").first.wait_for(state="attached")
    _without_assistant(page)
    page.wait_for_function(f"{BROKEN} === 0")
    left = shown.bounding_box()
    assert left
    assert 0 <= left["x"] < 1100
    for picture in page.locator("img[src*='get-artifact']").all():
        box = picture.bounding_box()
        assert box
        assert box["x"] + box["width"] <= 1256  # where the content of a page ends


def test_two_trials_are_selected_and_compared(site: Site, page: Page) -> None:
    trials = _unfolded_trials(site, page)
    for place in range(2):
        trials.nth(place).get_by_role("checkbox").first.check(force=True)
    page.get_by_test_id("runs-compare-button").click()
    page.get_by_role("heading", name=re.compile("Comparing 2 Runs")).wait_for()
    page.get_by_text("Parallel Coordinates Plot").wait_for()
    for name in ("trial-000 resnet18 medium", "trial-001 resnet18 light"):
        page.get_by_text(re.compile(name)).first.wait_for()
    page.locator(".js-plotly-plot").first.wait_for()
    assert page.get_by_text("best_val_accuracy").count()


def test_a_confusion_matrix_is_shown(site: Site, page: Page) -> None:
    run_id = _run_ids(site, "trial")[0]
    page.goto(f"{site.ui}/#/experiments/0/runs/{run_id}/artifacts/confusion_matrix.png")
    page.get_by_role("heading", name="confusion_matrix.png").or_(
        page.get_by_text("confusion_matrix.png")
    ).first.wait_for()
    picture = page.locator("canvas, img[src*='blob:'], img[src*='get-artifact'], .image-outer-container").first
    picture.wait_for()
    page.wait_for_timeout(500)
    assert picture.bounding_box()["width"] > 300  # type: ignore[index]


def test_the_registered_model_has_its_champion(site: Site, page: Page) -> None:
    page.goto(f"{site.ui}/#/models/flower-classifier")
    page.get_by_role("heading", name="flower-classifier").wait_for()
    row = page.get_by_role("row").filter(has_text="Version 1")
    row.get_by_text("champion").wait_for()
    _without_assistant(page)


def test_the_ui_shows_the_report(site: Site, page: Page) -> None:
    (run_id,) = _run_ids(site, "tune")
    page.goto(f"{site.ui}/#/experiments/0/runs/{run_id}/artifacts/report.html")
    frame = page.frame_locator("iframe")
    frame.get_by_role("heading", name="What was tried").wait_for()
    frame.get_by_text("validation photos").first.wait_for()


@pytest.mark.parametrize("stage", ["tune", "evaluate"])
@pytest.mark.parametrize(("width", "scheme"), [(390, "dark"), (1280, "light")])
def test_a_report_fits_its_window_and_asks_nobody(
    site: Site, browser: Browser, stage: str, width: int, scheme: Any
) -> None:
    runs = site.project.client.search_runs(["0"], f"tags.stage = '{stage}' and attributes.status = 'FINISHED'")
    file = site.project.client.download_artifacts(runs[0].info.run_id, "report.html")
    context = browser.new_context(viewport={"width": width, "height": 844}, color_scheme=scheme)
    page = context.new_page()
    said: list[str] = []
    page.on("console", lambda message: said.append(message.text))
    asked: list[str] = []
    page.on("request", lambda request: asked.append(request.url))
    page.goto(Path(file).as_uri())
    for heading in ("Where it fails", "Photos that the model labels wrongly"):
        assert page.get_by_role("heading", name=heading).is_visible()
    assert page.evaluate("document.documentElement.scrollWidth") <= width
    assert page.evaluate(ASIDE) == []
    assert page.evaluate(BROKEN) == 0
    assert faults_of(page) == []
    assert [url for url in asked if not url.startswith(("data:", "file:"))] == []
    assert said == []
    red, green, blue = page.evaluate("getComputedStyle(document.body).backgroundColor.match(/\\d+/g).map(Number)")
    assert (red + green + blue < 200) == (scheme == "dark")
    context.close()


LABELS = "(blue|green|red)"


def test_a_dropped_photo_gets_its_label(site: Site, page: Page, photo_folder: Path) -> None:
    drop = _opened_demo(site, page, 1280)
    drop.set_input_files(photo_folder / "red" / "red1.jpg")
    label = page.get_by_role("heading", name=re.compile(rf"^({LABELS}, \d+\s%|Unsure: {LABELS} .*)$"))
    label.wait_for()
    page.get_by_text(re.compile(r"Grad-CAM")).first.wait_for()
    page.get_by_text("these look most like yours to it. Below each stand its label in the training data").wait_for()
    page.get_by_role("heading", name="The most similar training photos").wait_for()
    page.get_by_text(re.compile(rf"^{LABELS}, [01]\.\d\d$")).nth(5).wait_for()
    assert page.get_by_role("progressbar").count() == 3
    probability = re.findall(r"\d+", label.inner_text())[0]
    assert 33 <= int(probability) <= 100
    page.get_by_text("About this model").click()
    page.get_by_text("flower-classifier version 1").wait_for()
    page.get_by_text(re.compile(r"digest [0-9a-f]{12}")).wait_for()
    page.get_by_text(re.compile(r"\d % right")).wait_for()
    assert page.asked_elsewhere == []  # type: ignore[attr-defined]


def test_several_photos_are_told_on_a_phone(site: Site, page: Page, photo_folder: Path) -> None:
    drop = _opened_demo(site, page, 390)
    assert "image/*" in str(drop.get_attribute("accept"))  # by which phones offer their camera
    bad = {"name": "x.jpg", "mimeType": "image/jpeg", "buffer": b"<html>"}
    good = [
        {"name": file.name, "mimeType": "image/jpeg", "buffer": file.read_bytes()}
        for file in (photo_folder / "red" / "red1.jpg", photo_folder / "red" / "red2.jpg")
    ]
    drop.set_input_files([*good, bad])  # type: ignore[arg-type]
    page.get_by_role("heading", name=re.compile("^2 photos: ")).wait_for()
    page.get_by_text("x.jpg cannot be used: not an image (HTML).").wait_for()
    page.get_by_text("photos that the model was trained on").wait_for()
    assert page.evaluate("document.documentElement.scrollWidth") <= 390
    page.wait_for_function(f"{BROKEN} === 0")
    theirs = "presentation-role-conflict"  # of Streamlit's own field for files
    assert [fault for fault in faults_of(page) if not fault.startswith(theirs)] == []


def _opened_demo(site: Site, page: Page, width: int) -> Locator:
    """Open the page of the demo and return its field for photos."""
    page.set_viewport_size({"width": width, "height": 950})
    page.goto(site.demo)
    page.get_by_role("heading", name="Try the classifier").wait_for()
    drop = page.locator("input[type=file]")
    drop.wait_for(state="attached")
    return drop
