"""Ctrl-C and SIGTERM held back until the work between them is at a point where it can be kept."""

from __future__ import annotations

import contextlib
import signal
import threading
from collections.abc import Callable, Iterator
from types import FrameType

SIGNALS = (signal.SIGINT, signal.SIGTERM)
_raised: list[int] = []  # signals that have interrupted this process


def interrupt_once(signum: int, frame: FrameType | None) -> None:
    """Raise KeyboardInterrupt: a handler. From then on the signal is ignored, so as not to interrupt the closing."""
    signal.signal(signum, signal.SIG_IGN)
    _raised.append(signum)
    raise KeyboardInterrupt


@contextlib.contextmanager
def hold_interrupts() -> Iterator[Callable[[], bool]]:
    """Yield a function that says whether an interruption is waiting; the second one is not held back.

    One that `interrupt_once` has raised before waits, too: TensorFlow has places that catch whatever is raised.

    The block asks and ends in its own way; what still waits at its end is raised as KeyboardInterrupt. Outside the main
    thread, where Python sees no signals, nothing is held back.
    """
    if threading.current_thread() is not threading.main_thread():
        yield lambda: False
        return
    waiting: list[int] = []
    before = {number: signal.getsignal(number) for number in SIGNALS}

    def note(signum: int, frame: FrameType | None) -> None:
        waiting.append(signum)
        for number, handler in before.items():
            signal.signal(number, handler)

    for number in SIGNALS:
        signal.signal(number, note)
    try:
        yield lambda: bool(waiting or _raised)
    finally:
        for number, handler in before.items():
            signal.signal(number, handler)
    if waiting or _raised:
        raise KeyboardInterrupt
