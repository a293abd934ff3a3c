"""What takes up room and is needed no more: shown, and deleted where that is asked for.

These are prepared photos and reports of data sets that no registered version and no run that can go on refers to, and
the models and runs of `tracking.unreferenced`. Prepared photos are made again from the originals when they are needed.
"""

from __future__ import annotations

import re
import shutil
import time
from collections.abc import Callable, Iterator
from functools import partial
from pathlib import Path
from typing import NamedTuple

from filelock import FileLock, Timeout

from pipeline import tracking
from pipeline.config import DATA_FOLDER, UserError
from pipeline.tracking.unreferenced import RECENT_S, References

DIGEST_CHARACTERS = 12  # of a data set's digest, in the names of its report and pictures
A_STORE = re.compile(r"[0-9a-f]{64}")
A_REPORT = re.compile(rf"[0-9a-f]{{{DIGEST_CHARACTERS}}}(-[\w-]+)?")
REPORTS = ("reports", "pictures")


class Unneeded(NamedTuple):
    """Something that takes up room for nothing."""

    description: str
    size_bytes: int
    delete: Callable[[], object]


def free_room(delete: bool) -> None:
    """Print what is not needed and how much room it takes, and ``delete`` it.

    Raises:
        UserError: what is logged waits for the server, which therefore does not know what is needed.
    """
    tracking.connect()
    if waiting := tracking.count_unsent_runs():
        raise UserError(
            f"the logs of all runs must be sent before anything is deleted, got {waiting} runs with unsent logs (start "
            "the server)"
        )
    total = 0
    for found in unneeded():
        if delete:
            try:
                found.delete()
            except Timeout:
                print(f"kept     {found.description}: in use", flush=True)
                continue
        total += found.size_bytes
        state = "deleted" if delete else "unneeded"
        print(f"{state:<8} {found.size_bytes / 1e6:9.1f} MB  {found.description}", flush=True)
    if delete:
        print(f"{total / 1e6:.1f} MB freed")
    elif total:
        print(f"{total / 1e6:.1f} MB are not needed (python -m pipeline doctor --prune --free deletes them)")
    else:
        print("there is nothing to delete")


def unneeded() -> Iterator[Unneeded]:
    """Yield what nothing refers to in the folder of data and in the MLflow store."""
    references = References()
    if not references.is_opening_photos():  # which the run will name in a moment
        yield from _of_other_data(references.digests())
    for found in references.unreferenced():
        yield Unneeded(f"{found.kind} {found.id} ({found.about})", _size(found.folder), found.delete)


def _of_other_data(digests: set[str]) -> Iterator[Unneeded]:
    """Yield the prepared photos, reports and pictures of data sets that have none of these digests."""
    for folder in sorted((DATA_FOLDER / "prepared").glob("*")):
        if A_STORE.fullmatch(folder.name) and folder.name not in digests and _is_old(folder):
            yield Unneeded(f"prepared photos {folder}", _size(folder), partial(_delete_store, folder))
    short = {digest[:DIGEST_CHARACTERS] for digest in digests}
    for name in REPORTS:
        for folder in sorted((DATA_FOLDER / name).glob("*")):
            if A_REPORT.fullmatch(folder.name) and folder.name[:DIGEST_CHARACTERS] not in short and _is_old(folder):
                yield Unneeded(f"{name} {folder}", _size(folder), partial(shutil.rmtree, folder))


def _delete_store(folder: Path) -> None:
    """Delete prepared photos; raise Timeout if they are being made."""
    with FileLock(folder.with_name(f".{folder.name}.lock"), timeout=0):
        shutil.rmtree(folder)


def _is_old(folder: Path) -> bool:
    return folder.is_dir() and not folder.is_symlink() and time.time() - folder.stat().st_mtime > RECENT_S


def _size(folder: Path) -> int:
    return sum(file.lstat().st_size for file in folder.rglob("*") if file.is_file())
