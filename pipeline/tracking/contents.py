"""What a run holds: metrics, tags, tables, figures, the data set, and the model. All of it goes into the open run."""

from __future__ import annotations

import math
import tempfile
import warnings
from collections.abc import Mapping, Sequence
from importlib.metadata import version
from pathlib import Path

import mlflow
import pandas as pd
from matplotlib.figure import Figure
from mlflow.data import pandas_dataset

import pipeline

MODEL_PACKAGES = ("mlflow", "tensorflow", "keras", "numpy", "pandas", "opencv-python", "pillow", "pydantic")
RUN_PICTURES = ("confusion_matrix.json", "confusion_matrix.png", "history.png")  # what every training leaves


def log_metrics(metrics: Mapping[str, float], step: int | None = None) -> None:
    """Log metrics of the open run; those that are not a number are left out."""
    mlflow.log_metrics({name: value for name, value in metrics.items() if not math.isnan(value)}, step=step)


def log_figure(figure: Figure, file: str) -> None:
    """Store a figure of the open run as PNG."""
    mlflow.log_figure(figure, file, save_kwargs={"dpi": 110, "bbox_inches": "tight"})


def log_table(table: pd.DataFrame, file: str) -> None:
    """Store a table of the open run as .csv, or as .json with ``columns``, ``index`` and ``data``."""
    if file.endswith(".csv"):
        mlflow.log_text(table.to_csv(index=False), file)
    else:
        mlflow.log_text(table.to_json(orient="split", indent=2, double_precision=15), file)  # NaN becomes null


def log_text(text: str, file: str) -> None:
    """Store a text artifact of the open run."""
    mlflow.log_text(text, file)


def set_tags(tags: Mapping[str, str]) -> None:
    """Tag the open run."""
    mlflow.set_tags(dict(tags))


def log_data(manifest: pd.DataFrame, source: Path, digest: str, context: str) -> None:
    """Name the data set of the open run, so that the UI shows what it read."""
    table = manifest[["path", "label", "split", "sha256"]]
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", UserWarning)  # MLflow finds two names for one kind of local source
        data = pandas_dataset.from_pandas(
            table, source=str(source), name=source.name, digest=digest[:16], targets="label"
        )
        mlflow.log_input(data, context=context)
    mlflow.set_tag("data_digest", digest)


def log_classifier(folder: Path, class_names: Sequence[str], example: pd.DataFrame) -> str:
    """Log a saved classifier (see `serving.save_classifier`) with the code that serves it; return its address.

    The signature names the outputs and leaves the input open, because MLflow's schemas cannot say "encoded bytes,
    or a path, or pixels": with one, it would refuse an array before the model sees it.
    """
    from mlflow.models import ModelSignature
    from mlflow.types.schema import ColSpec, Schema, TensorSpec

    columns: list[ColSpec | TensorSpec] = [ColSpec("string", "label"), ColSpec("double", "probability")]
    columns += [ColSpec("double", name) for name in class_names]
    columns += [ColSpec("string", "error", required=False)]
    package = Path(pipeline.__file__).parent
    info = mlflow.pyfunc.log_model(
        name="model",
        python_model=str(package / "served_model.py"),
        artifacts={"classifier": str(folder)},
        code_paths=[str(package)],
        signature=ModelSignature(outputs=Schema(columns)),
        input_example=example,
        pip_requirements=[f"{name}=={version(name)}" for name in MODEL_PACKAGES],
    )
    return str(info.model_uri)


def copy_artifacts(run_id: str, files: Sequence[str]) -> None:
    """Copy artifacts of another run into the open one; what that run lacks is passed over."""
    there = {artifact.path for artifact in mlflow.artifacts.list_artifacts(run_id=run_id) or ()}
    with tempfile.TemporaryDirectory() as scratch:
        for file in there.intersection(files):
            mlflow.log_artifact(
                mlflow.artifacts.download_artifacts(run_id=run_id, artifact_path=file, dst_path=scratch)
            )
