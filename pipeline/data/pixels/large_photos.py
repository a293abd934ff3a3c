"""Large photos take turns, so that memory stays bounded however many threads and processes decode.

A progressive JPEG of 200 megapixels takes 0.6 to 1.2 GB while it is decoded, at whatever scale. Within a process a lock
of threads gives the turns; processes that work together share a lock of theirs (`share_turns`).
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager, contextmanager, nullcontext
from threading import Lock

LARGE_PIXELS = 50_000_000  # a photo with more is decoded alone

_threads = Lock()
_turn_of_process: Callable[[], AbstractContextManager[object]] = nullcontext


def share_turns(turn_of_process: Callable[[], AbstractContextManager[object]]) -> None:
    """From now on take turns with other processes, too: ``turn_of_process`` is called and entered for a large photo."""
    global _turn_of_process
    _turn_of_process = turn_of_process


@contextmanager
def turn(pixels: int) -> Iterator[None]:
    """Wait, before a photo of so many pixels is decoded, until no other large one is being decoded."""
    if pixels <= LARGE_PIXELS:
        yield
        return
    with _threads, _turn_of_process():
        yield
