"""Which process owns a piece of work, and whether that process still runs."""

from __future__ import annotations

import os
import socket

import psutil


def owner() -> str:
    """Return the mark of this process: host, pid and start time, which no later process shares."""
    return f"{socket.gethostname()} {os.getpid()} {psutil.Process().create_time():.2f}"


def is_here(mark: str) -> bool:
    """Return whether an `owner` was a process of this host."""
    return mark.split()[0] == socket.gethostname()


def is_gone(mark: str) -> bool:
    """Return whether an `owner` was a process of this host that has ended; of other hosts nothing is known."""
    _, pid, started = mark.split()
    if not is_here(mark):
        return False
    try:
        return bool(f"{psutil.Process(int(pid)).create_time():.2f}" != started)
    except psutil.NoSuchProcess:
        return True
