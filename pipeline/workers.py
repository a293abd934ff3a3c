"""Runs tasks side by side, in processes of this machine or on a Ray cluster. Knows neither Optuna nor Keras.

The local processes are a Pebble pool: in `concurrent.futures` and loky one killed process breaks the pool for all
others, and `multiprocessing.Pool` waits for ever for what a killed one was to do. Every task gets a process of its own,
a fork of one that has imported what tasks need and done nothing else, so that it begins at once and leaves nothing.
Where the system does not bear that, a process is started anew for every few tasks.
"""

from __future__ import annotations

import contextlib
import multiprocessing
import os
import signal
import sys
import threading
from collections.abc import Callable, Iterable, Iterator
from concurrent.futures import FIRST_COMPLETED, CancelledError, Future, wait
from dataclasses import dataclass
from itertools import islice
from multiprocessing import forkserver
from types import FrameType
from typing import Any

from pebble import CONSTS, ProcessExpired, ProcessPool

from pipeline.config import UserError, first_line

THREAD_VARIABLES = ("OMP_NUM_THREADS", "TF_NUM_INTRAOP_THREADS", "TF_NUM_INTEROP_THREADS")
TASKS_PER_PROCESS = 4  # where it is not forked; then a new one takes over: TensorFlow's memory grows by each training
FORKS = sys.platform == "linux"  # elsewhere the system's own libraries do not survive it
# Python's tracker of shared resources would report at the end, in four lines, locks that went with their process.
QUIET_TRACKER = "ignore::UserWarning:multiprocessing.resource_tracker"
SECONDS_TO_END = 30  # that an interrupted task has to close its run

Submit = Callable[[tuple[object, ...]], Future[Any]]


@dataclass(frozen=True)
class Outcome:
    """What became of a task: the value it returned, or what went wrong in one line, and the name of the exception."""

    value: Any = None
    error: str = ""
    kind: str = ""


def warm_up(*modules: str) -> None:
    """Begin to import in the background what the tasks of `run_tasks` will need; does nothing the second time.

    The modules must touch no device and compute nothing as they are imported.
    """
    if FORKS:
        os.environ.setdefault("PYTHONWARNINGS", QUIET_TRACKER)
        multiprocessing.set_forkserver_preload(list(modules))
        forkserver.ensure_running()


def run_tasks(
    task: Callable[..., object], jobs: Iterable[tuple[object, ...]], workers: int, ray_address: str = ""
) -> Iterator[Outcome]:
    """Run ``task(*job)`` for every job, ``workers`` of them at a time, and yield each outcome as it comes.

    A task that raises or whose process dies takes nothing else with it. Closing the iterator, as an exception in the
    loop around it does, interrupts the tasks that still run: they see a KeyboardInterrupt.

    Args:
        task: a function of a module, with arguments and a result that can be pickled.
        jobs: the arguments of each call.
        workers: number of processes; the processor's threads are divided among them.
        ray_address: empty for processes of this machine, ``local`` to start Ray here, else a cluster's address.

    Raises:
        UserError: Ray is wanted and not installed, or does not answer.
    """
    queue = iter(jobs)
    with _on_ray(task, ray_address) if ray_address else _locally(task, workers) as submit:
        running = {submit(job) for job in islice(queue, workers)}
        while running:
            done, running = wait(running, return_when=FIRST_COMPLETED)
            for future in done:
                yield _outcome(future)
                running |= {submit(job) for job in islice(queue, 1)}


def _outcome(future: Future[Any]) -> Outcome:
    try:
        return Outcome(future.result())
    except ProcessExpired as death:
        text = f"its process was killed or crashed (exit code {death.exitcode}); was memory short?"
        return Outcome(error=text, kind="ProcessExpired")
    except (Exception, KeyboardInterrupt, CancelledError) as error:
        return Outcome(error=first_line(error), kind=type(error).__name__)


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
        context=multiprocessing.get_context("forkserver" if FORKS else "spawn"),
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
    signal.signal(signal.SIGINT, signal.default_int_handler)  # the process that this is a fork of ignores both
    signal.signal(signal.SIGTERM, signal.SIG_DFL)
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
    before = signal.signal(signal.SIGTERM, _interrupt)
    try:
        return task(*job)
    except KeyboardInterrupt:
        os._exit(128 + signal.SIGTERM)
    finally:
        signal.signal(signal.SIGTERM, before)


def _interrupt(signum: int, frame: FrameType | None) -> None:
    signal.signal(signal.SIGTERM, signal.SIG_IGN)  # a second one shall not interrupt the closing
    raise KeyboardInterrupt


@contextlib.contextmanager
def _on_ray(task: Callable[..., object], address: str) -> Iterator[Submit]:
    try:
        import ray
    except ImportError:
        raise UserError(f"ray_address needs the extra ray, got {address!r} (pip install '.[ray]')") from None
    try:
        ray.init(address=None if address == "local" else address, ignore_reinit_error=True, log_to_driver=True)
    except (ConnectionError, ValueError, RuntimeError) as error:
        raise UserError(
            f"ray_address must be local or a running cluster, got {address!r}: {first_line(error)}"
        ) from None
    remote = ray.remote(num_cpus=1, max_retries=0, max_calls=TASKS_PER_PROCESS)(_in_folder)
    try:
        yield lambda job: remote.remote(os.getcwd(), task, job).future()
    finally:
        ray.shutdown()


def _in_folder(folder: str, task: Callable[..., object], job: tuple[object, ...]) -> object:
    os.chdir(folder)  # Ray starts its workers elsewhere, and data/ and mlruns/ are relative
    return task(*job)
