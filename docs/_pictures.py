"""The screenshots of the documentation: the README's first search and its evaluation, as a browser shows them.

``python -m docs._pictures [FOLDER]`` (extras test and demo, and Chromium) runs both in FOLDER, or in one that is
removed afterwards, and writes the pictures into docs/images. It takes ten minutes on two cores; in a FOLDER where both
have run, one.
"""

from __future__ import annotations

import os
import subprocess
import sys
import tempfile
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING

from mlflow import MlflowClient

from pipeline.tracking.runs import EXPERIMENT
from pipeline.tracking.store import VIEW
from tests.browsers import chromium
from tests.servers import free_port, running_server

if TYPE_CHECKING:
    from playwright.sync_api import Browser, Page

ROOT = Path(__file__).parents[1]
IMAGES = ROOT / "docs" / "images"
FLAGS = ["data=synthetic", "weights=none", "image_size=64", "epochs=8", "n_trials=6"]
PHONE, SCREEN, LIST = (390, 844), (1280, 900), (1280, 640)  # pixels
DEMO, DEMO_PHONE = (900, 1200), (390, 1250)


def main(folder: Path) -> None:
    """Search, evaluate, and take the pictures."""
    environment = os.environ | {"PYTHONPATH": str(ROOT), "MLFLOW_TRACKING_URI": f"sqlite:///{folder / 'mlflow.db'}"}
    environment |= {"MLFLOW_DISABLE_TELEMETRY": "true", "MLFLOW_SERVER_ENABLE_JOB_EXECUTION": "false"}
    environment["MLFLOW_EXPERIMENT_NAME"] = EXPERIMENT  # the tests', which this imports from, choose another
    for command in (["tune", *(f"--{flag}" for flag in FLAGS)], ["evaluate", "--promotion=better"]):
        if not list(folder.glob(f"reports/{command[0]}-*.html")):
            subprocess.run([sys.executable, "-m", "pipeline", *command], cwd=folder, env=environment, check=True)
    with chromium() as browser:
        _take_reports(browser, folder)
        with _server(folder, environment, "health", "mlflow", "ui", "--workers=1") as address:
            experiment = MlflowClient(environment["MLFLOW_TRACKING_URI"]).get_experiment_by_name(EXPERIMENT)
            assert experiment is not None
            runs = f"#/experiments/{experiment.experiment_id}/runs"
            _take_runs(browser, f"{address}/{runs}?workflowType=machine_learning&viewStateShareKey={VIEW}")
        with _server(folder, environment, "_stcore/health", "pipeline", "demo") as address:
            _take_demo(browser, address, folder)


@contextmanager
def _server(folder: Path, environment: Mapping[str, str], health: str, *module: str) -> Iterator[str]:
    port = free_port()
    address = f"http://127.0.0.1:{port}"
    command = [sys.executable, "-m", *module, f"--port={port}"]
    with running_server(command, folder, environment, f"{address}/{health}"):
        yield address


def _take_reports(browser: Browser, folder: Path) -> None:
    """Take the beginnings of two reports, one as a screen and one as a phone shows it."""
    for name, pattern, size in (
        ("report_evaluation", "evaluate-*.html", SCREEN),
        ("report_search_phone", "tune-*.html", PHONE),
    ):
        with _page(browser, size) as page:
            page.goto(next((folder / "reports").glob(pattern)).as_uri())
            _take(page, name)


def _take_runs(browser: Browser, address: str) -> None:
    """Take the list of runs, with the trials of the search unfolded."""
    with _page(browser, LIST) as page:
        page.goto(address)
        search = page.get_by_role("row").filter(has_text="6 trials").last
        search.wait_for()
        close = page.get_by_role("button", name="Close")
        if page.get_by_text("MLflow Assistant").count() and close.count():
            close.first.click()
        if not page.get_by_role("row").filter(has_text="trial-005").count():
            search.get_by_role("button").first.click()
        page.get_by_role("row").filter(has_text="trial-005").wait_for()
        _take(page, "mlflow_runs")


def _take_demo(browser: Browser, address: str, folder: Path) -> None:
    """Take the page of the demo: one photo on a screen, several on a phone."""
    photos = sorted((folder / "data").rglob("*.jpg"))
    for name, size, chosen in (("demo", DEMO, photos[70:71]), ("demo_phone", DEMO_PHONE, photos[70::130])):
        with _page(browser, size) as page:
            page.goto(address)
            page.locator("input[type=file]").wait_for(state="attached")
            page.locator("input[type=file]").set_input_files(chosen)
            page.get_by_text("photos that the model was trained on").wait_for()
            page.wait_for_timeout(1000)  # pictures fade in
            _take(page, name)


@contextmanager
def _page(browser: Browser, size: tuple[int, int]) -> Iterator[Page]:
    context = browser.new_context(viewport={"width": size[0], "height": size[1]}, color_scheme="light")
    context.set_default_timeout(120_000)
    yield context.new_page()
    context.close()


def _take(page: Page, name: str) -> None:
    """Write a picture of what the window shows."""
    file = IMAGES / f"{name}.png"
    page.screenshot(path=file)
    print(file.relative_to(ROOT))


if __name__ == "__main__":
    if len(sys.argv) > 1:
        main(Path(sys.argv[1]).resolve())
    else:
        with tempfile.TemporaryDirectory() as scratch:
            main(Path(scratch))
