"""Owner marks: which process owns a piece of work, and whether that process still runs."""

from __future__ import annotations

import os
import socket
import sys
from pathlib import Path

import psutil

BOOT_ID = Path("/proc/sys/kernel/random/boot_id")
UNKNOWN = "?"


def owner_mark() -> str:
    """Return the owner mark of this process: host, pid and start time, which no later process shares."""
    return f"{socket.gethostname()} {os.getpid()} {_start_time(os.getpid())}"


def is_here(mark: str) -> bool:
    """Return whether an owner mark is of a process of this host."""
    return mark.split()[0] == socket.gethostname()


def is_gone(mark: str) -> bool:
    """Return whether an owner mark is of a process of this host that has ended; False for other hosts (unknown)."""
    _, pid, start_time = mark.split()
    if not is_here(mark):
        return False
    return _start_time(int(pid)) not in (start_time, UNKNOWN)


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
    return "" if state in "ZX" else f"{fields[18]}@{BOOT_ID.read_text()[:8] if BOOT_ID.exists() else ''}"
