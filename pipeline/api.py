"""The commands as functions: flags in as keywords, results out as values. For notebooks and other programs.

    from pipeline import api

    search = api.tune("my/photos", timeout_s=3600)
    report = api.evaluate(search.model_uri)
    answers = api.load(search.model_uri).predict(["photo.jpg"])

A keyword is a flag of the command of that name, with the same default, the same rules and the same effect: runs go to
MLflow, models to its registry, files to ``data``, ``mlruns`` and ``reports`` in the working folder. A mistake
that the user can fix raises `UserError`, with the message that the command line prints.
"""

from __future__ import annotations

import difflib
import importlib
import os
from collections.abc import Iterable
from pathlib import Path
from typing import TYPE_CHECKING, Any, cast

from pipeline.config import Config, DamagedModel, UserError
from pipeline.config.command_line import with_recipe
from pipeline.config.text import as_text, config_text, make_config

if TYPE_CHECKING:
    import pandas as pd

    from pipeline.data.store import Store
    from pipeline.experiment import TrainingResult
    from pipeline.promotion import EvaluationResult
    from pipeline.search import SearchResult
    from pipeline.serving import Classifier

__all__ = ["DamagedModel", "UserError", "evaluate", "load", "predict", "prepare", "train", "tune"]

CHAMPION = "models:/flower-classifier@champion"


def prepare(data: str | Path, **flags: Any) -> Store:
    """Check, split and decode the photos of a folder, table or archive, or find them prepared (``preprocess``).

    Returns:
        The prepared photos: ``class_counts()`` per split, ``quarantined`` files with their reasons, ``class_names``.

    Raises:
        UserError: a flag or the photos break a rule.
    """
    return cast("Store", _run("preprocess", {"data": data} | flags))


def train(data: str | Path, **flags: Any) -> TrainingResult:
    """Train one model and register its best epoch as challenger (``train``).

    Raises:
        UserError: a flag or the photos break a rule, or the training cannot continue.
    """
    return cast("TrainingResult", _run("train", {"data": data} | flags))


def tune(data: str | Path, **flags: Any) -> SearchResult:
    """Search, confirm the best few with fresh seeds, and register the winner as challenger (``tune``).

    A script must call it below ``if __name__ == "__main__":``, because trials run in separate processes.

    Raises:
        UserError: a flag or the photos break a rule, or no trial is complete.
    """
    return cast("SearchResult", _run("tune", {"data": data} | flags))


def evaluate(model_uri: str, **flags: Any) -> EvaluationResult:
    """Judge a model by its test photos, and make it champion if it is proven better (``evaluate``).

    Raises:
        UserError: there is no such model, or its photos are not here.
        DamagedModel: its files are not those that were registered.
    """
    return cast("EvaluationResult", _run("evaluate", {"model_uri": model_uri} | flags))


def load(model_uri: str = CHAMPION) -> Classifier:
    """Return a classifier whose ``predict`` takes photos in any form: paths, bytes, arrays, Pillow's images.

    If no version is champion yet, it is the newest.

    Raises:
        UserError: there is no such model.
        DamagedModel: its files are not those that were registered.
    """
    from pipeline import tracking
    from pipeline.serving import Classifier
    from pipeline.tracking import registry

    _prepare_process()
    tracking.connect()
    return Classifier(registry.fetch_model(model_uri).folder)


def predict(photos: str | Path | Iterable[str | Path], model_uri: str = CHAMPION, keep: float = 1.0) -> pd.DataFrame:
    """Classify files, folders and globs of photos: one row per photo, as `serving.Classifier.predict` has it, and path.

    Raises:
        UserError: there are no such photos, or no such model.
    """
    from pipeline.serving.prediction import photo_paths

    given = [photos] if isinstance(photos, str | Path) else photos
    paths = photo_paths(tuple(map(str, given)))
    table = load(model_uri).predict(paths, keep)
    table.insert(0, "path", list(map(str, paths)))
    return table


def _run(name: str, flags: dict[str, Any]) -> object:
    """Run a command with flags that are given as values, and return its result."""
    from pipeline.tracking import read_recipe_or_run

    _prepare_process()
    command = importlib.import_module(f"pipeline.commands.{name}")
    config_class: type[Config] = command.CONFIG
    for flag in flags:
        if flag not in config_class.model_fields:
            near = difflib.get_close_matches(flag, config_class.model_fields, n=1)
            raise UserError(
                f"every keyword must be a flag of {name}, got {flag} "
                f"({f'did you mean {near[0]}?' if near else f'see python -m pipeline {name} --help'})"
            )
    given = {flag: as_text(_plain(value)) for flag, value in flags.items()}
    texts = config_text(config_class()) | given
    return command.run(make_config(config_class, with_recipe(config_class, texts, set(given), read_recipe_or_run)))


def _plain(value: object) -> object:
    """Return a value as configs know it."""
    if isinstance(value, list):
        return tuple(value)
    return str(value) if isinstance(value, Path) else value


def _prepare_process() -> None:
    """Set what the command line sets, before Keras is imported."""
    os.environ["KERAS_BACKEND"] = "tensorflow"
    os.environ.setdefault("MLFLOW_ENABLE_ARTIFACTS_PROGRESS_BAR", "false")
