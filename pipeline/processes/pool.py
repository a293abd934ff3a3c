"""Runs tasks in parallel, in processes of this machine or on a Ray cluster. Knows neither Optuna nor Keras.

The local processes are a Pebble pool. Rejected: `concurrent.futures` and loky, where one killed process breaks the pool
for all others, and `multiprocessing.Pool`, which waits forever for the task of a killed process. Every task gets a
process of its own, forked from a server that has imported what tasks need and done nothing else, so that it starts at
once and leaves nothing behind. Where the system does not support that, a new process is started for every few tasks.
"""

from __future__ import annotations

import contextlib
import math
import multiprocessing
import os
import signal
import sys
import threading
import time
from collections.abc import Callable, Iterable, Iterator, Sequence
from concurrent.futures import FIRST_COMPLETED, BrokenExecutor, CancelledError, Future, wait
from dataclasses import dataclass
from itertools import islice
from multiprocessing import forkserver
from multiprocessing.context import ForkServerContext
from typing import Any, ClassVar

from pebble import CONSTS, ProcessExpired, ProcessPool

from pipeline.config import first_line
from pipeline.processes.interrupts import is_interrupt, raise_interrupts
from pipeline.processes.ray_pool import SHUTDOWN_TIMEOUT_S, TASKS_PER_PROCESS, THREAD_VARIABLES, Submit, on_ray
from pipeline.processes.streams import secure_streams

MOST_NEW_SERVERS = 3  # in a row
SERVER_CHECK_S = 1
USES_FORK = sys.platform == "linux"  # elsewhere the system's own libraries do not survive a fork
# Else Python's resource tracker would report at exit, in four lines, locks that disappeared with their process.
QUIET_TRACKER = "ignore::UserWarning:multiprocessing.resource_tracker"


@dataclass(frozen=True)
class Outcome:
    """The result of a task: its return value, or a one-line error and the name of the exception."""

    value: Any = None
    error: str = ""
    kind: str = ""


def preload(*modules: str) -> None:
    """Start to import in the background the modules that `run_tasks` will need. A second call does nothing.

    The modules must not touch a device or compute anything on import.
    """
    if USES_FORK:
        os.environ.setdefault("PYTHONWARNINGS", QUIET_TRACKER)
        multiprocessing.set_forkserver_preload(list(modules))
        forkserver.ensure_running()


def run_tasks(
    task: Callable[..., object],
    jobs: Iterable[tuple[object, ...]],
    workers: int,
    ray_address: str = "",
    gpus: int = 0,
    variables: Sequence[str] = (),
    deadline: Callable[[], float] = lambda: math.inf,
) -> Iterator[Outcome]:
    """Run ``task(*job)`` for every job, ``workers`` at a time, and yield each outcome as it is ready.

    A task that raises or whose process dies does not affect the others. Closing the iterator, as an exception in the
    caller's loop does, raises KeyboardInterrupt in the tasks that still run.

    Args:
        task: a module-level function with picklable arguments and result.
        jobs: the arguments of each call; taken when a process is free for it.
        workers: number of processes; the processor's threads are divided among them.
        ray_address: empty for processes of this machine, ``local`` to start Ray here, else a cluster's address.
        gpus: GPUs of each task on a Ray cluster that has any.
        variables: names of environment variables that tasks on other machines need, beyond
            `ray_pool.CARRIED_PREFIXES`.
        deadline: returns the Unix time in seconds at which the iterator closes itself; it may change.

    Raises:
        UserError: Ray is requested but not installed, or does not answer.
    """
    queue = iter(jobs)
    backend = on_ray(task, workers, ray_address, gpus, variables) if ray_address else _run_locally(task, workers)
    with contextlib.suppress(_DeadlineReached), backend as submit:
        running = {submit(job) for job in islice(queue, workers)}
        while running:
            timeout = None if (end := deadline()) == math.inf else max(0.0, end - time.time())
            done, running = wait(running, timeout, FIRST_COMPLETED)
            if not done:
                raise _DeadlineReached
            for future in done:
                yield _outcome(future)
                running |= {submit(job) for job in islice(queue, 1)}


class _DeadlineReached(Exception):
    """The deadline has passed: interrupt the tasks that still run."""


def _outcome(future: Future[Any]) -> Outcome:
    try:
        return Outcome(future.result())
    except (ProcessExpired, BrokenExecutor) as expired:
        exit_code = getattr(expired, "exitcode", "unknown")
        text = f"its process was killed or crashed (exit code {exit_code}); it may have run out of memory"
        return Outcome(error=text, kind="ProcessExpired")
    except (Exception, KeyboardInterrupt, CancelledError) as error:
        original = getattr(error, "cause", None) or error  # Ray wraps a task's exception
        return Outcome(error=first_line(original), kind=type(original).__name__)


class _ForkServer(ForkServerContext):
    """Keeps the locks of its pools until this process ends.

    Pebble also starts a process for the task after the last one. It opens the locks by name, perhaps after the pool has
    ended.
    """

    locks: ClassVar[list[Any]] = []

    def RLock(self) -> Any:  # noqa: N802  # multiprocessing's name
        """Return a new lock."""
        self.locks.append(super().RLock())
        return self.locks[-1]


@contextlib.contextmanager
def _run_locally(task: Callable[..., object], workers: int) -> Iterator[Submit]:
    threads = max(1, (os.cpu_count() or 1) // workers) if workers > 1 else 0
    CONSTS.term_timeout = SHUTDOWN_TIMEOUT_S
    os.environ.setdefault("PYTHONWARNINGS", QUIET_TRACKER)

    def new_pool() -> ProcessPool:
        return ProcessPool(
            max_workers=workers,
            max_tasks=1 if USES_FORK else TASKS_PER_PROCESS,
            initializer=_start_process,
            initargs=(threads, dict(os.environ)),
            context=_ForkServer() if USES_FORK else multiprocessing.get_context("spawn"),
        )

    pool = new_pool()

    def submit(job: tuple[object, ...]) -> Future[Any]:
        nonlocal pool
        for _ in range(MOST_NEW_SERVERS):
            with contextlib.suppress(RuntimeError):  # the server was killed, and with it the pool
                return pool.schedule(_interruptible, args=(task, job))
            pool.stop()  # type: ignore[no-untyped-call]
            pool.join()
            pool = new_pool()
        return pool.schedule(_interruptible, args=(task, job))

    try:
        yield submit
        pool.close()  # type: ignore[no-untyped-call]
    except BaseException:
        pool.stop()  # type: ignore[no-untyped-call]
        raise
    finally:
        pool.join()


def _start_process(threads: int, environment: dict[str, str]) -> None:
    """Copy the parent's environment, limit threads before TensorFlow reads the limit, end with parent or server."""
    signal.signal(signal.SIGINT, signal.SIG_IGN)  # Ctrl-C reaches all processes; the parent forwards it as SIGTERM
    signal.signal(signal.SIGTERM, signal.SIG_DFL)  # the fork server ignores it
    secure_streams()
    os.environ.clear()
    os.environ.update(environment)
    if threads:
        os.environ.setdefault("TQDM_DISABLE", "1")  # progress bars of several processes would overwrite each other
        for name in THREAD_VARIABLES:
            os.environ.setdefault(name, str(threads))
    parent = multiprocessing.parent_process()
    assert parent is not None
    server = os.getppid()

    def end_with_parent() -> None:
        while parent.is_alive() and os.getppid() == server:  # without the server nobody is told how this ends
            parent.join(SERVER_CHECK_S)
        os.kill(os.getpid(), signal.SIGTERM)

    threading.Thread(target=end_with_parent, daemon=True).start()


def _interruptible(task: Callable[..., object], job: tuple[object, ...]) -> object:
    """Run the task so that on SIGTERM it can clean up."""
    with raise_interrupts(signal.SIGTERM, once=True):
        try:
            return task(*job)
        except BaseException as error:
            if not is_interrupt(error):
                raise
            os._exit(128 + signal.SIGTERM)
