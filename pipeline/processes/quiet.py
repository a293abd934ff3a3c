"""Hides what libraries in C++ tell of their work, and loses nothing of their errors, even if they end the process.

A process of its own reads standard error: it passes on at once what is no note or warning, and holds back the rest,
which it shows only if the work fails. So the last words of a library that aborts are seen. It runs this file alone.
"""

from __future__ import annotations

import contextlib
import os
import re
import subprocess
import sys
from collections.abc import Iterator

NOTE = re.compile(
    rb"[IW]\d{4} \d\d:\d\d:"  # of abseil, by TensorFlow and LiteRT
    rb"|\d{4}-\d\d-\d\d [^ ]+: [IW] "  # of TensorFlow
    rb"|(INFO|WARNING):"
    rb"|To enable the following instructions: "  # a second line of TensorFlow's
    rb"|.*: \w*Warning: "  # of Python, followed by the indented line that it is about
    rb"|\s*$"
)
DONE = b"\0done\n"


@contextlib.contextmanager
def quiet_libraries() -> Iterator[None]:
    """Hide the notes and warnings that are written to standard error in the block, unless it raises an error."""
    try:
        stderr_copy = os.dup(2)
    except OSError:  # it is closed
        yield
        return
    with contextlib.closing(os.fdopen(stderr_copy, "wb", buffering=0)) as shown:
        command = [sys.executable, "-I", "-S", __file__]
        try:  # in a session of its own, which Ctrl-C does not reach
            reader = subprocess.Popen(command, stdin=subprocess.PIPE, stderr=shown, start_new_session=True)
        except OSError:
            yield
            return
        assert reader.stdin is not None
        _flush()
        os.dup2(reader.stdin.fileno(), 2)
        said = b""
        try:
            yield
            said = DONE
        except Exception:
            raise
        except BaseException:  # an interrupt explains itself
            said = DONE
            raise
        finally:
            _flush()
            os.dup2(stderr_copy, 2)
            with contextlib.suppress(BrokenPipeError):
                reader.communicate(said)


def _flush() -> None:
    if sys.stderr:
        sys.stderr.flush()


def _read() -> None:
    held: list[bytes] = []
    is_note = False
    for line in sys.stdin.buffer:
        if line == DONE:
            return
        is_note = bool(NOTE.match(line)) or (is_note and line[:1].isspace())
        if is_note:
            held.append(line)
        else:
            sys.stderr.buffer.write(line)
            sys.stderr.buffer.flush()
    sys.stderr.buffer.write(b"".join(held))


if __name__ == "__main__":
    _read()
