"""The only module that talks to MLflow tracking: runs, params, metrics, artifacts, data sets, logged models.

Values come in, nothing but run ids and model addresses goes out. Where ``mlflow run`` has opened a run for the
command, that run is adopted; a run opened inside another nests under it.
"""

from __future__ import annotations

import contextlib
import logging
import math
import os
import tempfile
import warnings
from collections.abc import Iterator, Mapping, Sequence
from importlib.metadata import version
from pathlib import Path

import mlflow
import pandas as pd
import requests
from matplotlib.figure import Figure
from mlflow import MlflowClient
from mlflow.data import pandas_dataset

import pipeline
from pipeline.config import Config, UserError, first_line
from pipeline.flags import config_text
from pipeline.processes import is_gone, is_here, owner

MODEL_PACKAGES = ("mlflow", "tensorflow", "keras", "numpy", "pandas", "opencv-python", "pillow", "pydantic")
UNREACHABLE_AFTER_S = 5
PROCESS, TRAINING, STOPPED = "process", "training", "stopped"  # tags: whose run it is, of which training, if stopped
UNKNOWN_HOST = "?"
_MLFLOW_RUN_ID = "MLFLOW_RUN_ID"
RUN_PICTURES = ("confusion_matrix.json", "confusion_matrix.png", "history.png")  # what every training leaves


def connect() -> None:
    """Open the tracking store and the registry, before any work is done and before any worker starts.

    Runs that a process of this host could not close, because it was killed, are marked as KILLED.

    Raises:
        UserError: one of them cannot be reached.
    """
    logging.getLogger("mlflow").setLevel(logging.WARNING)  # else it reports every table and example
    for uri in {mlflow.get_tracking_uri(), mlflow.get_registry_uri()}:
        try:
            if uri.startswith(("http://", "https://")):  # MLflow's own calls retry for minutes
                requests.get(f"{uri.rstrip('/')}/health", timeout=UNREACHABLE_AFTER_S).raise_for_status()
            else:
                MlflowClient(tracking_uri=uri).search_experiments(max_results=1)
        except Exception as error:  # each kind of store raises its own
            raise UserError(
                f"the MLflow store must be reachable, got {type(error).__name__} from {uri}: {first_line(error)} "
                "(start the server, or set MLFLOW_TRACKING_URI and MLFLOW_REGISTRY_URI; unset, runs go to ./mlflow.db)"
            ) from error
    _heal()


def _heal() -> None:
    """Mark as KILLED the runs of this host whose process is gone and could not say so itself."""
    for dead in MlflowClient().search_runs(_experiment_ids(), "attributes.status = 'RUNNING'"):
        if is_gone(dead.data.tags.get(PROCESS, f"{UNKNOWN_HOST} 0 0")):
            MlflowClient().set_tag(dead.info.run_id, STOPPED, "true")
            MlflowClient().set_terminated(dead.info.run_id, "KILLED")


@contextlib.contextmanager
def run(
    stage: str,
    name: str,
    config: Config,
    tags: Mapping[str, str] | None = None,
    parent: str | None = None,
    training: str = "",
) -> Iterator[str]:
    """Open a run, log its params and ``config.json``, and yield its id; an exception marks it FAILED or KILLED.

    Args:
        stage: what the run is: preprocess, train, tune, trial, confirm, evaluate, ablate or main.
        name: what tells it from its neighbours in the UI's list.
        config: logged as params, but for those that ``mlflow run`` has logged before.
        tags: further tags.
        parent: id of the run to nest under, where that is not open in this process.
        training: what identifies the training; where a run of the same one was stopped, that run goes on, unless
            the config says ``resume=never``.
    """
    all_tags = {"stage": stage, PROCESS: owner(), **_commit_tag(), **(tags or {})}
    if training:
        all_tags |= {TRAINING: training, STOPPED: "false"}
    nested = parent is not None or mlflow.active_run() is not None
    stopped = _stopped_run(stage, training) if training and config_text(config).get("resume") != "never" else None
    active = mlflow.start_run(stopped, run_name=name, nested=nested, parent_run_id=parent, tags=all_tags)
    try:
        mlflow.set_tags(all_tags | {"mlflow.runName": name})  # an adopted run ignores what start_run was given
        _log_config(config, active)
        yield active.info.run_id
    except KeyboardInterrupt:
        mlflow.set_tag(STOPPED, "true")  # its status may become FAILED: `mlflow run` says so of whatever is interrupted
        mlflow.end_run("KILLED")
        raise
    except BaseException as error:
        mlflow.set_tag("error", first_line(error))
        mlflow.end_run("FAILED")
        raise
    else:
        mlflow.end_run("FINISHED")


def _log_config(config: Config, active: mlflow.ActiveRun) -> None:
    params = config_text(config)
    mlflow.log_params({key: params[key] for key in params.keys() - active.data.params.keys()})
    mlflow.log_dict(config.model_dump(mode="json"), "config.json")


def _stopped_run(stage: str, training: str) -> str | None:
    """Return the run of the same training that was stopped, if any, and leave the one of ``mlflow run`` for it."""
    _heal()  # a worker may have been killed since
    mine = f"tags.stage = '{stage}' and tags.{TRAINING} = '{training}' and tags.{STOPPED} = 'true'"
    found = MlflowClient().search_runs(_experiment_ids(), mine, order_by=["attributes.start_time DESC"])
    stopped = next((run.info.run_id for run in found if is_here(run.data.tags[PROCESS])), None)
    if stopped:
        _leave_adopted_run(stopped)
    return stopped


def _leave_adopted_run(stopped: str) -> None:
    """Say in the run that ``mlflow run`` has opened, and will close, that the command goes on in an older one."""
    if adopted := os.environ.pop(_MLFLOW_RUN_ID, None):
        MlflowClient().set_tag(adopted, "continued_in", stopped)
        MlflowClient().set_tag(adopted, "mlflow.runName", f"goes on in {stopped}")


def _experiment_ids() -> list[str]:
    return [experiment.experiment_id for experiment in MlflowClient().search_experiments()]


def last_epoch() -> int:
    """Return the last epoch whose metrics the open run has, or 0."""
    active = mlflow.active_run()
    assert active is not None
    history = MlflowClient().get_metric_history(active.info.run_id, "val_accuracy")
    return max((metric.step for metric in history), default=0)


def _commit_tag() -> dict[str, str]:
    try:
        import git

        repo = git.Repo(Path(__file__), search_parent_directories=True)
        return {"git_commit": repo.head.commit.hexsha + ("-dirty" if repo.is_dirty() else "")}
    except Exception:  # no git program, no repository, no commit: the run is tracked without one
        return {}


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


def ui_command() -> str:
    """Return the shell command that opens the UI on this project's store."""
    uri = mlflow.get_tracking_uri()
    default = (
        uri.startswith("sqlite:///") and Path(uri.removeprefix("sqlite:///")).resolve() == Path("mlflow.db").resolve()
    )
    return "mlflow ui" if default else f"mlflow ui --backend-store-uri {uri}"
