"""The only module that talks to the MLflow registry: versions, aliases, and where a model's files are.

``challenger`` is the newest candidate, ``champion`` the best proven model.
"""

from __future__ import annotations

import re
from pathlib import Path
from typing import NamedTuple

import mlflow
from mlflow import MlflowClient
from mlflow.exceptions import MlflowException

from pipeline.config import UserError, first_line

CHALLENGER, CHAMPION = "challenger", "champion"
CLASSIFIER_FOLDER = "artifacts/classifier"  # inside a logged model; see tracking.log_classifier


class Version(NamedTuple):
    """A version of a registered model."""

    name: str
    number: str


def register(model_uri: str, name: str) -> Version:
    """Make a logged model the newest version of ``name`` and its challenger."""
    version = Version(name, str(mlflow.register_model(model_uri, name).version))
    MlflowClient().set_registered_model_alias(name, CHALLENGER, version.number)
    return version


def classifier_folder(model_uri: str) -> Path:
    """Return a local folder that `serving.Classifier` reads.

    Raises:
        UserError: there is no such model, or it is not one of ours.
    """
    try:
        folder = Path(mlflow.artifacts.download_artifacts(model_uri)) / CLASSIFIER_FOLDER
    except (MlflowException, OSError) as error:
        raise UserError(
            f"model_uri must name a model that exists, got {model_uri!r}: {first_line(error)} "
            "(train one with `mlflow run . -e tune`; `mlflow ui` shows what there is)"
        ) from None
    if not folder.is_dir():
        raise UserError(
            f"model_uri must name a model made by this pipeline, got {model_uri!r} without {CLASSIFIER_FOLDER}"
        )
    return folder


def version_of(model_uri: str) -> Version | None:
    """Return the registered version that a ``models:/`` address points at now; None for any other address."""
    match = re.fullmatch(r"models:/([^/@]+)(?:@(.+)|/(\d+))", model_uri)
    if not match:
        return None
    name, alias, number = match.groups()
    return Version(name, number or str(MlflowClient().get_model_version_by_alias(name, alias).version))


def make_champion_if_none(version: Version) -> bool:
    """Set the alias champion where no version has it; return whether it was set."""
    client = MlflowClient()
    if CHAMPION in client.get_registered_model(version.name).aliases:
        return False
    client.set_registered_model_alias(version.name, CHAMPION, version.number)
    return True
