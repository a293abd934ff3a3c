"""Recipes: what their files must say, which flags they set, and that the quick one keeps its word."""

from __future__ import annotations

import re
from pathlib import Path

import pytest
import yaml
from mlflow import MlflowClient

from pipeline import tracking
from pipeline.config import PreprocessConfig, TrainConfig, TuneConfig, UserError
from pipeline.config.command_line import parse_flags
from pipeline.config.recipes import FOLDER, names, read_recipe, recipe_of_run
from pipeline.config.text import as_text, config_text
from tests.conftest import RunIn

PROMISED = (
    "daisy_roses_finetuned",
    "daisy_roses_resnet18",
    "flower_photos_imagenet",
    "flower_photos_notebook",
    "flower_photos_scratch",
    "quick",
)
every_recipe = pytest.mark.parametrize("name", names())


def _train(*flags: str) -> TrainConfig:
    return parse_flags(TrainConfig, "train", list(flags))


def test_the_promised_recipes_are_there() -> None:
    assert set(PROMISED) <= set(names())


@every_recipe
def test_a_recipe_opens_with_what_it_is_what_to_expect_and_how_to_run_it(name: str) -> None:
    lines = (FOLDER / f"{name}.yaml").read_text().splitlines()
    head = [line for line in lines[: lines.index("flags:")] if line.startswith("#")]
    text = "\n".join(head)
    assert len(head) >= 4
    assert re.search(r"^# Expected: +\S", text, re.MULTILINE)
    assert re.search(r"^# Time: +\S", text, re.MULTILINE)
    assert re.search(rf"^# Command: +mlflow run \. -e train --env-manager local -P recipe={name}$", text, re.MULTILINE)


@every_recipe
def test_a_recipe_sets_the_flags_that_it_names_and_no_others(name: str) -> None:
    flags = read_recipe(name).flags
    of_start = TrainConfig(weights=flags.get("weights", "auto"))  # by which other flags choose
    config, default = _train(f"--recipe={name}"), config_text(of_start)
    wanted = {flag: as_text(tuple(value) if isinstance(value, list) else value) for flag, value in flags.items()}
    assert config == TrainConfig(**default | wanted | {"recipe": name})
    changed = {flag for flag, value in config if getattr(of_start, flag) != value}
    assert changed <= {*flags, "recipe"}


def test_a_flag_overrides_the_recipe_also_with_its_default(tmp_path: Path) -> None:
    mine = tmp_path / "mine.yaml"
    mine.write_text("flags: {epochs: 3, augment: none, classes: [a, b], warmup_epochs: 0, n_trials: 4}")
    config = _train(f"--recipe={mine}", "--epochs=2")
    assert (config.epochs, config.augment, config.classes) == (2, "none", ("a", "b"))
    for words in (["--augment=medium"], ["--augment", "medium"]):  # the default
        assert _train(f"--recipe={mine}", *words).augment == "medium"
    # Where every flag is given, as mlflow run does, nobody knows which the user chose.
    given = config_text(TrainConfig()) | {"recipe": str(mine), "epochs": "1"}
    config = _train(*(f"--{name}={text}" for name, text in given.items()))
    assert (config.epochs, config.augment) == (1, "none")
    assert parse_flags(TuneConfig, "tune", [f"--recipe={mine}"]).n_trials == 4
    assert parse_flags(PreprocessConfig, "preprocess", [f"--recipe={mine}"]).classes == ("a", "b")


@pytest.mark.parametrize(
    ("content", "named"),
    [
        ("flags: {epoch: 3}", "'epoch'"),
        ("flags: {recipe: quick}", "'recipe'"),
        ("flags: {epochs: many}", "'many'"),
        ("epochs: 3", "must have flags"),
        ("flags: 3", "must have flags"),
        ("flags: {}\nmore: 1", "must have flags"),
        ("flags: [", "must be a YAML file"),
        ("", "must have flags"),
    ],
)
def test_a_recipe_that_cannot_be_used_is_the_users_mistake(tmp_path: Path, content: str, named: str) -> None:
    file = tmp_path / "mine.yaml"
    file.write_text(content)
    with pytest.raises(UserError, match=re.escape(named)) as error:
        _train(f"--recipe={file}")
    assert len(str(error.value).splitlines()) == 1


def test_a_recipe_that_is_not_there_is_the_users_mistake(tmp_path: Path) -> None:
    with pytest.raises(UserError, match=r"recipe must be one of .*quick.*, got 'quik'"):
        _train("--recipe=quik")
    with pytest.raises(UserError, match="No such file"):
        _train(f"--recipe={tmp_path}/none.yaml")


@pytest.mark.slow
def test_the_quick_recipe_keeps_its_word(project: Path, run_in: RunIn) -> None:
    """Through ``mlflow run``, which gives every flag and has logged the defaults before the command begins."""
    command = ("mlflow", "run", ".", "-e", "train", "--env-manager", "local")
    run_in(project, *command, "-P", "recipe=quick")
    runs = MlflowClient(f"sqlite:///{project / 'mlflow.db'}").search_runs(["0"])
    (trained,) = [run for run in runs if "best_val_accuracy" in run.data.metrics]
    (given,) = [run for run in runs if run is not trained]
    recipe = read_recipe("quick")
    ((metric, (least, most)),) = recipe.expected.items()
    assert metric == "best_val_accuracy"
    assert least <= trained.data.metrics[metric] <= most
    assert {name: trained.data.params[name] for name in recipe.flags} == {
        name: as_text(value) for name, value in recipe.flags.items()
    }
    assert trained.data.params["recipe"] == "quick"
    assert given.data.tags["continued_in"] == trained.info.run_id
    assert yaml.safe_load((FOLDER / "quick.yaml").read_text())["flags"]["data"] == "synthetic"


def test_a_run_is_a_recipe_also_of_an_earlier_version() -> None:
    flags = {"learning_rate": 0.01, "classes": ("a", "b"), "weights": "none", "seed": 3, "recipe": "quick"}
    recorded = TrainConfig(**flags, timeout_s=60).model_dump(mode="json")
    recorded |= {"epochs": 7, "image_size": 32}
    del recorded["class_weights"]  # as before there was such a flag
    wanted = recipe_of_run(recorded).flags
    given = ("--learning_rate=0.5", "--recipe=runs:/1")
    config = parse_flags(TrainConfig, "train", given, lambda _: recipe_of_run(recorded))
    assert (config.classes, config.seed, config.epochs, config.image_size) == (("a", "b"), 3, 7, 32)
    assert (config.learning_rate, config.timeout_s, config.recipe) == (0.5, 0.0, "runs:/1")
    assert not wanted.keys() & {"recipe", "timeout_s", "class_weights", "optimizer"}
    search = recipe_of_run(TuneConfig(n_trials=3, weights="none").model_dump(mode="json")).flags
    assert search["n_trials"] == 3


def test_a_run_that_is_not_there_is_a_mistake_of_one_line(
    tracking_store: MlflowClient, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    config = TrainConfig(weights="none", learning_rate=0.02)
    with tracking.run("train", "a name", config) as run_id:
        pass
    assert tracking.read_recipe_or_run(f"runs:/{run_id}").flags["learning_rate"] == 0.02
    with pytest.raises(UserError, match=r"recipe must name a run of this pipeline, got 'runs:/none': [^\n]*$"):
        tracking.read_recipe_or_run("runs:/none")
