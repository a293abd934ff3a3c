"""Runs tasks side by side, in processes of this machine or on a Ray cluster. Knows neither Optuna nor Keras.

The local processes are a Pebble pool: in `concurrent.futures` and loky one killed process breaks the pool for all
others, and `multiprocessing.Pool` waits for ever for what a killed one was to do. Every task gets a process of its own,
a fork of one that has imported what tasks need and done nothing else, so that it begins at once and leaves nothing.
Where the system does not bear that, a process is started anew for every few tasks.
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
from concurrent.futures import FIRST_COMPLETED, CancelledError, Future, wait
from dataclasses import dataclass
from itertools import islice
from multiprocessing import forkserver
from multiprocessing.context import ForkServerContext
from typing import Any, ClassVar

from pebble import CONSTS, ProcessExpired, ProcessPool

from pipeline.config import first_line
from pipeline.processes.interrupts import interrupt_once
from pipeline.processes.ray_pool import SECONDS_TO_END, TASKS_PER_PROCESS, THREAD_VARIABLES, Submit, on_ray

FORKS = sys.platform == "linux"  # elsewhere the system's own libraries do not survive it
# Python's tracker of shared resources would report at the end, in four lines, locks that went with their process.
QUIET_TRACKER = "ignore::UserWarning:multiprocessing.resource_tracker"


@dataclass(frozen=True)
class Outcome:
    """What became of a task: the value it returned, or what went wrong in one line, and the name of the exception."""

    value: Any = None
    error: str = ""
    kind: str = ""


def preload(*modules: str) -> None:
    """Begin to import in the background what the tasks of `run_tasks` will need. Does nothing the second time.

    The modules must touch no device and compute nothing as they are imported.
    """
    if FORKS:
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
    deadline: float = math.inf,
) -> Iterator[Outcome]:
    """Run ``task(*job)`` for every job, ``workers`` of them at a time, and yield each outcome as it comes.

    A task that raises or whose process dies takes nothing else with it. Closing the iterator, as an exception in the
    loop around it does, interrupts the tasks that still run: they see a KeyboardInterrupt.

    Args:
        task: a function of a module, with arguments and a result that can be pickled.
        jobs: the arguments of each call.
        workers: number of processes; the processor's threads are divided among them.
        ray_address: empty for processes of this machine, ``local`` to start Ray here, else a cluster's address.
        gpus: that each task gets on a Ray cluster that has any.
        variables: names of variables that tasks on other machines need, beyond `ray_pool.CARRIED`.
        deadline: seconds since the epoch at which the iterator closes itself.

    Raises:
        UserError: Ray is wanted and not installed, or does not answer.
    """
    queue = iter(jobs)
    placed = on_ray(task, workers, ray_address, gpus, variables) if ray_address else _locally(task, workers)
    with contextlib.suppress(_TimeIsUp), placed as submit:
        running = {submit(job) for job in islice(queue, workers)}
        while running:
            timeout = None if deadline == math.inf else max(0.0, deadline - time.time())
            done, running = wait(running, timeout, FIRST_COMPLETED)
            if not done:
                raise _TimeIsUp
            for future in done:
                yield _outcome(future)
                running |= {submit(job) for job in islice(queue, 1)}


class _TimeIsUp(Exception):
    """The tasks that still run are to be interrupted."""


def _outcome(future: Future[Any]) -> Outcome:
    try:
        return Outcome(future.result())
    except ProcessExpired as death:
        text = f"its process was killed or crashed (exit code {death.exitcode}); was memory short?"
        return Outcome(error=text, kind="ProcessExpired")
    except (Exception, KeyboardInterrupt, CancelledError) as error:
        cause = getattr(error, "cause", None) or error  # Ray wraps what a task raises
        return Outcome(error=first_line(cause), kind=type(cause).__name__)


class _ForkServer(ForkServerContext):
    """Keeps the locks of its pools until this process ends.

    Pebble begins a process for the task after the last one, too, which opens them by name; it may come to that after
    the pool has ended.
    """

    locks: ClassVar[list[Any]] = []

    def RLock(self) -> Any:  # noqa: N802  # multiprocessing's name
        """Return a new lock."""
        self.locks.append(super().RLock())
        return self.locks[-1]


@contextlib.contextmanager
def _locally(task: Callable[..., object], workers: int) -> Iterator[Submit]:
    threads = max(1, (os.cpu_count() or 1) // workers) if workers > 1 else 0
    CONSTS.term_timeout = SECONDS_TO_END
    os.environ.setdefault("PYTHONWARNINGS", QUIET_TRACKER)
    pool = ProcessPool(
        max_workers=workers,
        max_tasks=1 if FORKS else TASKS_PER_PROCESS,
        initializer=_begin_process,
        initargs=(threads, dict(os.environ)),
        context=_ForkServer() if FORKS else multiprocessing.get_context("spawn"),
    )
    try:
        yield lambda job: pool.schedule(_interruptible, args=(task, job))
        pool.close()  # type: ignore[no-untyped-call]
    except BaseException:
        pool.stop()  # type: ignore[no-untyped-call]
        raise
    finally:
        pool.join()


def _begin_process(threads: int, environment: dict[str, str]) -> None:
    """Take the parent's environment, and a share of the threads before TensorFlow asks; end when the parent ends."""
    signal.signal(signal.SIGINT, signal.SIG_IGN)  # Ctrl-C reaches all processes; a parent hands it on as SIGTERM
    signal.signal(signal.SIGTERM, signal.SIG_DFL)  # which the process that this is a fork of ignores
    os.environ.clear()
    os.environ.update(environment)
    if threads:
        os.environ.setdefault("TQDM_DISABLE", "1")  # bars of several processes would overwrite each other
        for name in THREAD_VARIABLES:
            os.environ.setdefault(name, str(threads))
    parent = multiprocessing.parent_process()
    assert parent is not None

    def end_with_parent() -> None:
        parent.join()
        os.kill(os.getpid(), signal.SIGTERM)

    threading.Thread(target=end_with_parent, daemon=True).start()


def _interruptible(task: Callable[..., object], job: tuple[object, ...]) -> object:
    """Run the task so that SIGTERM lets it close what it has open."""
    before = signal.signal(signal.SIGTERM, interrupt_once)
    try:
        return task(*job)
    except KeyboardInterrupt:
        os._exit(128 + signal.SIGTERM)
    finally:
        signal.signal(signal.SIGTERM, before)
