"""Standard streams that never fail: work that takes hours does not end because nobody reads what it prints."""

from __future__ import annotations

import contextlib
import io
import os
import sys
from typing import Any


class _Output(io.FileIO):
    """A file that drops what it is given once nobody reads it any more, as after ``| head``."""

    def write(self, data: Any) -> int:
        try:
            return super().write(data) or 0
        except BrokenPipeError:
            null = os.open(os.devnull, os.O_WRONLY)
            os.dup2(null, self.fileno())
            os.close(null)
            return memoryview(data).nbytes


def secure_streams() -> None:
    """Make standard output and error safe to print to, also where they are closed, or will be."""
    for number in range(3):  # else the next file that is opened would get the number, and with it all messages
        try:
            os.fstat(number)
        except OSError:
            os.open(os.devnull, os.O_RDWR)
    for name, number in (("stdout", 1), ("stderr", 2)):
        stream = getattr(sys, name)
        if stream is None:
            setattr(sys, name, _text(number, errors="backslashreplace"))
        elif isinstance(stream, io.TextIOWrapper) and _number(stream) == number:
            stream.flush()
            settings = {key: getattr(stream, key) for key in ("encoding", "errors", "line_buffering", "write_through")}
            setattr(sys, name, _text(number, **settings))


def _text(number: int, **settings: str | bool) -> io.TextIOWrapper:
    return io.TextIOWrapper(io.BufferedWriter(_Output(number, "wb", closefd=False)), **settings)  # type: ignore[arg-type]


def _number(stream: io.TextIOWrapper) -> int | None:
    with contextlib.suppress(OSError, ValueError):
        return stream.fileno()
    return None


def hides_bars() -> bool | None:
    """Return what tqdm takes as ``disable``: True where TQDM_DISABLE is set, and None to show bars on terminals alone.

    tqdm reads that variable only when it is imported, which a forked process has done before, and not where it is told.
    """
    return True if os.environ.get("TQDM_DISABLE", "0") not in ("", "0") else None
