"""Runs: opened, adopted, continued, closed with the truth, and healed where a process could not close its own.

Where ``mlflow run`` has opened a run for the command, that run is adopted; a run opened inside another nests under it.
"""

from __future__ import annotations

import contextlib
import logging
import os
import traceback
from collections.abc import Iterator, Mapping
from pathlib import Path

import mlflow
import requests
from mlflow import MlflowClient
from mlflow.exceptions import MlflowException

from pipeline.config import Config, UserError, first_line
from pipeline.flags import config_text
from pipeline.processes import is_gone, is_here, owner

UNREACHABLE_AFTER_S = 5
PROCESS, TRAINING, STOPPED = "process", "training", "stopped"  # tags: whose run it is, of which training, if stopped
UNKNOWN_HOST = "?"
_MLFLOW_RUN_ID, _MLFLOW_RETRIES = "MLFLOW_RUN_ID", "MLFLOW_HTTP_REQUEST_MAX_RETRIES"


class StoreGone(UserError):
    """MLflow's store no longer answers, or no longer takes what it is given."""


def connect() -> int:
    """Open the tracking store and the registry, before any work is done and before any worker starts.

    Runs that a process of this host could not close, because it was killed, are marked as KILLED.

    Returns:
        How many such runs there were.

    Raises:
        UserError: one of them cannot be reached.
    """
    _quieten()
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
    return _heal()


def _quieten() -> None:
    logging.getLogger("mlflow").setLevel(logging.WARNING)  # else it reports every example that it checks
    logging.getLogger("mlflow.store.db.utils").setLevel(
        logging.CRITICAL
    )  # and shows what we say in a line as a traceback


def _heal() -> int:
    """Mark as KILLED the runs of this host whose process is gone and could not say so itself; return their number."""
    running = MlflowClient().search_runs(_experiment_ids(), "attributes.status = 'RUNNING'")
    dead = [run.info.run_id for run in running if is_gone(run.data.tags.get(PROCESS, f"{UNKNOWN_HOST} 0 0"))]
    for run_id in dead:
        MlflowClient().set_tag(run_id, STOPPED, "true")
        MlflowClient().set_terminated(run_id, "KILLED")
    return len(dead)


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
        training: what identifies the training; where its run was stopped, that goes on, but with ``resume=never``.

    Raises StoreGone where MLflow gives up; the same training will go on in the run.
    """
    _quieten()
    of_training = {TRAINING: training, STOPPED: "false"} if training else {}
    all_tags = {"stage": stage, PROCESS: owner(), **_commit_tag(), **(tags or {}), **of_training}
    with _store_must_answer():
        stopped = _stopped_run(stage, training, config)
        nested = parent is not None or mlflow.active_run() is not None
        active = mlflow.start_run(stopped, run_name=name, nested=nested, parent_run_id=parent, tags=all_tags)
    try:
        with _store_must_answer():
            mlflow.set_tags(all_tags | {"mlflow.runName": name})  # an adopted run ignores what start_run was given
            _log_config(config, active)
            yield active.info.run_id
            mlflow.end_run("FINISHED")
    except StoreGone:
        _leave_open()
        raise
    except BaseException as error:
        _say_how_it_ended(error)
        raise


@contextlib.contextmanager
def _store_must_answer() -> Iterator[None]:
    try:
        yield
    except (MlflowException, requests.RequestException) as error:
        raise StoreGone(
            f"the MLflow store must answer and take what it is given, got {first_line(error)} from "
            f"{mlflow.get_tracking_uri()} (what was logged is kept; mend the store and give the same command again)"
        ) from error


def _say_how_it_ended(error: BaseException) -> None:
    """Close the run as KILLED or FAILED, the latter with the error's first line as a tag and all of it as a file."""
    try:
        if isinstance(error, KeyboardInterrupt):
            mlflow.set_tag(STOPPED, "true")  # its status may become FAILED: `mlflow run` says so of whatever is stopped
            mlflow.end_run("KILLED")
            return
        mlflow.set_tag("error", first_line(error))
        with contextlib.suppress(OSError):  # the disk may be full
            mlflow.log_text("".join(traceback.format_exception(error)), "error.txt")
        mlflow.end_run("FAILED")
    except (MlflowException, requests.RequestException):
        _leave_open()


def _leave_open() -> None:
    """Give the run up as one to be continued, without the minutes that MLflow would try again to reach its store."""
    with _no_retries():
        with contextlib.suppress(Exception):
            mlflow.set_tag(STOPPED, "true")
        with contextlib.suppress(Exception):
            mlflow.end_run("KILLED")


@contextlib.contextmanager
def _no_retries() -> Iterator[None]:
    before = os.environ.get(_MLFLOW_RETRIES)
    os.environ[_MLFLOW_RETRIES] = "0"
    try:
        yield
    finally:
        os.environ.pop(_MLFLOW_RETRIES)
        if before is not None:
            os.environ[_MLFLOW_RETRIES] = before


def _log_config(config: Config, active: mlflow.ActiveRun) -> None:
    params = config_text(config)
    mlflow.log_params({key: params[key] for key in params.keys() - active.data.params.keys()})
    mlflow.log_dict(config.model_dump(mode="json"), "config.json")


def _stopped_run(stage: str, training: str, config: Config) -> str | None:
    """Return the run of the same training that was stopped, if any, and leave the one of ``mlflow run`` for it."""
    if not training or config_text(config).get("resume") == "never":
        return None
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


def training_states(training: str) -> set[str]:
    """Return the statuses of a training's runs, with STOPPED for one that is to go on; none where there is no run."""
    found = MlflowClient().search_runs(_experiment_ids(), f"tags.{TRAINING} = '{training}'")
    return {"STOPPED" if run.data.tags.get(STOPPED) == "true" else run.info.status for run in found}


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


def ui_command() -> str:
    """Return the shell command that opens the UI on this project's store."""
    uri = mlflow.get_tracking_uri()
    default = (
        uri.startswith("sqlite:///") and Path(uri.removeprefix("sqlite:///")).resolve() == Path("mlflow.db").resolve()
    )
    return "mlflow ui" if default else f"mlflow ui --backend-store-uri {uri}"
