"""Where an MLflow store in a file says that its artifacts lie, mended once the project's folder has another path.

MLflow writes absolute paths into its database: after the folder was moved, renamed or copied they lead nowhere, or into
the folder that was copied. Relative paths are no way out: MLflow 3.17 makes those of new experiments absolute, and
reads the others from the working directory of whoever asks (docs/log.md).
"""

from __future__ import annotations

import contextlib
import sqlite3
from collections.abc import Iterator
from pathlib import Path

import mlflow

from pipeline.config import RUNS_FOLDER, UserError
from pipeline.tracking.store import database_file

COLUMNS = (
    ("experiments", "artifact_location"),
    ("runs", "artifact_uri"),
    ("logged_models", "artifact_location"),
    ("model_versions", "source"),
    ("model_versions", "storage_location"),
)


def follow_moved_folder() -> Iterator[str]:
    """Let the open store find its artifacts again where its folder was moved; yield a line for each former place.

    Raises:
        UserError: the artifacts are neither here nor where they were.
    """
    database = database_file(mlflow.get_tracking_uri())
    if database is None:
        return
    with contextlib.closing(sqlite3.connect(database, timeout=60)) as connection:
        for former in _former_roots(connection, database.parent / RUNS_FOLDER):
            if root := _new_root(former, _runs_below(connection, former), database.parent):
                for file in {database, database_file(mlflow.get_registry_uri()) or database}:
                    _replace(file, former, root)
                yield f"the folder of the runs has moved from {former} to {root}: MLflow's records were updated"


def _former_roots(connection: sqlite3.Connection, root: Path) -> list[Path]:
    """Return the folders other than ``root`` in which experiments have their artifacts where MLflow puts them."""
    rows = connection.execute("SELECT experiment_id, artifact_location FROM experiments").fetchall()
    places = [(str(number), Path(location or "")) for number, location in rows]
    roots = {place.parent for number, place in places if place.is_absolute() and place.name == number}
    return sorted(former for former in roots if former.name == RUNS_FOLDER.name and former != root)


def _runs_below(connection: sqlite3.Connection, root: Path) -> list[Path]:
    """Return the folders of the runs below ``root``, relative to it."""
    prefix = f"{root}/"
    wanted = "SELECT artifact_uri FROM runs WHERE substr(artifact_uri, 1, ?) = ?"
    return [Path(uri[len(prefix) :]).parent for (uri,) in connection.execute(wanted, (len(prefix), prefix))]


def _new_root(former: Path, runs: list[Path], folder: Path) -> Path | None:
    """Return where the artifacts are that the store in ``folder`` looks for in ``former``; None if they are there."""
    here, working = folder / RUNS_FOLDER, Path.cwd() / RUNS_FOLDER  # the database may be kept elsewhere

    def holds(root: Path) -> bool:
        return any((root / run).exists() for run in runs)

    if holds(here) or (not runs and here == working):  # of a copy, whose original has them, too
        return here
    if holds(former) or former.parent.exists():
        return None
    if holds(working) or not runs:
        return working
    raise UserError(
        f"the artifacts of the runs must be in {here}, or in {former}, where they were, got neither "
        "(bring that folder back, or move mlflow.db away to start over)"
    )


def _replace(database: Path, former: Path, root: Path) -> None:
    """Replace the beginning of all paths below ``former`` in a database, at once."""
    with contextlib.closing(sqlite3.connect(database, timeout=60)) as connection, connection:
        connection.execute("BEGIN IMMEDIATE")
        for table, column in COLUMNS:
            connection.execute(
                f"UPDATE {table} SET {column} = ? || substr({column}, ?) WHERE substr({column}, 1, ?) = ?",
                (f"{root}/", len(f"{former}/") + 1, len(f"{former}/"), f"{former}/"),
            )
