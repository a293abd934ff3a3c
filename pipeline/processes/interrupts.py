"""Defers Ctrl-C and SIGTERM until the work has reached a point where it can be saved."""

from __future__ import annotations

import contextlib
import signal
import threading
from collections.abc import Callable, Iterator
from types import FrameType

SIGNALS = (signal.SIGINT, signal.SIGTERM)
_raised: list[int] = []  # signals that `interrupt_once` has raised in this process


def interrupt_once(signum: int, frame: FrameType | None) -> None:
    """Raise KeyboardInterrupt: a signal handler. Ignore the signal from then on, so as not to interrupt the cleanup."""
    signal.signal(signum, signal.SIG_IGN)
    _raised.append(signum)
    raise KeyboardInterrupt


@contextlib.contextmanager
def defer_interrupts() -> Iterator[Callable[[], bool]]:
    """Yield a function that returns whether an interrupt is pending; a second interrupt is not deferred.

    One that `interrupt_once` has already raised counts as pending, too: some code in TensorFlow catches all exceptions.

    The block polls the function and stops in its own way; an interrupt still pending at its end is raised as
    KeyboardInterrupt. Outside the main thread, where Python receives no signals, nothing is deferred.
    """
    if threading.current_thread() is not threading.main_thread():
        yield lambda: False
        return
    pending: list[int] = []
    previous_handlers = {number: signal.getsignal(number) for number in SIGNALS}

    def record(signum: int, frame: FrameType | None) -> None:
        pending.append(signum)
        for number, handler in previous_handlers.items():
            signal.signal(number, handler)

    for number in SIGNALS:
        signal.signal(number, record)
    try:
        yield lambda: bool(pending or _raised)
    finally:
        for number, handler in previous_handlers.items():
            signal.signal(number, handler)
    if pending or _raised:
        raise KeyboardInterrupt
