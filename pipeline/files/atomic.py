"""Atomic writes: a file or folder is written under another name beside its final path, then renamed."""

from __future__ import annotations

import os
import shutil
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from uuid import uuid4


@contextmanager
def atomic_folder(folder: Path) -> Iterator[Path]:
    """Yield a new sibling folder that becomes ``folder`` if the block succeeds and disappears if it raises.

    A killed process leaves at most the sibling, whose name ends in ``.part`` and which is never read.

    Raises:
        FileExistsError: ``folder`` is not empty; nothing is ever replaced.
    """
    draft = folder.with_name(f"{folder.name}-{uuid4().hex[:8]}.part")
    draft.mkdir(parents=True)
    try:
        yield draft
        try:
            draft.replace(folder)  # the system refuses to replace a folder that is not empty
        except OSError as error:
            if folder.is_dir() and any(folder.iterdir()):
                raise FileExistsError(f"the folder must be new or empty, got {folder} (move it away)") from error
            raise
    finally:
        shutil.rmtree(draft, ignore_errors=True)


@contextmanager
def atomic_file(file: Path, durable: bool = False) -> Iterator[Path]:
    """Yield the path of a sibling that becomes ``file`` if the block succeeds and disappears if it raises.

    The sibling's name is always the same: processes that may write the same file must share a lock.

    Args:
        file: the file to replace.
        durable: see `replace_durably`.
    """
    draft = file.with_suffix(".part")
    try:
        yield draft
        if durable:
            replace_durably(draft, file)
        else:
            draft.replace(file)
    finally:
        draft.unlink(missing_ok=True)


def replace_durably(draft: Path, file: Path) -> None:
    """Rename a written file so that either it or the previous file survives a power failure, complete."""
    _sync(draft)
    draft.replace(file)
    _sync(file.parent)


def _sync(path: Path) -> None:
    descriptor = os.open(path, os.O_RDONLY)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)
