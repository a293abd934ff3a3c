"""Owner marks: which process owns a piece of work, and whether that process still runs.

Neither pid nor host name tells processes of containers apart, so a mark also names the kernel's boot, the PID
namespace, the working folder, and a file in it that its process keeps locked for as long as it lives. Whoever has the
same folder, under whatever host name, sees by the lock that the process has ended; elsewhere only the kernel that it
ran on can tell. Without such proof nothing counts as ended.
"""

from __future__ import annotations

import contextlib
import fcntl
import os
import re
import socket
import sys
import uuid
from pathlib import Path
from typing import NamedTuple

import psutil

from pipeline.config import RUNS_FOLDER

OWNERS = RUNS_FOLDER / "owners"  # beside the checkpoints: the folder's id, and the lock of each process at work in it
FOLDER_ID = "folder"
BOOT_ID, NAMESPACE = Path("/proc/sys/kernel/random/boot_id"), Path("/proc/self/ns/pid")
UNKNOWN = "?"
NONE = "-"  # where there is no namespace, folder or lock


class _Mark(NamedTuple):
    """The parts of a mark; those of earlier versions end with the start time."""

    host: str
    pid: int
    start: str  # in kernel ticks, and of which boot
    namespace: str = NONE
    folder: str = NONE
    lock: str = NONE


def owner_mark() -> str:
    """Return the owner mark of this process, which no other process shares."""
    return " ".join(map(str, _own_mark()))


def is_owner_mark(text: str) -> bool:
    """Return whether the text is an owner mark; a stranger's may stand in a store under the same name."""
    return _parse(text) is not None


def is_here(mark: str) -> bool:
    """Return whether an owner mark is of this working folder; one without a folder, of this host."""
    found = _parse(mark)
    if not found:
        return False
    return is_of_this_host(mark) if found.folder == NONE else found.folder == _folder_id()


def is_of_this_host(mark: str) -> bool:
    """Return whether an owner mark has this host's name, which containers may share."""
    found = _parse(mark)
    return found is not None and found.host == socket.gethostname()


def is_gone(mark: str) -> bool:
    """Return whether the process of an owner mark has certainly ended; False where that cannot be known."""
    found = _parse(mark)
    if not found or found.lock in _locks_of_this_process():
        return False
    if found.lock != NONE and found.folder == _folder_id():
        return _is_free(OWNERS / found.lock)
    _, _, boot = found.start.partition("@")
    is_of_this_kernel = (found.namespace, boot) == (_namespace(), _boot())
    if found.namespace == NONE:
        is_of_this_kernel = found.host == socket.gethostname()
    return is_of_this_kernel and _start_time(found.pid) not in (found.start, UNKNOWN)


def _parse(mark: str) -> _Mark | None:
    """Return the parts of a mark, or None if it is none."""
    words = mark.split(" ")
    if len(words) not in (3, len(_Mark._fields)) or not re.fullmatch(r"[0-9]+", words[1]):
        return None
    return _Mark(words[0], int(words[1]), *words[2:])


def _own_mark() -> _Mark:
    pid = os.getpid()
    return _Mark(socket.gethostname(), pid, _start_time(pid), _namespace(), *_own_lock())


_locks: dict[tuple[int, Path], tuple[str, str, int]] = {}  # by pid, as a fork inherits the table but not the locks


def _locks_of_this_process() -> set[str]:
    """Return the ids of its locks: a second one on the same file would succeed, and give it up."""
    return {lock for (pid, _), (_, lock, _) in _locks.items() if pid == os.getpid()}


def _own_lock() -> tuple[str, str]:
    """Return the ids of the working folder and of this process's lock in it, which is taken now if it was not."""
    key = (os.getpid(), Path.cwd())
    if key not in _locks:
        try:
            _locks[key] = _take_lock()
        except OSError:  # it cannot be written to, or not be locked
            return NONE, NONE
    return _locks[key][:2]


def _take_lock() -> tuple[str, str, int]:
    """Lock a new file, which keeps the lock until the process ends, and remove those of processes that have ended."""
    OWNERS.mkdir(parents=True, exist_ok=True)
    if not _folder_id():
        draft = OWNERS / f".{uuid.uuid4().hex}"
        draft.touch()
        draft.write_text(f"{uuid.uuid4().hex[:16]} {draft.stat().st_ino}")
        (OWNERS / FOLDER_ID).unlink(missing_ok=True)
        with contextlib.suppress(FileExistsError):  # another process was first
            os.link(draft, OWNERS / FOLDER_ID)
        draft.unlink()
    for other in OWNERS.glob("[0-9a-f]*"):
        if other.name not in {FOLDER_ID, *_locks_of_this_process()} and _is_free(other):
            other.unlink(missing_ok=True)
    name = uuid.uuid4().hex[:16]
    draft = OWNERS / f".{name}"
    # POSIX locks belong to the process alone: a fork does not inherit them, and so does not outlive it with them.
    file = os.open(draft, os.O_CREAT | os.O_RDWR, 0o666)
    fcntl.lockf(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
    draft.rename(OWNERS / name)  # never there without its lock
    return _folder_id(), name, file


def _is_free(lock: Path) -> bool:
    """Return whether the process that locked the file has ended; the file may have been removed since then."""
    try:
        file = os.open(lock, os.O_RDWR)
    except FileNotFoundError:
        return True
    except OSError:
        return False
    try:
        fcntl.lockf(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except OSError:
        return False
    finally:
        os.close(file)
    return True


def _folder_id() -> str:
    """Return the id of the working folder; empty if it has none, or is a copy that has still that of the other."""
    file = OWNERS / FOLDER_ID
    try:
        name, inode = file.read_text().split()
        return name if int(inode) == file.stat().st_ino else ""
    except (OSError, ValueError):
        return ""


def _namespace() -> str:
    try:
        return str(NAMESPACE.stat().st_ino)
    except OSError:
        return NONE


def _boot() -> str:
    return BOOT_ID.read_text()[:8] if BOOT_ID.exists() else ""


def _start_time(pid: int) -> str:
    """Return a process's start time, empty if it has ended, in kernel ticks: setting the clock does not change it."""
    if sys.platform != "linux":
        try:
            return f"{psutil.Process(pid).create_time():.2f}"
        except psutil.NoSuchProcess:
            return ""
    try:
        state, *fields = Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()  # from field 3 of proc(5) on
    except (FileNotFoundError, ProcessLookupError):
        return ""
    except PermissionError:  # another user's process, alive
        return UNKNOWN
    return "" if state in "ZX" else f"{fields[18]}@{_boot()}"
