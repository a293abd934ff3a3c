"""Contents of the open run: metrics, tags, tables, figures, the data set, and the model."""

from __future__ import annotations

import base64
import json
import math
import shutil
import tempfile
import time
import warnings
from collections.abc import Callable, Mapping, Sequence
from datetime import UTC, datetime
from pathlib import Path
from typing import TYPE_CHECKING

import mlflow
import numpy as np
import pandas as pd
from mlflow.data import pandas_dataset
from mlflow.exceptions import MlflowException
from mlflow.utils.mlflow_tags import MLFLOW_RUN_NAME, MLFLOW_RUN_NOTE
from PIL import Image

from pipeline.config import UserError, first_line
from pipeline.config.recipes import Recipe, is_run, read_recipe, recipe_of_run
from pipeline.files import csv_text
from pipeline.tracking import outbox
from pipeline.tracking.model import NAME
from pipeline.tracking.runs import CONFIG_FILE, NAMED, connect

if TYPE_CHECKING:
    from matplotlib.figure import Figure

VAL_PREDICTIONS = "val_predictions.parquet"  # of a training whose model is kept: what it says of validation photos
VAL_PREDICTIONS_BEFORE = "val_predictions.csv"  # of earlier versions, of every training
VAL_ANSWERS = "val_answers.parquet"  # of the same: the class index that each photo (row) was given after each epoch
SUSPECTS = ("label_suspects.csv", "label_suspects.png")
RUN_PICTURES = (
    "confusion_matrix.json",
    "confusion_matrix.png",
    "confused_pairs.csv",
    "history.png",
    "augmented.jpg",
    *SUSPECTS,
)  # what a training leaves
PREVIEW, PREVIEW_WIDTH_PX = "preview.png", 540  # beside which MLflow's column of facts fits on a screen of 1280
MOST_CHARACTERS = 5000  # of a note, in some of MLflow's stores


def log_metrics(metrics: Mapping[str, float], step: int | None = None, once: bool = False) -> None:
    """Log metrics of the open run; NaN is left out, and with ``once`` what it has already, as after a stop."""
    known = {name: float(value) for name, value in metrics.items() if not math.isnan(value)}
    if once and not outbox.store_is_away():
        logged = mlflow.get_run(_open_run()).data.metrics
        known = {name: value for name, value in known.items() if logged.get(name) != value}
    outbox.deliver(_open_run(), "metrics", {"metrics": known, "step": step or 0, "time_ms": int(time.time() * 1000)})


def log_figure(figure: Figure, file: str, with_preview: bool = False) -> None:
    """Store a figure of the open run, as PNG or, where it is of photos alone, as JPEG.

    ``with_preview`` stores it as `PREVIEW`, too: the UI shows pictures in descriptions in their own size, and a wide
    one pushes what stands beside it off the screen.
    """

    def write(path: Path) -> None:
        save_figure(figure, path)
        if with_preview:
            with Image.open(path) as picture:
                picture.thumbnail((PREVIEW_WIDTH_PX, picture.height), Image.Resampling.LANCZOS)
                picture.save(path.with_name(PREVIEW))

    _log_file(file, write)


def save_figure(figure: Figure, file: Path) -> None:
    """Write a figure, in the format of the file's suffix, with the settings of all runs."""
    figure.savefig(file, dpi=110, bbox_inches="tight")


def log_table(table: pd.DataFrame, file: str) -> None:
    """Store a table of the open run as .csv, as .json with ``columns``, ``index`` and ``data``, or as .parquet.

    Parquet gets numbers as float32, as networks compute them: that and splitting their bytes leave a third of the size.
    """
    if file.endswith(".parquet"):
        numbers = list(table.select_dtypes("float"))
        _log_file(
            file,
            lambda path: table.astype(dict.fromkeys(numbers, "float32")).to_parquet(
                path, compression="zstd", index=False, use_byte_stream_split=numbers,
                use_dictionary=[name for name in table.columns if name not in numbers],
            ),
        )  # fmt: skip
    elif file.endswith(".csv"):
        log_text(csv_text(table), file)
    else:
        log_text(table.to_json(orient="split", indent=2, double_precision=15), file)  # NaN becomes null


def log_text(text: str, file: str) -> None:
    """Store a text artifact of the open run."""
    _log_file(file, lambda path: path.write_text(text, encoding="utf-8"))


def _log_file(file: str, write: Callable[[Path], object]) -> None:
    with tempfile.TemporaryDirectory() as scratch:
        path = Path(scratch, file)
        path.parent.mkdir(parents=True, exist_ok=True)
        write(path)
        outbox.deliver(_open_run(), "files", {}, Path(scratch))


def log_json(content: Mapping[str, object], file: str) -> None:
    """Store numbers and texts of the open run as a .json file."""
    log_text(json.dumps(content, indent=2, default=str), file)


def set_note(markdown: str) -> None:
    """Set the open run's description in the UI."""
    set_tags({MLFLOW_RUN_NOTE: markdown[:MOST_CHARACTERS]})


def rename(name: str) -> None:
    """Rename the open run, unless the user has named it."""
    if NAMED not in mlflow.get_run(_open_run()).data.tags:
        set_tags({MLFLOW_RUN_NAME: name})


def log_file(file: Path, folder: str) -> str:
    """Store a file of the open run in a folder of its artifacts; return the file's address."""
    _log_file(f"{folder}/{file.name}", lambda path: shutil.copy(file, path))
    return f"runs:/{_open_run()}/{folder}/{file.name}"


def log_folder(folder: Path) -> None:
    """Log the files of a folder."""
    outbox.deliver(_open_run(), "files", {}, folder)


def artifact_place(file: str) -> str:
    """Return where a file of the open run is: its path, or its run where another machine keeps it."""
    active = mlflow.active_run()
    assert active is not None
    path = Path(active.info.artifact_uri, file)
    if not path.is_absolute():
        return f"{file} of run {active.info.run_id}"
    return str(path.relative_to(Path.cwd()) if path.is_relative_to(Path.cwd()) else path)


def set_tags(tags: Mapping[str, str]) -> None:
    """Tag the open run."""
    outbox.deliver(_open_run(), "tags", dict(tags))


def read_recipe_or_run(name: str) -> Recipe:
    """Return a recipe by its name, or the flags of the run that it names.

    Raises:
        UserError: there is no such recipe or run.
    """
    if not is_run(name):
        return read_recipe(name)
    connect()
    try:
        recorded = mlflow.artifacts.load_dict(f"{name.rstrip('/')}/{CONFIG_FILE}")
    except Exception as error:  # each store raises its own
        raise UserError(
            f"recipe must name a run of this pipeline, got {name!r}: {first_line(error)} (`mlflow ui` shows their ids)"
        ) from error
    return recipe_of_run(recorded)


def tag_of_open_run(name: str) -> str:
    """Return a tag of the open run, which may be one that goes on; empty if it has none of that name."""
    return str(mlflow.get_run(_open_run()).data.tags.get(name, ""))


def _open_run() -> str:
    active = mlflow.active_run()
    assert active is not None
    return str(active.info.run_id)


def run_facts() -> dict[str, str]:
    """Return what identifies the open run, for a report: label -> text."""
    run = mlflow.get_run(_open_run())
    tags = {"Data digest": "data_digest", "Git commit": "git_commit"}
    known = {name: run.data.tags[tag][:12] for name, tag in tags.items() if tag in run.data.tags}
    began = datetime.fromtimestamp(run.info.start_time / 1000, UTC)
    return {**known, "MLflow run": run.info.run_id[:12], "Began": f"{began:%Y-%m-%d %H:%M} UTC"}


def metrics_of(run_id: str) -> dict[str, float]:
    """Return the last value of each metric of a run."""
    return dict(mlflow.get_run(run_id).data.metrics)


def last_epoch() -> int:
    """Return the last epoch whose metrics the open run has, or 0."""
    active = mlflow.active_run()
    assert active is not None
    history = mlflow.MlflowClient().get_metric_history(active.info.run_id, "val_accuracy")
    return max((metric.step for metric in history), default=0)


def open_run() -> tuple[str, str]:
    """Return the ids of the open run's experiment and of the run."""
    active = mlflow.active_run()
    assert active is not None
    return active.info.experiment_id, active.info.run_id


def log_data(manifest: pd.DataFrame, source: Path, digest: str, context: str) -> None:
    """Log the data set of the open run, so that the UI shows what it read."""
    table = manifest[["path", "label", "split", "sha256"]]
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", UserWarning)  # MLflow finds two names for one kind of local source
        data = pandas_dataset.from_pandas(
            table, source=str(source), name=source.name, digest=digest[:16], targets="label"
        )
        # All columns are text: MLflow would look at every value to find out, half a second for 80,000 photos.
        data.schema = pandas_dataset.from_pandas(table.head(1), source=str(source), digest=digest[:16]).schema
        try:
            mlflow.log_input(data, context=context)
        except MlflowException:  # it looks for the data set, then inserts it, which fails the second of two at once
            mlflow.log_input(data, context=context)
    mlflow.set_tag("data_digest", digest)


def log_classifier(folder: Path, class_names: Sequence[str], example: bytes) -> str:
    """Log a saved classifier (see `serving.save_classifier`) with an encoded photo as its example; return its address.

    Where the server is away, the address is one that will hold.
    """
    values = {"class_names": list(class_names), "example": base64.b64encode(example).decode()}
    run_id = _open_run()
    return outbox.deliver(run_id, "model", values, folder) or f"runs:/{run_id}/{NAME}"


def read_val_predictions(run_id: str) -> pd.DataFrame | None:
    """Return what the model of a run says of the validation photos, or None if the run kept no predictions."""
    return _read_table(run_id, (VAL_PREDICTIONS, VAL_PREDICTIONS_BEFORE))


def log_val_answers(answers: np.ndarray) -> None:
    """Store the class indices (epochs, n) that the validation photos were given after each epoch of the open run."""
    columns = {f"epoch_{epoch}": given for epoch, given in enumerate(answers, start=1)}
    log_table(pd.DataFrame(columns), VAL_ANSWERS)


def read_val_answers(run_id: str) -> np.ndarray | None:
    """Return what `log_val_answers` stored in a run, or None."""
    table = _read_table(run_id, (VAL_ANSWERS,))
    return None if table is None else table.to_numpy().T


def _read_table(run_id: str, files: Sequence[str]) -> pd.DataFrame | None:
    """Return the first of these tables that a run has; of a .csv, labels are text, whatever they look like."""
    there = {artifact.path for artifact in mlflow.artifacts.list_artifacts(run_id=run_id) or ()}
    file = next((file for file in files if file in there), None)
    if not file:
        return None
    with tempfile.TemporaryDirectory() as scratch:
        downloaded = mlflow.artifacts.download_artifacts(run_id=run_id, artifact_path=file, dst_path=scratch)
        if file.endswith(".parquet"):
            return pd.read_parquet(downloaded)
        return pd.read_csv(downloaded, dtype={"label": str, "predicted": str}, keep_default_na=False)


def copy_artifacts(run_id: str, files: Sequence[str]) -> set[str]:
    """Copy artifacts of another run into the open one; missing ones are skipped. Return those that are there."""
    there = {artifact.path for artifact in mlflow.artifacts.list_artifacts(run_id=run_id) or ()}
    with tempfile.TemporaryDirectory() as scratch:
        for file in there.intersection(files):
            mlflow.log_artifact(
                mlflow.artifacts.download_artifacts(run_id=run_id, artifact_path=file, dst_path=scratch)
            )
    return there.intersection(files)
