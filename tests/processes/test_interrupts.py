"""Interruptions wait for a point at which the work can be kept, and are not lost."""

from __future__ import annotations

import errno
import os
import signal
import threading
import time
import weakref

import pytest

from pipeline.config import UserError
from pipeline.processes import SIGNALS, defer_interrupts, is_interrupt, raise_interrupts


@pytest.fixture(autouse=True)
def _handlers_stay() -> object:
    found = signal.signal(signal.SIGINT, signal.default_int_handler)  # a shell's background process ignores it
    before = [signal.getsignal(number) for number in SIGNALS]
    yield
    assert [signal.getsignal(number) for number in SIGNALS] == before
    signal.signal(signal.SIGINT, found)


@pytest.mark.parametrize("number", SIGNALS)
def test_the_block_is_told_and_the_interruption_comes_at_its_end(number: int) -> None:
    told = []

    def work() -> None:
        with defer_interrupts() as interrupted:
            told.append(interrupted())
            os.kill(os.getpid(), number)
            told.append(interrupted())

    with pytest.raises(KeyboardInterrupt):
        work()
    assert told == [False, True]


def _interrupt() -> None:
    os.kill(os.getpid(), signal.SIGTERM)


def test_an_interruption_that_something_has_caught_is_not_lost() -> None:
    with raise_interrupts(signal.SIGTERM, once=True):
        with pytest.raises(KeyboardInterrupt):
            _interrupt()
        _interrupt()  # which is ignored from then on
        with pytest.raises(KeyboardInterrupt), defer_interrupts() as interrupted:
            assert interrupted()
        assert is_interrupt(RuntimeError("what a library has made of it"))
        assert not is_interrupt(UserError("what the user can mend"))
        assert not is_interrupt(OSError(errno.ENOSPC, "what the system refused, perhaps as the work was being saved"))
    assert not is_interrupt(RuntimeError("of later work"))


@pytest.mark.parametrize(
    ("error", "leaves_as"),
    [
        (RuntimeError("what a library has made of it"), KeyboardInterrupt),
        (UserError("what a user can mend"), UserError),
    ],
)
def test_what_a_library_makes_of_an_interrupt_leaves_as_one(error: Exception, leaves_as: type[BaseException]) -> None:
    def library() -> None:
        try:
            _interrupt()
        except KeyboardInterrupt:
            raise error from None

    with pytest.raises(leaves_as), raise_interrupts(signal.SIGTERM):
        library()


@pytest.mark.parametrize("once", [True, False])
def test_an_interruption_in_a_callback_of_the_garbage_collector_comes_after_it(once: bool) -> None:
    class Photo:
        pass

    def work() -> None:
        photo = Photo()
        callback = weakref.ref(photo, lambda _: _interrupt())
        with raise_interrupts(signal.SIGTERM, once=once):
            del photo
            assert callback() is None
            time.sleep(10)

    with pytest.raises(KeyboardInterrupt):
        work()


def test_a_signal_that_the_process_ignores_stays_ignored() -> None:
    before = signal.signal(signal.SIGTERM, signal.SIG_IGN)
    try:
        with raise_interrupts(*SIGNALS):
            _interrupt()
    finally:
        signal.signal(signal.SIGTERM, before)


def test_a_second_interruption_is_not_held_back() -> None:
    done = []

    def work() -> None:
        with defer_interrupts():
            for number in ("first", "second", "third"):
                os.kill(os.getpid(), signal.SIGINT)
                done.append(number)

    with pytest.raises(KeyboardInterrupt):
        work()
    assert done == ["first"]


def test_without_an_interruption_nothing_happens_and_errors_pass() -> None:
    with defer_interrupts() as interrupted:
        assert not interrupted()
    with pytest.raises(ZeroDivisionError), defer_interrupts():
        1 / 0  # noqa: B018


def test_outside_the_main_thread_nothing_is_held_back() -> None:
    told = []

    def work() -> None:
        with defer_interrupts() as interrupted:
            told.append(interrupted())

    thread = threading.Thread(target=work)
    thread.start()
    thread.join()
    assert told == [False]
