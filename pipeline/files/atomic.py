"""Files and folders that are either whole or absent: made beside their place and renamed as the last step."""

from __future__ import annotations

import shutil
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from uuid import uuid4


@contextmanager
def folder_when_whole(folder: Path) -> Iterator[Path]:
    """Lend a new sibling folder that becomes ``folder`` if the block succeeds and disappears if it raises.

    A killed process leaves at most the sibling, whose name ends in ``.part`` and which nobody reads.
    Raises FileExistsError if ``folder`` already holds something: nothing is ever replaced.
    """
    unfinished = folder.with_name(f"{folder.name}-{uuid4().hex[:8]}.part")
    unfinished.mkdir(parents=True)
    try:
        yield unfinished
        try:
            unfinished.replace(folder)  # where a folder is that holds something, the system refuses
        except OSError as error:
            if folder.is_dir() and any(folder.iterdir()):
                raise FileExistsError(f"the folder must be new or empty, got {folder} (move it away)") from error
            raise
    finally:
        shutil.rmtree(unfinished, ignore_errors=True)


@contextmanager
def file_when_whole(file: Path) -> Iterator[Path]:
    """Lend the path of a sibling that becomes ``file`` if the block succeeds and disappears if it raises.

    The sibling's name is always the same: who may meet another writer holds a lock.
    """
    unfinished = file.with_suffix(".part")
    try:
        yield unfinished
        unfinished.replace(file)
    finally:
        unfinished.unlink(missing_ok=True)
