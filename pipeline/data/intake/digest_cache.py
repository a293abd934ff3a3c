"""Caches the SHA-256 of every candidate photo, so that unchanged files are not read again.

Like git's index, the cache identifies a file by path, size, inode, and the times at which content and inode changed. It
can miss bytes that change while all of these stay the same: through a failing disk, or a clock that was set back.
Decoding catches such a photo, because it checks the digest. Rejected: `diskcache` (one SQLite table is all we need, and
it is no longer maintained) and joblib's Memory (a folder per file).
"""

from __future__ import annotations

import contextlib
import errno
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
from pipeline.data.rules import rule_text
from pipeline.files import sha256_of_file

SETTLED_AFTER_S = 2.0  # a file may be written twice within one tick of its file system's clock, of 2 s on FAT
WRITE_EVERY = 5_000  # new digests: at most this many are lost when the process is killed
CREATE_TABLE = (
    "CREATE TABLE IF NOT EXISTS digests (path BLOB PRIMARY KEY, size INTEGER, inode INTEGER, modified_ns INTEGER, "
    "changed_ns INTEGER, sha256 TEXT) WITHOUT ROWID"
)
CREATE_ASKED = (
    "CREATE TEMP TABLE asked (number INTEGER, path BLOB, size INTEGER, inode INTEGER, modified_ns INTEGER, "
    "changed_ns INTEGER)"
)
INSERT_ASKED = "INSERT INTO asked VALUES (?, ?, ?, ?, ?, ?)"
SELECT = "SELECT number, sha256 FROM asked JOIN digests USING (path, size, inode, modified_ns, changed_ns)"
AT_ONCE = 256  # files whose identity a thread asks for
INSERT = "INSERT OR REPLACE INTO digests VALUES (?, ?, ?, ?, ?, ?)"


class Identity(NamedTuple):
    """A file's identity, known without reading its content."""

    path: bytes
    size: int
    inode: int
    modified_ns: int
    changed_ns: int


def add_digests(photos: Sequence[Candidate], cache_file: Path) -> list[Candidate]:
    """Return the photos, each with its digest or with the problem that prevents reading it.

    Args:
        photos: candidates without digest or problem.
        cache_file: the SQLite cache; it may be deleted at any time.
    """
    parts = [photos[start : start + AT_ONCE] for start in range(0, len(photos), AT_ONCE)]
    digested: list[Candidate] = []
    with ThreadPoolExecutor() as pool, _DigestCache(cache_file) as cache:
        identities = [identity for part in pool.map(_identities, parts) for identity in part]
        known = cache.digests(identities)
        unknown = [index for index, digest in enumerate(known) if not digest]
        digested = [photo._replace(sha256=digest) for photo, digest in zip(photos, known, strict=True)]
        read = pool.map(_with_digest, (photos[index] for index in unknown), (identities[index] for index in unknown))
        bar = tqdm(read, "reading", len(unknown), unit="photo", disable=None if unknown else True)
        for index, photo in zip(unknown, bar, strict=True):
            digested[index] = photo
            cache.add(identities[index], photo.sha256)
    return digested


def _identities(photos: Sequence[Candidate]) -> list[Identity | str]:
    return [_identity(photo) for photo in photos]


def _identity(photo: Candidate) -> Identity | str:
    """Return a file's identity, or why it cannot be read."""
    try:
        status = photo.path.stat()
    except (OSError, ValueError) as error:  # ValueError: a NUL in a table's path
        return _read_error(error)
    if stat.S_ISDIR(status.st_mode) and not os.access(photo.path, os.R_OK | os.X_OK):
        return rule_text("cannot be read", os.strerror(errno.EACCES))
    if not stat.S_ISREG(status.st_mode):  # opening a pipe would block forever
        return rule_text("not a regular file")
    path = os.fsencode(photo.path.absolute())
    return Identity(path, status.st_size, status.st_ino, status.st_mtime_ns, status.st_ctime_ns)


def _with_digest(photo: Candidate, identity: Identity | str) -> Candidate:
    if isinstance(identity, str):
        return photo._replace(problem=identity)
    try:
        return photo._replace(sha256=sha256_of_file(photo.path))
    except OSError as error:
        return photo._replace(problem=_read_error(error))


def _read_error(error: OSError | ValueError) -> str:
    return rule_text("cannot be read", getattr(error, "strerror", None) or error)


class _DigestCache:
    """A SQLite table of digests. If it cannot be read or written, nothing is cached, and nothing else fails."""

    def __init__(self, file: Path) -> None:
        self._unwritten: list[tuple[object, ...]] = []
        try:
            file.parent.mkdir(parents=True, exist_ok=True)
            self._database = sqlite3.connect(file)
            self._database.execute(CREATE_TABLE)
        except (sqlite3.Error, OSError):
            self._database = sqlite3.connect(":memory:")
            self._database.execute(CREATE_TABLE)

    def digests(self, identities: Sequence[Identity | str]) -> list[str]:
        """Return the cached digest of each file, or an empty string."""
        files = [(index, *identity) for index, identity in enumerate(identities) if not isinstance(identity, str)]
        found = [""] * len(identities)
        try:
            self._database.execute(CREATE_ASKED)
            self._database.executemany(INSERT_ASKED, files)
            for index, sha256 in self._database.execute(SELECT):
                found[index] = sha256
            self._database.execute("DROP TABLE asked")
        except sqlite3.Error:
            return [""] * len(identities)
        return found

    def add(self, identity: Identity | str, sha256: str) -> None:
        """Cache a digest, unless the file is so recent that a further write could leave its identity unchanged."""
        if isinstance(identity, str) or not sha256:
            return
        if time.time_ns() - max(identity.modified_ns, identity.changed_ns) > SETTLED_AFTER_S * 1e9:
            self._unwritten.append((*identity, sha256))
        if len(self._unwritten) >= WRITE_EVERY:
            self._write()

    def _write(self) -> None:
        with contextlib.suppress(sqlite3.Error), self._database:
            self._database.executemany(INSERT, self._unwritten)
        self._unwritten.clear()

    def __enter__(self) -> Self:
        return self

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, at: TracebackType | None) -> None:
        self._write()
        self._database.close()
