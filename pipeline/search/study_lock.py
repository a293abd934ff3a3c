"""The lock of a study, shared by all processes that use its storage.

It lies where the study lies: beside a SQLite file by `filelock`, in a database server by sqlalchemy-dlock (advisory
locks), so that it holds between machines. Either ends with its process. Optuna has no such lock, and two workers could
both take the last trial of a study.
"""

from __future__ import annotations

import re
from contextlib import ExitStack
from pathlib import Path
from typing import Any, Protocol, Self

from filelock import FileLock
from sqlalchemy import NullPool, create_engine, text
from sqlalchemy.engine import make_url

from pipeline.config import UserError, install_command

# Seconds of silence, and probes, after which a server lets go of what a machine held that has lost its power: it would
# otherwise wait for two hours.
KEEPALIVES = ("tcp_keepalives_idle = 30", "tcp_keepalives_interval = 10", "tcp_keepalives_count = 3")


class Lock(Protocol):
    """What is entered to take it."""

    def __enter__(self) -> Any: ...
    def __exit__(self, *exc_info: Any) -> Any: ...
    def release(self) -> None:
        """Let go of it, also before the block ends, and more than once."""


def study_lock(storage_url: str, study_name: str) -> Lock:
    """Return the lock of a study.

    Raises:
        UserError: the storage is a file in no folder, or a server, and the extra that locks in it is not installed.
    """
    url = make_url(storage_url)
    if url.get_backend_name() == "sqlite":
        file = Path(url.database or "")
        if not file.parent.is_dir():  # which `filelock` would make
            raise UserError(f"the folder of a database must exist, got {file.parent} (mkdir -p {file.parent})")
        name = re.sub(r"[^\w.-]", "_", study_name)
        return FileLock(file.with_name(f".{name}.lock"))
    return _ServerLock(storage_url, study_name)


class _ServerLock:
    """An advisory lock on a connection of its own, which is open only while one waits for the lock or holds it."""

    def __init__(self, storage_url: str, study_name: str) -> None:
        try:
            from sqlalchemy_dlock.factory import create_sadlock
        except ImportError:
            raise UserError(
                f"a storage on a database server needs the extra postgres, got none ({install_command('postgres')})"
            ) from None
        self._create, self._key = create_sadlock, f"photo-pipeline {study_name}"
        self._engine = create_engine(storage_url, poolclass=NullPool, isolation_level="AUTOCOMMIT")
        self._held = ExitStack()

    def __enter__(self) -> Self:
        with ExitStack() as stack:
            connection = stack.enter_context(self._engine.connect())
            if self._engine.dialect.name == "postgresql":
                for setting in KEEPALIVES:
                    connection.execute(text(f"SET {setting}"))
            stack.enter_context(self._create(connection, self._key))
            self._held = stack.pop_all()
        return self

    def __exit__(self, *exc_info: object) -> None:
        self.release()

    def release(self) -> None:
        """Let go of it."""
        self._held.close()
