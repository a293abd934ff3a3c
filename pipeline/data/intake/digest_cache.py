"""The SHA-256 of every candidate photo's bytes, remembered so that unchanged files are not read again.

Like git's index, the memory knows a file by path, size, inode, and the times at which content and inode changed. It
does not promise to notice bytes that change while all of these stay: a failing disk can do that, and whoever sets the
clock back. Such a photo is found out when it is decoded, which checks its digest. `diskcache` was not taken (one table
in SQLite is all that is needed, and nobody keeps it any more), nor joblib's memory (a folder per file).
"""

from __future__ import annotations

import contextlib
import os
import sqlite3
import stat
import time
from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from types import TracebackType
from typing import NamedTuple, Self

from tqdm import tqdm

from pipeline.data.intake.candidates import Candidate
from pipeline.data.rules import by_rule
from pipeline.files import sha256_of_file

SETTLED_AFTER_S = 2.0  # a file may be written twice within one tick of its file system's clock, of 2 s on FAT
KEEP_EVERY = 5_000  # new digests: what a kill may cost
TABLE = (
    "CREATE TABLE IF NOT EXISTS digests (path BLOB PRIMARY KEY, size INTEGER, inode INTEGER, modified_ns INTEGER, "
    "changed_ns INTEGER, sha256 TEXT) WITHOUT ROWID"
)
FIND = "SELECT sha256 FROM digests WHERE path = ? AND size = ? AND inode = ? AND modified_ns = ? AND changed_ns = ?"
KEEP = "INSERT OR REPLACE INTO digests VALUES (?, ?, ?, ?, ?, ?)"


class Identity(NamedTuple):
    """What a file is known by, without reading it."""

    path: bytes
    size: int
    inode: int
    modified_ns: int
    changed_ns: int


def with_digests(photos: Sequence[Candidate], memory_file: Path) -> list[Candidate]:
    """Return the photos with their digests, or with the problem that keeps them from being read.

    Args:
        photos: without either.
        memory_file: what remembers digests; it may be deleted at any time.
    """
    found: list[Candidate] = []
    with ThreadPoolExecutor() as pool, _Memory(memory_file) as memory:
        identities = list(pool.map(_identity, photos))
        known = [memory.digest(identity) for identity in identities]
        bar = tqdm(pool.map(_digested, photos, identities, known), "reading", len(photos), unit="photo", disable=None)
        for photo, identity, digest in zip(bar, identities, known, strict=True):
            found.append(photo)
            if not digest:
                memory.keep(identity, photo.sha256)
    return found


def _identity(photo: Candidate) -> Identity | str:
    """Return what a file is known by, or why it cannot be read."""
    try:
        about = photo.path.stat()
    except (OSError, ValueError) as error:  # ValueError: a NUL in a table's path
        return _reason(error)
    if not stat.S_ISREG(about.st_mode):  # opening a pipe would wait for ever
        return by_rule("not a regular file")
    path = os.fsencode(photo.path.absolute())
    return Identity(path, about.st_size, about.st_ino, about.st_mtime_ns, about.st_ctime_ns)


def _digested(photo: Candidate, identity: Identity | str, known: str) -> Candidate:
    if isinstance(identity, str):
        return photo._replace(problem=identity)
    if known:
        return photo._replace(sha256=known)
    try:
        return photo._replace(sha256=sha256_of_file(photo.path))
    except OSError as error:
        return photo._replace(problem=_reason(error))


def _reason(error: OSError | ValueError) -> str:
    return by_rule("cannot be read", getattr(error, "strerror", None) or error)


class _Memory:
    """A table of digests in SQLite. Where it cannot be read or written, nothing is remembered, and all still works."""

    def __init__(self, file: Path) -> None:
        self._new: list[tuple[object, ...]] = []
        try:
            file.parent.mkdir(parents=True, exist_ok=True)
            self._database = sqlite3.connect(file)
            self._database.execute(TABLE)
        except (sqlite3.Error, OSError):
            self._database = sqlite3.connect(":memory:")
            self._database.execute(TABLE)

    def digest(self, identity: Identity | str) -> str:
        """Return the digest of a file, or empty text."""
        if isinstance(identity, str):
            return ""
        try:
            row = self._database.execute(FIND, identity).fetchone()
        except sqlite3.Error:
            return ""
        return str(row[0]) if row else ""

    def keep(self, identity: Identity | str, sha256: str) -> None:
        """Remember a digest, unless the file may still be written without looking any different."""
        if isinstance(identity, str) or not sha256:
            return
        if time.time_ns() - max(identity.modified_ns, identity.changed_ns) > SETTLED_AFTER_S * 1e9:
            self._new.append((*identity, sha256))
        if len(self._new) >= KEEP_EVERY:
            self._write()

    def _write(self) -> None:
        with contextlib.suppress(sqlite3.Error), self._database:
            self._database.executemany(KEEP, self._new)
        self._new.clear()

    def __enter__(self) -> Self:
        return self

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, at: TracebackType | None) -> None:
        self._write()
        self._database.close()
