"""Logs a run's classifier as a model that MLflow can serve."""

from __future__ import annotations

import contextlib
import sys
import tempfile
from collections.abc import Iterator, Sequence
from importlib.metadata import version
from pathlib import Path

import mlflow
import pandas as pd
from mlflow import MlflowClient

from pipeline.data.class_columns import class_columns
from pipeline.tracking.served_code import copy_served_code

NAME = "model"
PACKAGES = (
    "mlflow", "tensorflow", "keras", "numpy", "scipy", "pandas", "opencv-python", "pillow", "pi-heif", "pydantic",
)  # fmt: skip


def log_model(run_id: str, folder: Path, class_names: Sequence[str], example: bytes) -> str:
    """Log a saved classifier with the code that serves it, unless its run has a model; return its address.

    The signature names the outputs and leaves the input open, because MLflow's schemas cannot say "encoded bytes,
    or a path, or pixels": with one, it would refuse an array before the model sees it.
    """
    from mlflow.models import ModelSignature
    from mlflow.types.schema import ColSpec, ParamSchema, ParamSpec, Schema, TensorSpec

    if logged := _logged(run_id):
        return logged
    columns: list[ColSpec | TensorSpec] = [ColSpec("string", "label"), ColSpec("double", "probability")]
    columns += [ColSpec("double", name) for name in class_columns(class_names)]
    columns += [ColSpec("string", "error", required=False)]
    params = [ParamSpec("top_k", "long", default=0), ParamSpec("keep", "double", default=1.0)]
    with _open(run_id), tempfile.TemporaryDirectory() as scratch, _on_module_path(scratch):
        code = copy_served_code(Path(scratch))
        info = mlflow.pyfunc.log_model(
            name=NAME,
            python_model=str(code.entry),
            artifacts={"classifier": str(folder)},
            code_paths=[str(code.package)],
            signature=ModelSignature(outputs=Schema(columns), params=ParamSchema(params)),
            input_example=pd.DataFrame({"image": [example]}),
            pip_requirements=[f"{name}=={version(name)}" for name in PACKAGES],
        )
    return str(info.model_uri)


@contextlib.contextmanager
def _on_module_path(folder: str) -> Iterator[None]:
    """Put a folder on the module path: MLflow runs a model's code once while logging it."""
    sys.path.insert(0, folder)
    try:
        yield
    finally:
        sys.path.remove(folder)


def _logged(run_id: str) -> str:
    """Return the URI of the run's finished model; remove unfinished ones."""
    experiment = MlflowClient().get_run(run_id).info.experiment_id
    found = MlflowClient().search_logged_models([experiment], filter_string=f"source_run_id = '{run_id}'")
    for model in found:
        if model.name == NAME and model.status == "READY":
            return str(model.model_uri)
        MlflowClient().delete_logged_model(model.model_id)
    return ""


@contextlib.contextmanager
def _open(run_id: str) -> Iterator[None]:
    """Open a run unless it is open, and restore its status afterwards."""
    active = mlflow.active_run()
    if active and active.info.run_id == run_id:
        yield
        return
    status = MlflowClient().get_run(run_id).info.status
    mlflow.start_run(run_id=run_id, nested=True)
    try:
        yield
    finally:
        mlflow.end_run(status)
