"""The documentation: its commands are taken, the tutorial works, the site builds for any screen, without dead links."""

from __future__ import annotations

import importlib
import re
import shlex
import shutil
import subprocess
import sys
from pathlib import Path

import pytest
from mlflow import MlflowClient

from pipeline.config.command_line import parse_flags
from pipeline.config.recipes import Recipe, read_recipe
from pipeline.config.text import fields_of
from pipeline.mlproject import ENTRY_POINTS
from tests.browsers import chromium
from tests.conftest import CLASSES, PHOTOS_PER_CLASS, RunIn
from tests.small_net import SMALL

ROOT = Path(__file__).parents[1]
PAGES = [ROOT / "README.md", ROOT / "CONTRIBUTING.md", *sorted((ROOT / "docs").glob("*.md"))]
COMMAND = re.compile(r"(?:python -m pipeline|mlflow run \. -e) (\w+)((?:[^\n`]|\\\n)*)")
FLAG = re.compile(r"(?:-P |--)([a-z]\w*)=")


@pytest.mark.parametrize("page", PAGES, ids=lambda page: page.name)
def test_every_flag_of_every_command_exists(page: Path) -> None:
    wrong = [
        (name, flag)
        for name, rest in COMMAND.findall(page.read_text())
        if name in ENTRY_POINTS
        for flag in FLAG.findall(rest)
        if flag not in fields_of(importlib.import_module(f"pipeline.commands.{name}").CONFIG)
    ]
    assert wrong == []


def _commands(page: Path) -> list[tuple[str, list[str]]]:
    """Return the commands in a page's code blocks: each one's name, and its flags as the shell hands them over."""
    blocks = "\n".join(re.findall(r"^```bash\n(.*?)^```", page.read_text(), re.MULTILINE | re.DOTALL))
    found = []
    for line in blocks.replace("\\\n", " ").splitlines():
        for command in re.split(r" && ", line):
            words = shlex.split(command, comments=True)
            for start in (["python", "-m", "pipeline"], ["photo-pipeline"], ["mlflow", "run", ".", "-e"]):
                if words[: len(start)] == start:
                    name, *rest = words[len(start) :]
                    given = [f"--{word}" for place, word in enumerate(rest) if rest[place - 1] == "-P" and place]
                    found.append((name, given if start[0] == "mlflow" else rest))
    return found


@pytest.mark.parametrize("page", PAGES, ids=lambda page: page.name)
def test_every_command_is_taken_as_it_stands_there(page: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "space.yaml").write_text("learning_rate: {low: 0.001, high: 0.01}\n")
    monkeypatch.chdir(tmp_path)
    recipe_of_run = Recipe(flags={}, expected={})
    for name, flags in _commands(page):
        if name in ENTRY_POINTS:
            config = importlib.import_module(f"pipeline.commands.{name}").CONFIG
            parse_flags(config, name, flags, lambda text: recipe_of_run if "RUN_ID" in text else read_recipe(text))


@pytest.mark.parametrize("page", [page for page in PAGES if page.name != "CONTRIBUTING.md"], ids=lambda page: page.name)
def test_every_example_in_python_can_be_read(page: Path) -> None:
    for block in re.findall(r"^```python\n(.*?)^```", page.read_text(), re.MULTILINE | re.DOTALL):
        compile(block, page.name, "exec")


@pytest.mark.slow
def test_the_tutorial_works_as_it_stands_there(project: Path, fork_in: RunIn, photo_folder: Path) -> None:
    """With less of everything: smaller photos, fewer epochs and trials."""
    for folder in ("my", "new"):
        shutil.copytree(photo_folder, project / folder / "photos")
    less = {"image_size": "32", "epochs": "2", "n_trials": "2", "batch_size": "8", "variants": "resnet18"}
    ran = []
    for name, flags in _commands(ROOT / "docs" / "tutorial.md"):
        known = fields_of(importlib.import_module(f"pipeline.commands.{name}").CONFIG)
        own = [flag for flag in flags if flag.partition("=")[0].removeprefix("--") not in less]
        rest = [f"--{flag}={value}" for flag, value in less.items() if flag in known and name != "evaluate"]
        if name != "serve":  # which does not end
            fork_in(project, name, *own, *rest, **SMALL)
        ran.append(name)
    assert ran == ["preprocess", "train", "tune", "evaluate", "predict", "serve"]
    assert len((project / "labels.csv").read_text().splitlines()) == 1 + len(CLASSES) * PHOTOS_PER_CLASS


LESS = {  # than a command asks for itself, so that it ends in seconds
    "data": "my/photos", "image_size": "32", "epochs": "2", "head_epochs": "1", "n_trials": "2", "batch_size": "8",
    "val_fraction": "0.3", "variants": "resnet18", "weights": "none", "confirm_top_k": "0",
}  # fmt: skip
NOT_HERE = {  # part of a command of how_to.md -> what it needs, or which test runs it
    "--fetch=": "needs a network",
    "--devices=2": "needs two GPUs; tests/training/test_devices.py runs two devices of TensorFlow's own",
    "--ray_address=auto": "needs a cluster; tests/processes/test_ray_pool.py has one",
    "serve": "does not end; tests/serving runs it",
    "demo": "does not end; tests/system/test_web_pages.py runs it",
}


@pytest.mark.slow
def test_the_commands_of_the_how_to_work_as_they_stand_there(project: Path, fork_in: RunIn, photo_folder: Path) -> None:
    """With less of everything that a command leaves open."""
    flowers = dict(zip(("daisy", "roses", "tulips"), CLASSES, strict=True))
    for folder in ("my/photos", "my/letters", "my/cells", "my/new", "parts"):
        for flower, colour in flowers.items():
            shutil.copytree(photo_folder / colour, project / folder / flower)
    photos = sorted((project / "my" / "photos").glob("*/*"))
    rows = [f"{photo.relative_to(project)},{photo.parent.name}" for photo in photos]
    (project / "photos.csv").write_text("\n".join(["path,label", *rows]) + "\n")
    (project / "space.yaml").write_text("learning_rate: {low: 0.001, high: 0.01}\n")
    small = [f"--{flag}={LESS[flag]}" for flag in ("data", "image_size", "epochs", "batch_size", "val_fraction")]
    fork_in(project, "train", *small, "--weights=none", **SMALL)
    fork_in(project, "evaluate", "--promotion=better", **SMALL)
    (training,) = MlflowClient(f"sqlite:///{project / 'mlflow.db'}").search_runs(["0"], "tags.stage = 'train'")
    ran = []
    for name, flags in _commands(ROOT / "docs" / "how_to.md"):
        if name not in ENTRY_POINTS or any(word.startswith(tuple(NOT_HERE)) for word in (name, *flags)):
            continue
        known = fields_of(importlib.import_module(f"pipeline.commands.{name}").CONFIG)
        given = {flag.partition("=")[0].removeprefix("--") for flag in flags}
        less = {flag: value for flag, value in LESS.items() if flag in known and flag not in given}
        if "recipe" in given or name == "evaluate":
            less = {}
        if "freeze_backbone" in given:
            del less["head_epochs"]
        if "head_epochs" in given:
            less["epochs"] = "6"
        own = [flag.replace("RUN_ID", training.info.run_id) for flag in flags]
        fork_in(project, name, *own, *(f"--{flag}={value}" for flag, value in less.items()), **SMALL)
        ran.append(name)
    assert set(ran) == {"preprocess", "train", "tune", "ablate", "predict", "evaluate", "export", "weights", "doctor"}


def test_the_site_builds_without_a_warning(tmp_path: Path) -> None:
    pytest.importorskip("mkdocs", reason="the site needs the extra docs (pip install '.[docs]')")
    command = [sys.executable, "-m", "mkdocs", "build", "--strict", "--site-dir", str(tmp_path)]
    built = subprocess.run(command, cwd=ROOT, capture_output=True, text=True, check=False)
    assert built.returncode == 0, built.stderr
    assert "<code>learning_rate</code>" in (tmp_path / "flags" / "index.html").read_text()
    assert "<code>UserError</code>" in (tmp_path / "api" / "index.html").read_text()
    assert (tmp_path / "images" / "imports.svg").stat().st_size > 1000
    with chromium() as browser:
        for width in (1280, 390):
            page = browser.new_page(viewport={"width": width, "height": 900})
            for file in tmp_path.rglob("index.html"):
                page.goto(file.as_uri())
                assert page.evaluate("document.documentElement.scrollWidth") <= width, (file, width)
