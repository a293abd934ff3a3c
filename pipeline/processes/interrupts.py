"""Raises Ctrl-C and SIGTERM as KeyboardInterrupt, reliably, and where the work can be saved."""

from __future__ import annotations

import contextlib
import os
import signal
import sys
import threading
from collections.abc import Callable, Iterator
from types import FrameType
from typing import TYPE_CHECKING

from pipeline.config import UserError

if TYPE_CHECKING:
    from sys import UnraisableHookArgs

SIGNALS = (signal.SIGINT, signal.SIGTERM)
AGAIN_AFTER_S = 0.05  # when the callback is over
_arrived: list[int] = []  # the signals that have come in the block of `raise_interrupts`


@contextlib.contextmanager
def raise_interrupts(*signals: signal.Signals, once: bool = False) -> Iterator[None]:
    """Raise KeyboardInterrupt in the block on each of the signals, but for those that the process ignores.

    Where Python drops it, because it was raised in a callback of the garbage collector, it is raised again. What a
    library has made of one leaves the block as KeyboardInterrupt, too.

    Args:
        signals: which.
        once: ignore a signal after its first time, so as not to interrupt the cleanup.
    """

    def interrupt(signum: int, frame: FrameType | None) -> None:
        if once:
            signal.signal(signum, signal.SIG_IGN)
        _arrived.append(signum)
        raise KeyboardInterrupt

    def raise_dropped(dropped: UnraisableHookArgs) -> None:
        if not issubclass(dropped.exc_type, KeyboardInterrupt) or not _arrived:
            previous_hook(dropped)
            return
        signal.signal(_arrived[-1], interrupt)
        timers.append(threading.Timer(AGAIN_AFTER_S, os.kill, (os.getpid(), _arrived[-1])))
        timers[-1].start()

    timers: list[threading.Timer] = []
    _arrived.clear()
    previous_hook, sys.unraisablehook = sys.unraisablehook, raise_dropped
    previous_handlers = {number: signal.getsignal(number) for number in signals}
    for number in signals:
        if previous_handlers[number] != signal.SIG_IGN:
            signal.signal(number, interrupt)
    try:
        yield
    except Exception as error:
        if is_interrupt(error):
            raise KeyboardInterrupt from error
        raise
    finally:
        _arrived.clear()  # or an error of later work would count as an interrupt
        sys.unraisablehook = previous_hook
        for timer in timers:
            timer.cancel()
        for number, handler in previous_handlers.items():
            signal.signal(number, handler)


def is_interrupt(error: BaseException) -> bool:
    """Return whether the error is an interrupt, or what a library that catches all exceptions has made of one.

    What a user can mend, and what the system refused, such as a write to a full disk, is what it says it is.
    """
    return isinstance(error, KeyboardInterrupt) or (bool(_arrived) and not isinstance(error, UserError | OSError))


@contextlib.contextmanager
def defer_interrupts() -> Iterator[Callable[[], bool]]:
    """Yield a function that returns whether an interrupt is pending; a second interrupt is not deferred.

    One that has already been raised counts as pending, too: some code in TensorFlow catches all exceptions.

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
        yield lambda: bool(pending or _arrived)
    finally:
        for number, handler in previous_handlers.items():
            signal.signal(number, handler)
    if pending or _arrived:
        raise KeyboardInterrupt
