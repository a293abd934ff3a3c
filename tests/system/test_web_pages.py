"""What people look at, in a real browser on a real store: MLflow's UI, the reports, and the page to try the model."""

from __future__ import annotations

import importlib.util
import os
import re
import shutil
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Any, NamedTuple

import pytest

from tests.servers import free_port, running_server

if TYPE_CHECKING:
    from playwright.sync_api import Browser, Locator, Page

    from tests.conftest import Tuned

CHROMIUM = next(filter(None, map(shutil.which, ("chromium", "chromium-browser", "google-chrome"))), "")
if not CHROMIUM or not importlib.util.find_spec("playwright") or not importlib.util.find_spec("streamlit"):
    pytest.skip("needs chromium, playwright and streamlit (extras test and demo)", allow_module_level=True)
PICTURES = os.environ.get("BROWSER_PICTURES", "")  # a folder for screenshots, such as docs/images
BROKEN = "[...document.images].filter(image => !image.complete || !image.naturalWidth).length"
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
    from playwright.sync_api import sync_playwright

    with sync_playwright() as playwright:
        yield playwright.chromium.launch(executable_path=CHROMIUM, args=["--no-sandbox"])


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


def _picture(page: Page, name: str) -> None:
    if PICTURES:
        page.screenshot(path=f"{PICTURES}/{name}.png")


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
    _picture(page, "mlflow_runs")


def test_the_printed_page_opens_on_the_runs(site: Site, page: Page, tuned_project: Tuned) -> None:
    (line,) = (line for line in tuned_project.printed.splitlines() if "compare the runs:" in line)
    address = re.search(r"http://127.0.0.1:5000(/\S+)", line)
    assert address
    page.goto(f"{site.ui}{address[1]}")
    page.get_by_role("row").filter(has_text=", 2 trials").first.wait_for()


def test_no_picture_is_broken_or_pushes_anything_off_the_screen(site: Site, page: Page) -> None:
    page.set_viewport_size({"width": 1280, "height": 900})
    described = [run for run in site.project.runs if "get-artifact" in run.data.tags.get("mlflow.note.content", "")]
    assert {run.data.tags["stage"] for run in described} == {"tune", "trial", "confirm", "evaluate"}
    for run in described:
        page.goto(f"{site.ui}/#/experiments/0/runs/{run.info.run_id}?workflowType=machine_learning")
        facts = page.get_by_text("About this run").first
        facts.wait_for()
        page.locator("img[src*='get-artifact']").first.wait_for(state="attached")
        _without_assistant(page)
        page.wait_for_function(f"{BROKEN} === 0")
        assert facts.bounding_box()["x"] < 860  # type: ignore[index]  # beside a picture of 600 pixels
    _picture(page, "mlflow_run")
    page.goto(f"{site.ui}/#/models/flower-classifier/versions/1?workflowType=machine_learning")
    page.locator("img[src*='get-artifact']").first.wait_for(state="attached")
    page.wait_for_function(f"{BROKEN} === 0")


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
    _picture(page, "mlflow_compare")
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
    _picture(page, "mlflow_confusion_matrix")


def test_the_registered_model_has_its_champion(site: Site, page: Page) -> None:
    page.goto(f"{site.ui}/#/models/flower-classifier")
    page.get_by_role("heading", name="flower-classifier").wait_for()
    row = page.get_by_role("row").filter(has_text="Version 1")
    row.get_by_text("champion").wait_for()
    _without_assistant(page)
    _picture(page, "mlflow_model")


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
    for heading in ("Where it fails", "On which photos"):
        assert page.get_by_role("heading", name=heading).is_visible()
    assert page.evaluate("document.documentElement.scrollWidth") <= width
    broken = "[...document.images].filter(image => !image.complete || !image.naturalWidth || !image.alt).length"
    assert page.evaluate(broken) == 0
    assert [url for url in asked if not url.startswith(("data:", "file:"))] == []
    assert said == []
    red, green, blue = page.evaluate("getComputedStyle(document.body).backgroundColor.match(/\\d+/g).map(Number)")
    assert (red + green + blue < 200) == (scheme == "dark")
    if PICTURES:
        page.screenshot(path=f"{PICTURES}/report_{stage}_{width}_{scheme}.png", full_page=True)
    context.close()


def test_a_dropped_photo_gets_its_label(site: Site, page: Page, photo_folder: Path) -> None:
    page.goto(site.demo)
    page.get_by_role("heading", name="Try the classifier").wait_for()
    drop = page.locator("input[type=file]")
    drop.wait_for(state="attached")
    drop.set_input_files(photo_folder / "red" / "red1.jpg")
    label = page.get_by_role("heading", name=re.compile(r"^(blue|green|red), \d+ %$"))
    label.wait_for()
    page.get_by_text(re.compile(r"Grad-CAM")).first.wait_for()
    similar = page.get_by_role("heading", name="The most similar training photos")
    similar.wait_for()
    page.get_by_text(re.compile(r"^(blue|green|red) [01]\.\d\d$")).nth(5).wait_for()
    assert page.get_by_role("progressbar").count() == 3
    page.wait_for_timeout(300)
    _picture(page, "demo")
    (probability,) = re.findall(r"\d+", label.inner_text())
    assert 33 <= int(probability) <= 100
    drop.set_input_files({"name": "x.jpg", "mimeType": "image/jpeg", "buffer": b"<html>"})
    page.get_by_text("This photo cannot be used: not an image (HTML).").wait_for()
    assert page.asked_elsewhere == []  # type: ignore[attr-defined]
