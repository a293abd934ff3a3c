"""MLflow's store: opened, checked, and the error when it does not answer."""

from __future__ import annotations

import contextlib
import json
import logging
import os
import sqlite3
import time
from collections.abc import Iterator
from datetime import UTC, datetime
from pathlib import Path

import mlflow
import requests
from mlflow import MlflowClient
from mlflow.entities import ViewType
from mlflow.exceptions import MlflowException
from sqlalchemy.engine import make_url

from pipeline.config import RUNS_FOLDER, UserError, first_line, without_passwords

UNREACHABLE_AFTER_S = 5
LOCKED_FOR_S = 120
_RETRIES, _TIMEOUT = "MLFLOW_HTTP_REQUEST_MAX_RETRIES", "MLFLOW_HTTP_REQUEST_TIMEOUT"
VIEW = "photos"  # of the list of runs, which MLflow keeps with an experiment as one that is shared
SHOWN_METRICS = ("best_val_accuracy", "test_accuracy")
UNSENT = RUNS_FOLDER / "unsent"  # see `outbox`
ERRORS = (MlflowException, requests.RequestException)  # what MLflow raises where its store does not answer


class StoreGone(UserError):
    """MLflow's store no longer answers, or refuses what it is sent."""


def open_stores(many_machines: bool = False) -> None:
    """Check that the tracking store and the registry can be reached.

    Args:
        many_machines: whether other machines shall log into them, too.

    Raises:
        UserError: one of them cannot be reached.
    """
    silence_mlflow()
    for uri in {mlflow.get_tracking_uri(), mlflow.get_registry_uri()}:
        if file := database_file(uri):
            _check_database(file)
        if many_machines and is_local(uri):
            raise UserError(
                f"the MLflow store must be a server or its database where ray_address is a cluster, got {uri}: a file "
                "on one machine (mlflow server --backend-store-uri postgresql://..., and set MLFLOW_TRACKING_URI)"
            )
        try:
            if uri.startswith(("http://", "https://")):  # MLflow's own calls retry for minutes
                requests.get(f"{uri.rstrip('/')}/health", timeout=UNREACHABLE_AFTER_S).raise_for_status()
            else:
                MlflowClient(tracking_uri=uri).search_experiments(max_results=1)
        except Exception as error:  # each kind of store raises its own
            raise UserError(
                f"the MLflow store must be reachable, got {type(error).__name__} from {without_passwords(uri)}: "
                f"{first_line(error)} "
                "(start the server, or set MLFLOW_TRACKING_URI and MLFLOW_REGISTRY_URI; unset, runs go to ./mlflow.db)"
            ) from error


def _check_database(file: Path) -> None:
    """Wait until nobody has locked the file; MLflow would give up after 20 seconds, or wait two minutes to create it.

    Raises:
        UserError: it cannot be made, or stays locked.
    """
    if not file.exists():
        if not os.access(file.parent, os.W_OK):
            raise UserError(
                f"the folder of the MLflow store must be writable, got {file.parent} (allow writing, run the command "
                "in another folder, or set MLFLOW_TRACKING_URI and MLFLOW_REGISTRY_URI)"
            )
        return
    deadline, told = time.monotonic() + LOCKED_FOR_S, False
    with contextlib.closing(sqlite3.connect(file, timeout=1, isolation_level=None)) as connection:
        while True:
            try:
                connection.execute("BEGIN IMMEDIATE")
                connection.execute("ROLLBACK")
                return
            except sqlite3.OperationalError as error:
                if error.sqlite_errorcode != sqlite3.SQLITE_BUSY:  # such as one that may only be read
                    return
            if time.monotonic() > deadline:
                raise UserError(
                    f"the MLflow store must be free within {LOCKED_FOR_S} s, got {file}, which another program has "
                    f"locked (end that program; fuser {file} names it)"
                )
            if not told:
                print(f"waiting for the MLflow store {file}, which another program has locked", flush=True)
                told = True


def is_local(uri: str) -> bool:
    """Return whether a store's URL is a file on this machine."""
    return "://" not in uri or uri.startswith(("sqlite:", "file:"))


def database_file(uri: str) -> Path | None:
    """Return the file of a store in SQLite, None for any other store. MLflow quotes its path as in a URL."""
    name = make_url(uri).database if uri.startswith("sqlite:///") else None
    return Path(name).resolve() if name else None


def answers() -> bool:
    """Return whether the tracking store answers now."""
    with _variables({_RETRIES: "0", _TIMEOUT: str(UNREACHABLE_AFTER_S)}):
        try:
            MlflowClient().search_experiments(max_results=1)
        except ERRORS:
            return False
        return True


@contextlib.contextmanager
def retries(number: int) -> Iterator[None]:
    """Limit MLflow's retries inside the block."""
    with _variables({_RETRIES: str(min(number, int(os.environ.get(_RETRIES, number))))}):
        yield


@contextlib.contextmanager
def _variables(values: dict[str, str]) -> Iterator[None]:
    """Set variables inside the block."""
    before = {name: os.environ.get(name) for name in values}
    os.environ.update(values)
    try:
        yield
    finally:
        for name, text in before.items():
            os.environ.pop(name)
            if text is not None:
                os.environ[name] = text


@contextlib.contextmanager
def raise_if_store_gone() -> Iterator[None]:
    """Raise StoreGone where MLflow gives up inside the block."""
    try:
        yield
    except ERRORS as error:
        waiting = (
            f"; the logs of {count_unsent_runs()} runs wait in {UNSENT} and are sent then"
            if count_unsent_runs()
            else ""
        )
        raise StoreGone(
            f"the MLflow store must answer and accept the logs, got {first_line(error)} from "
            f"{without_passwords(mlflow.get_tracking_uri())} (what was logged is kept; repair the store and run the "
            f"same command again{waiting})"
        ) from error


def count_unsent_runs() -> int:
    """Return the number of runs with entries in the outbox."""
    return len({entry.parent for entry in UNSENT.glob("*/*.json")})


def silence_mlflow() -> None:
    """Silence MLflow's informational log messages."""
    logging.getLogger("mlflow").setLevel(logging.WARNING)  # else it reports every example that it checks
    logging.getLogger("mlflow.store.db.utils").setLevel(
        logging.CRITICAL
    )  # and shows what we say in a line as a traceback


def store_address() -> str:
    """Return the address of the MLflow store, without passwords."""
    return without_passwords(mlflow.get_tracking_uri())


def store_identity() -> str:
    """Return what tells the MLflow store from others: a server's address, or, as files move, when one was begun."""
    if not (file := database_file(mlflow.get_tracking_uri())):
        return store_address()
    (first,) = MlflowClient().search_experiments(ViewType.ALL, max_results=1, order_by=["creation_time ASC"])
    begun = datetime.fromtimestamp((first.creation_time or 0) / 1000, UTC)
    return f"{file.name} of {begun.isoformat(' ', 'milliseconds')}"


def ui_command() -> str:
    """Return the shell command that opens the UI on this project's store."""
    is_default = database_file(mlflow.get_tracking_uri()) == Path("mlflow.db").resolve()
    return "mlflow ui" if is_default else f"mlflow ui --backend-store-uri {store_address()}"


def runs_page(experiment_id: str) -> str:
    """Return how to open the runs of an experiment: the UI's command and the page, or the page of a server.

    Without ``workflowType``, MLflow 3.17 opens on the traces of language models. The page shows `SHOWN_METRICS`.
    """
    page, uri = f"/#/experiments/{experiment_id}/runs?workflowType=machine_learning", mlflow.get_tracking_uri()
    with contextlib.suppress(*ERRORS):  # who may not change the experiment gets MLflow's own columns
        MlflowClient().set_experiment_tag(experiment_id, f"mlflow.sharedViewState.{VIEW}", json.dumps(_view()))
        page += f"&viewStateShareKey={VIEW}"
    if uri.startswith(("http://", "https://")):
        return f"{store_address().rstrip('/')}{page}"
    return f"{ui_command()}, then http://127.0.0.1:5000{page}"


def _view() -> dict[str, object]:
    """Return the columns of the list of runs, and their order, in MLflow's own words."""
    columns = [f"metrics.`{name}`" for name in SHOWN_METRICS]
    return {"selectedColumns": columns, "orderByKey": "attributes.start_time", "orderByAsc": False}
