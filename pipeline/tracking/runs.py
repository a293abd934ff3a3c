"""Runs: opened, adopted, continued, closed with their true status, also where their process died.

Where ``mlflow run`` has opened a run for the command, that run is adopted; a run opened inside another nests under it.
"""

from __future__ import annotations

import contextlib
import os
import re
import time
import traceback
from collections.abc import Callable, Iterator, Mapping
from pathlib import Path
from typing import NamedTuple

import mlflow
from mlflow import MlflowClient
from mlflow.entities import Run
from mlflow.exceptions import MlflowException

from pipeline.config import Config, UserError, first_line, open_flags, without_passwords
from pipeline.config.text import config_text
from pipeline.processes import is_gone, is_here, is_interrupt, is_of_this_host, is_owner_mark, owner_mark
from pipeline.tracking import outbox
from pipeline.tracking.lease import has_run_out, lease_tag, renewed_lease
from pipeline.tracking.moved_folder import follow_moved_folder
from pipeline.tracking.store import ERRORS, StoreGone, open_stores, raise_if_store_gone, retries, silence_mlflow

TRAINING, STOPPED = "training", "stopped"  # tags: of which training a run is, and whether it was stopped
PROCESS, FORMER_PROCESS = "photo_pipeline.process", "process"  # tags: whose run it is, now and in earlier versions
PARENT, RUN_NAME = "mlflow.parentRunId", "mlflow.runName"
NAMED = "photo_pipeline.named"  # tag: the user has named the run, as by `mlflow run --run-name`
MADE_UP_NAME = re.compile(r"[a-z]+-[a-z]+-[0-9]{1,3}")  # by MLflow, where the user gives none
STUDY = "study_name"  # tag: the study that a trial's run belongs to
CONFIG_FILE = "config.json"
EXPERIMENT = "photo-pipeline"  # of the runs that are opened here, where the user has chosen none
_MLFLOW_RUN_ID = "MLFLOW_RUN_ID"
MOST_CHILDREN = 50_000  # MLflow's own limit for one answer
COMMIT = "PIPELINE_GIT_COMMIT"  # variable that tells workers, who may see a copy of the code without its repository


def connect(many_machines: bool = False) -> int:
    """Open the stores before any work or worker starts, follow a moved folder, send what waits, and mark dead runs.

    Runs that a process could not close, because it was killed, are marked as KILLED where that is certain.

    Args:
        many_machines: whether other machines shall log into the stores, too.

    Returns:
        How many such runs there were.

    Raises:
        UserError: one of them cannot be reached, or not by other machines; or its artifacts are gone.
    """
    open_stores(many_machines)
    for line in follow_moved_folder():
        print(line, flush=True)
    return mark_dead_runs()


def mark_dead_runs() -> int:
    """Send what waits, and mark runs whose process has died as KILLED; return their number.

    That is certain of those of this folder or kernel; those of others are taken for dead when their lease has run out.
    """
    outbox.send_all()
    running = MlflowClient().search_runs(experiment_ids(), "attributes.status = 'RUNNING'")
    gone = [run.info.run_id for run in running if _is_gone(run)]
    # Read again: a process may have closed its run, and exited, between the first reading and the check.
    dead = [run_id for run_id in gone if MlflowClient().get_run(run_id).info.status == "RUNNING"]
    for run_id in dead:
        MlflowClient().set_tag(run_id, STOPPED, "true")
        MlflowClient().set_terminated(run_id, "KILLED")
    return len(dead)


def _is_gone(run: Run) -> bool:
    owner = owner_of(run)
    return is_gone(owner) or (bool(owner) and not is_here(owner) and has_run_out(run.data.tags))


def owner_of(run: Run) -> str:
    """Return the owner mark of a run's process; empty for a run that this project has not opened."""
    marks = (run.data.tags.get(name, "") for name in (PROCESS, FORMER_PROCESS))
    return next(filter(is_owner_mark, marks), "")


def open_elsewhere() -> list[str]:
    """Return the names of the running runs of other folders, which may go on or have died."""
    running = MlflowClient().search_runs(experiment_ids(), "attributes.status = 'RUNNING'")
    return [str(run.info.run_name) for run in running if (owner := owner_of(run)) and not is_here(owner)]


def end_children(parent: str) -> None:
    """Send what waits, and mark the open runs of other folders below a run as KILLED.

    Call it only when all work below the run is done: nothing is known of those processes.
    """
    outbox.send_all()
    below = f"tags.`mlflow.parentRunId` = '{parent}' and attributes.status = 'RUNNING'"
    for run in MlflowClient().search_runs(experiment_ids(), below):
        if not is_here(owner_of(run)):
            MlflowClient().set_terminated(run.info.run_id, "KILLED")


def close_run(run_id: str) -> None:
    """Mark a run as FINISHED whose process died after its work was done."""
    MlflowClient().set_tag(run_id, STOPPED, "false")
    MlflowClient().set_terminated(run_id, "FINISHED")


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
        stage: what the run is: preprocess, train, tune, trial, confirm, audit, evaluate, ablate or main.
        name: what tells it from its neighbours in the UI's list.
        config: logged as params, except for those that ``mlflow run`` has logged already.
        tags: further tags.
        parent: id of the run to nest under, where that is not open in this process.
        training: what identifies the training; where its run was stopped, that goes on, but with ``resume=never``.

    A user's mistake that is found before anything but flags is logged leaves no run, unless MLflow has opened it.
    Raises StoreGone where MLflow gives up; the same training will go on in the run.
    """
    silence_mlflow()
    of_training = {TRAINING: training, STOPPED: "false"} if training else {}
    below = {PARENT: parent} if parent else {}  # a run that goes on may do so under another
    all_tags = {
        "stage": stage,
        PROCESS: owner_mark(),
        **lease_tag(),
        **_commit_tag(),
        **(tags or {}),
        **of_training,
        **below,
    }
    with raise_if_store_gone():
        _forget_ended_run()
        stopped = _stopped_run(all_tags, config)
        is_adopted = not (stopped or parent) and _MLFLOW_RUN_ID in os.environ
        is_own = not (stopped or parent or is_adopted)
        active = _started(stopped, name, config, parent, all_tags)
    try:
        with raise_if_store_gone(), renewed_lease(active.info.run_id):
            mlflow.set_tags(all_tags | ({NAMED: "true"} if _is_named(active, is_adopted) else {RUN_NAME: name}))
            _log_config(config, active)
            yield active.info.run_id
            _finish(active.info.run_id)
    except StoreGone:
        _leave_open()
        raise
    except BaseException as error:
        _end_after_error(error, active.info.run_id, is_own)
        if is_interrupt(error):
            raise KeyboardInterrupt from error
        raise


_when_finished: dict[str, list[Callable[[], object]]] = {}  # by run id


def when_finished(callback: Callable[[], object]) -> None:
    """Call the function once the open run is closed as FINISHED, and not if anything stops it before."""
    active = mlflow.active_run()
    assert active is not None
    _when_finished.setdefault(active.info.run_id, []).append(callback)


def _finish(run_id: str) -> None:
    """Close the run as FINISHED, or queue that if the store is away; then call what waits for that."""
    waits = not outbox.send(run_id)
    end = {"status": "FINISHED", "end_time": int(time.time() * 1000)}
    try:
        with retries(0 if waits else outbox.RETRIES):
            mlflow.end_run("FINISHED")
            if lease_tag():  # another folder may have taken it for dead while this machine slept
                MlflowClient().set_tag(run_id, STOPPED, "false")
    except ERRORS:
        if not outbox.store_is_away():
            raise
        waits = True
    if waits:
        outbox.put(run_id, "tags", {STOPPED: "false"})  # another process may have taken the run for a dead one's
        outbox.put(run_id, "end", end)
    for callback in _when_finished.pop(run_id, ()):
        callback()


def _end_after_error(error: BaseException, run_id: str, is_own: bool) -> None:
    """Close the run as KILLED, or as FAILED with the error as a tag and its traceback as a file.

    One that the command has opened by itself (``is_own``) is deleted where a mistake has let nothing begin.
    """
    try:
        if is_own and _is_a_mistake(error) and _is_empty(run_id):
            mlflow.end_run("FAILED")
            MlflowClient().delete_run(run_id)
            return
        if is_interrupt(error):
            mlflow.set_tag(STOPPED, "true")  # `mlflow run` will set the status FAILED on whatever is stopped
            mlflow.end_run("KILLED")
            with contextlib.suppress(*ERRORS):  # this run is closed already
                mark_dead_runs()  # a process below it may have been stopped before it could close its run
            return
        mlflow.set_tag("error", first_line(error))
        with contextlib.suppress(OSError):  # the disk may be full
            mlflow.log_text(without_passwords("".join(traceback.format_exception(error))), "error.txt")
        mlflow.end_run("FAILED")
    except ERRORS:
        _leave_open()


def _is_a_mistake(error: BaseException) -> bool:
    return isinstance(error, UserError) and error.exit_code == UserError.exit_code


def _is_empty(run_id: str) -> bool:
    """Return whether a run has nothing but its flags."""
    files = {file.path for file in MlflowClient().list_artifacts(run_id)}
    return files <= {CONFIG_FILE} and not MlflowClient().get_run(run_id).data.metrics and outbox.send(run_id)


def _leave_open() -> None:
    """Mark the run as stopped, so that it can be continued, without MLflow's minutes of retries."""
    with retries(0):
        with contextlib.suppress(Exception):
            mlflow.set_tag(STOPPED, "true")
        with contextlib.suppress(Exception):
            mlflow.end_run("KILLED")


def log_config(config: Config) -> None:
    """Log the flags of a config of which the open run has no params yet, and all as JSON."""
    active = mlflow.active_run()
    assert active is not None
    with raise_if_store_gone():
        _log_config(config, mlflow.get_run(active.info.run_id))


def _log_config(config: Config, active: Run) -> None:
    wanted = config_text(config)
    params = {key: without_passwords(wanted[key]) for key in wanted.keys() - open_flags(wanted)}
    if any(text != without_passwords(text) for text in active.data.params.values()):
        print(
            "`mlflow run` has logged the password in an address as a parameter of its run, where it stays: "
            f"write ${{NAME}} instead, and delete the run "
            f"(mlflow runs delete --run-id {active.info.run_id}; mlflow gc)",
            flush=True,
        )
    mlflow.log_params({key: params[key] for key in params.keys() - active.data.params.keys()})
    mlflow.log_text(without_passwords(config.model_dump_json(indent=2)), CONFIG_FILE)


def _stopped_run(tags: Mapping[str, str], config: Config) -> str | None:
    """Return the stopped run of the same training and study, if any."""
    if TRAINING not in tags or config_text(config).get("resume") == "never":
        return None
    found = _stopped_runs(tags["stage"], TRAINING, tags[TRAINING])
    return next((run.info.run_id for run in found if tags.get(STUDY) in (None, run.data.tags.get(STUDY))), None)


def tags_of_stopped_run(stage: str, tag: str, value: str) -> Mapping[str, str] | None:
    """Return the tags of the latest run of a stage with a tag that was stopped here, and would be continued."""
    return next((run.data.tags for run in _stopped_runs(stage, tag, value)), None)


def _stopped_runs(stage: str, tag: str, value: str) -> list[Run]:
    """Return the runs of a stage with a tag that were stopped in this folder or on this host, latest first."""
    mark_dead_runs()  # a worker may have been killed since
    wanted = f"tags.stage = '{stage}' and tags.{tag} = '{value}' and tags.{STOPPED} = 'true'"
    found = MlflowClient().search_runs(experiment_ids(), wanted, order_by=["attributes.start_time DESC"])
    return [run for run in found if is_here(owner_of(run)) or is_of_this_host(owner_of(run))]


def _started(
    stopped: str | None, name: str, config: Config, parent: str | None, tags: Mapping[str, str]
) -> mlflow.ActiveRun:
    """Continue the stopped run, adopt the one that ``mlflow run`` has opened, or start a new one.

    The given one is left, and says so, for a stopped one or a recipe, which changes params that it has been given.
    """
    given = os.environ.pop(_MLFLOW_RUN_ID, "") if stopped or config_text(config).get("recipe") else ""
    nested = parent is not None or mlflow.active_run() is not None
    # To one that exists it would give the name at once, and the user may have named it.
    is_new = not stopped and _MLFLOW_RUN_ID not in os.environ
    active = mlflow.start_run(
        stopped,
        experiment_id=_experiment_of_new_run(parent) if is_new else None,
        run_name=name if is_new else None,
        nested=nested,
        parent_run_id=parent,
        tags=dict(tags),
    )
    if given:
        MlflowClient().set_tag(given, "continued_in", active.info.run_id)
        MlflowClient().set_tag(given, RUN_NAME, f"goes on in {active.info.run_id}")
    return active


def _experiment_of_new_run(parent: str | None) -> str | None:
    """Return the id of the experiment of the run above, or of our own; None where the user has chosen one."""
    if above := parent or ((active := mlflow.active_run()) and active.info.run_id):
        return str(MlflowClient().get_run(above).info.experiment_id)
    if any(os.environ.get(name) for name in ("MLFLOW_EXPERIMENT_NAME", "MLFLOW_EXPERIMENT_ID")):
        return None  # `mlflow.set_experiment` sets the id, too
    known = MlflowClient().get_experiment_by_name(EXPERIMENT)
    if known is None:
        try:
            return str(MlflowClient().create_experiment(EXPERIMENT))
        except MlflowException:
            known = MlflowClient().get_experiment_by_name(EXPERIMENT)
            if known is None:
                raise  # else another process was faster
    if known.lifecycle_stage != "active":
        raise UserError(
            f"new runs need an experiment that is not deleted, got {EXPERIMENT} (mlflow experiments restore "
            f"--experiment-id {known.experiment_id}, or set MLFLOW_EXPERIMENT_NAME to another)"
        )
    return str(known.experiment_id)


def _forget_ended_run() -> None:
    """Open a new run where the one that the environment names has ended: what it says is not to be written over."""
    run_id = os.environ.get(_MLFLOW_RUN_ID)
    if not run_id or mlflow.active_run():
        return
    status = MlflowClient().get_run(run_id).info.status
    if status not in ("RUNNING", "SCHEDULED"):
        print(f"{_MLFLOW_RUN_ID} names a run that is {status}, {run_id}: a new one is opened", flush=True)
        del os.environ[_MLFLOW_RUN_ID]


def _is_named(active: Run, is_adopted: bool) -> bool:
    """Return whether the user has named the run, now or when it was begun."""
    name = active.data.tags.get(RUN_NAME, "")
    return NAMED in active.data.tags or (is_adopted and not MADE_UP_NAME.fullmatch(name))


def experiment_ids() -> list[str]:
    """Return the ids of all experiments that are not deleted."""
    return [experiment.experiment_id for experiment in MlflowClient().search_experiments()]


class TrainingRun(NamedTuple):
    """A run of a training: its id, its name, its status (STOPPED for one to be continued), and whose it is.

    ``command`` is that of the run above all others, whose name is ``of``; they are the training's own if none is.
    """

    run_id: str
    name: str
    status: str
    command: str
    of: str


def runs_of_training(training: str) -> list[TrainingRun]:
    """Return the runs of a training, latest first; none if there is no run."""
    wanted = f"tags.{TRAINING} = '{training}'"
    found = MlflowClient().search_runs(experiment_ids(), wanted, order_by=["attributes.start_time DESC"])
    return [_training_run(run) for run in found]


def _training_run(run: Run) -> TrainingRun:
    status = "STOPPED" if run.data.tags.get(STOPPED) == "true" else str(run.info.status)
    top = run
    with contextlib.suppress(MlflowException):  # the run above has been deleted
        while above := top.data.tags.get(PARENT):
            top = MlflowClient().get_run(above)
    command = top.data.tags.get("stage", "")
    return TrainingRun(run.info.run_id, str(run.info.run_name), status, command, str(top.info.run_name))


def environment() -> dict[str, str]:
    """Return the environment variables by which another process finds the same store and registry."""
    return {"MLFLOW_TRACKING_URI": mlflow.get_tracking_uri(), "MLFLOW_REGISTRY_URI": mlflow.get_registry_uri()}


def _commit_tag() -> dict[str, str]:
    if COMMIT not in os.environ:
        try:
            import git

            repo = git.Repo(Path(__file__), search_parent_directories=True)
            os.environ[COMMIT] = repo.head.commit.hexsha + ("-dirty" if repo.is_dirty() else "")
        except Exception:  # no git program, no repository, no commit: the run is tracked without one
            os.environ[COMMIT] = ""
    return {"git_commit": os.environ[COMMIT]} if os.environ[COMMIT] else {}


class Child(NamedTuple):
    """A finished run: its id, its last metrics, and its tags."""

    run_id: str
    metrics: Mapping[str, float]
    tags: Mapping[str, str]


def adopt_children(tag: str, value: str, parent: str) -> dict[str, Child]:
    """Return the finished runs with a tag, by their training, and put them under the open run ``parent``.

    Runs whose own parent has finished belong to that, and are left alone.
    """
    client = MlflowClient()
    wanted = f"tags.{tag} = '{value}' and attributes.status = 'FINISHED'"
    found = client.search_runs(experiment_ids(), wanted, max_results=MOST_CHILDREN)
    parents = {run.data.tags.get(PARENT, "") for run in found} - {""}
    ended = {run_id for run_id in parents if client.get_run(run_id).info.status == "FINISHED"}
    children = {
        run.data.tags[TRAINING]: Child(run.info.run_id, run.data.metrics, run.data.tags)
        for run in found
        if run.data.tags.get(PARENT) not in ended
    }
    for child in children.values():
        if child.tags.get(PARENT) != parent:
            client.set_tag(child.run_id, PARENT, parent)
    return children
