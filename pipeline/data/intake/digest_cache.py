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
from collections.abc import Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from types import TracebackType
from typing import NamedTuple, Self

import numpy as np
from tqdm import tqdm

from pipeline.data.intake.photos import DIGEST_BYTES, Candidate, Photos
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
IN_HAND = 32 * AT_ONCE  # files that are asked for, or read, before the next ones are looked at: bounds memory
INSERT = "INSERT OR REPLACE INTO digests VALUES (?, ?, ?, ?, ?, ?)"


class Identity(NamedTuple):
    """A file's identity, known without reading its content."""

    path: bytes
    size: int
    inode: int
    modified_ns: int
    changed_ns: int


def add_digests(candidates: Sequence[Candidate], cache_file: Path) -> Photos:
    """Return the photos, each with its digest or with the problem that prevents reading it.

    Args:
        candidates: without digest or problem.
        cache_file: the SQLite cache; it may be deleted at any time.
    """
    photos = Photos.of(candidates)
    digests = np.zeros((len(photos), DIGEST_BYTES), np.uint8)
    is_known = np.zeros(len(photos), bool)
    problems: dict[int, str] = {}
    with ThreadPoolExecutor() as pool, _DigestCache(cache_file) as cache:
        for first in range(0, len(photos), IN_HAND):
            parts = (part.absolute_paths() for part in photos[first : first + IN_HAND].batches(AT_ONCE))
            identities = [identity for part in pool.map(_identities, parts) for identity in part]
            for place, sha256 in cache.digests(identities):
                digests[first + place] = _as_bytes(sha256)
                is_known[first + place] = True
        places = np.flatnonzero(~is_known).tolist()
        read = _read(pool, photos.kept(~is_known))
        bar = tqdm(read, "reading", len(places), unit="photo", disable=None if places else True)
        for place, (identity, result) in zip(places, bar, strict=True):
            if identity:
                digests[place] = _as_bytes(result)
                cache.add(identity, result)
            else:
                problems[place] = result
    return photos.with_digests(digests, problems)


def _as_bytes(sha256: str) -> np.ndarray:
    return np.frombuffer(bytes.fromhex(sha256), np.uint8)


def _identities(paths: Sequence[bytes]) -> list[Identity | str]:
    return [_identity(path) for path in paths]


def _identity(path: bytes) -> Identity | str:
    """Return a file's identity, or why it cannot be read."""
    try:
        status = os.stat(path)  # noqa: PTH116  a Path of each takes longer than the call
    except (OSError, ValueError) as error:  # ValueError: a NUL in a table's path
        return _read_error(error)
    if stat.S_ISDIR(status.st_mode) and not os.access(path, os.R_OK | os.X_OK):
        return rule_text("cannot be read", os.strerror(errno.EACCES))
    if not stat.S_ISREG(status.st_mode):  # opening a pipe would block forever
        return rule_text("not a regular file")
    return Identity(path, status.st_size, status.st_ino, status.st_mtime_ns, status.st_ctime_ns)


def _read(pool: ThreadPoolExecutor, photos: Photos) -> Iterator[tuple[Identity | None, str]]:
    """Yield, for each photo, its identity and its digest; if it cannot be read, no identity, and why."""
    for part in photos.batches(IN_HAND):
        yield from pool.map(_read_file, part.absolute_paths())


def _read_file(path: bytes) -> tuple[Identity | None, str]:
    identity = _identity(path)
    if isinstance(identity, str):
        return None, identity
    try:
        return identity, sha256_of_file(Path(os.fsdecode(path)))
    except OSError as error:
        return None, _read_error(error)


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

    def digests(self, identities: Sequence[Identity | str]) -> list[tuple[int, str]]:
        """Return place and digest of each file whose digest is cached."""
        files = [(place, *identity) for place, identity in enumerate(identities) if not isinstance(identity, str)]
        try:
            self._database.execute(CREATE_ASKED)
            self._database.executemany(INSERT_ASKED, files)
            found = self._database.execute(SELECT).fetchall()
            self._database.execute("DROP TABLE asked")
        except sqlite3.Error:
            return []
        return found

    def add(self, identity: Identity, sha256: str) -> None:
        """Cache a digest, unless the file is so recent that a further write could leave its identity unchanged."""
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
