"""The outbox: what is logged while MLflow's server is away waits on disk, in order, and is sent once.

MLflow retries for minutes, and can log in the background; both keep the data in memory, and lose it with the process. A
queue in a database (persist-queue) would hold the small part: most of it is files, such as the model.

An entry of ``mlruns/unsent/RUN/`` is ``NUMBER.json`` and, where files belong to it, a folder ``NUMBER``. Sending
twice does no harm, as when a process dies between sending and removal: MLflow recognises metrics by the time at which
they were measured, files and tags replace themselves, and a run that has its model gets no second one.
"""

from __future__ import annotations

import base64
import json
import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Any

import mlflow
from filelock import FileLock
from mlflow import MlflowClient
from mlflow.entities import Metric, RunTag
from mlflow.exceptions import MlflowException

from pipeline.config import first_line, without_passwords
from pipeline.files import atomic_file
from pipeline.tracking.model import log_model
from pipeline.tracking.store import ERRORS, UNSENT, answers, is_local, retries

RETRIES = 3  # about twelve seconds; then the training continues, and what it logs waits


def _send_metrics(run_id: str, values: dict[str, Any], folder: Path) -> None:
    metrics = [Metric(name, value, values["time_ms"], values["step"]) for name, value in values["metrics"].items()]
    MlflowClient().log_batch(run_id, metrics=metrics)


def _send_tags(run_id: str, values: dict[str, Any], folder: Path) -> None:
    MlflowClient().log_batch(run_id, tags=[RunTag(name, text) for name, text in values.items()])


def _send_files(run_id: str, values: dict[str, Any], folder: Path) -> None:
    MlflowClient().log_artifacts(run_id, str(folder))


def _send_model(run_id: str, values: dict[str, Any], folder: Path) -> str:
    return log_model(run_id, folder, values["class_names"], base64.b64decode(values["example"]))


def _send_end(run_id: str, values: dict[str, Any], folder: Path) -> None:
    MlflowClient().set_terminated(run_id, values["status"], values["end_time"])


SENDERS: dict[str, Callable[[str, dict[str, Any], Path], Any]] = {
    "metrics": _send_metrics,
    "tags": _send_tags,
    "files": _send_files,
    "model": _send_model,
    "end": _send_end,
}


def deliver(run_id: str, kind: str, values: dict[str, Any], folder: Path = Path()) -> Any:
    """Send something of a run, or queue it if the server is away.

    Args:
        run_id: the run.
        kind: one of `SENDERS`.
        values: what JSON can hold.
        folder: of the files that belong to it.

    Returns:
        What the sender returns; None if it waits.
    """
    if send(run_id):
        try:
            with retries(RETRIES):
                return SENDERS[kind](run_id, values, folder)
        except ERRORS:
            if not store_is_away():
                raise
    put(run_id, kind, values, folder)
    return None


def store_is_away() -> bool:
    """Return whether the tracking store is a server that does not answer now. A local file that refuses is an error."""
    return not is_local(mlflow.get_tracking_uri()) and not answers()


def put(run_id: str, kind: str, values: dict[str, Any], folder: Path = Path()) -> None:
    """Queue something until `send`."""
    with _lock():
        (UNSENT / run_id).mkdir(exist_ok=True)
        waiting = _entries(run_id)
        number = int(waiting[-1].stem) + 1 if waiting else 1
        if not waiting:
            print(f"the MLflow server does not answer: the logs of run {run_id} wait in {UNSENT}", flush=True)
        entry = UNSENT / run_id / f"{number:06}.json"
        shutil.rmtree(entry.with_suffix(""), ignore_errors=True)
        if folder != Path():
            shutil.copytree(folder, entry.with_suffix(""))
        with atomic_file(entry, durable=True) as draft:
            draft.write_text(json.dumps({"kind": kind, "store": _store(), "values": values}))


def send(run_id: str) -> bool:
    """Send a run's queue as far as the server answers; return whether it is empty."""
    if not _entries(run_id):
        return True
    if not answers():
        return False
    with _lock():
        for entry in _entries(run_id):
            content = json.loads(entry.read_text())
            if content["store"] != _store():
                return False
            try:
                SENDERS[content["kind"]](run_id, content["values"], entry.with_suffix(""))
            except ERRORS as error:
                if answers():
                    _explain(run_id, error)
                return False
            entry.unlink()
            shutil.rmtree(entry.with_suffix(""), ignore_errors=True)
        shutil.rmtree(UNSENT / run_id, ignore_errors=True)
        return True


def _explain(run_id: str, error: Exception) -> None:
    gone = isinstance(error, MlflowException) and error.error_code == "RESOURCE_DOES_NOT_EXIST"
    remedy = f"remove {UNSENT / run_id} to discard them" if gone else "repair the store and run the same command again"
    print(
        f"the waiting logs of run {run_id} must be accepted by the server, got {first_line(error)} ({remedy})",
        flush=True,
    )


def send_all() -> int:
    """Send the queues of all runs; return how many are not empty."""
    runs = [folder.name for folder in sorted(UNSENT.glob("*")) if folder.is_dir()]
    left = [run_id for run_id in runs if not send(run_id)]
    if sent := len(runs) - len(left):
        print(f"sent the waiting logs of {sent} runs", flush=True)
    return len(left)


def _entries(run_id: str) -> list[Path]:
    return sorted((UNSENT / run_id).glob("*.json"))


def _store() -> str:
    return without_passwords(mlflow.get_tracking_uri())


def _lock() -> FileLock:
    UNSENT.mkdir(parents=True, exist_ok=True)
    return FileLock(UNSENT / ".lock")
