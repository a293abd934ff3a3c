"""Runs one function in several processes, on this machine or on a Ray cluster. Knows neither Optuna nor Keras.

`concurrent.futures` was not taken for local processes: one worker killed from outside breaks its whole pool.
"""

from __future__ import annotations

import multiprocessing
import os
import sys
from collections.abc import Callable

from pipeline.config import UserError

THREAD_VARIABLES = ("OMP_NUM_THREADS", "TF_NUM_INTRAOP_THREADS", "TF_NUM_INTEROP_THREADS")


def run_workers(task: Callable[..., None], arguments: tuple[object, ...], count: int, ray_address: str = "") -> int:
    """Run ``task(*arguments, worker)`` for worker = 0 .. count - 1 and wait for all of them.

    Args:
        task: a function of a module, with arguments that can be pickled.
        arguments: what every worker gets.
        count: number of workers; a single local one runs in this process.
        ray_address: empty for local processes, ``local`` to start Ray here, else a cluster's address.

    Returns:
        The number of workers that died or raised.

    Raises:
        UserError: Ray is wanted and not installed, or does not answer.
    """
    if ray_address:
        return _run_on_ray(task, arguments, count, ray_address)
    if count == 1:
        task(*arguments, 0)
        return 0
    return _run_in_processes(task, arguments, count)


def _run_in_processes(task: Callable[..., None], arguments: tuple[object, ...], count: int) -> int:
    threads = str(max(1, (os.cpu_count() or 1) // count))
    before = {name: os.environ.get(name) for name in THREAD_VARIABLES}
    os.environ.update({name: before[name] or threads for name in THREAD_VARIABLES})
    try:
        context = multiprocessing.get_context("spawn")  # TensorFlow does not survive a fork
        processes = [context.Process(target=_in_process, args=(task, arguments, worker)) for worker in range(count)]
        for process in processes:
            process.start()
    finally:
        for name, value in before.items():
            os.environ.pop(name) if value is None else os.environ.update({name: value})
    try:
        for process in processes:
            process.join()
    except KeyboardInterrupt:
        for process in processes:
            process.terminate()
        for process in processes:
            process.join()
        raise
    return sum(process.exitcode != 0 for process in processes)


def _in_process(task: Callable[..., None], arguments: tuple[object, ...], worker: int) -> None:
    try:
        task(*arguments, worker)
    except UserError as error:
        sys.exit(f"worker {worker}: error: {error}")


def _run_on_ray(task: Callable[..., None], arguments: tuple[object, ...], count: int, address: str) -> int:
    try:
        import ray
    except ImportError:
        raise UserError(f"ray_address needs the extra ray, got {address!r} (pip install '.[ray]')") from None
    try:
        ray.init(address=None if address == "local" else address, ignore_reinit_error=True, log_to_driver=True)
    except (ConnectionError, ValueError, RuntimeError) as error:
        raise UserError(f"ray_address must be local or a running cluster, got {address!r}: {error}") from None
    remote = ray.remote(num_cpus=1, max_retries=0)(_in_folder)
    waiting = [remote.remote(os.getcwd(), task, arguments, worker) for worker in range(count)]
    failed = 0
    for result in waiting:
        try:
            ray.get(result)
        except (ray.exceptions.RayTaskError, ray.exceptions.WorkerCrashedError) as error:
            print(f"a worker on Ray ended early: {str(error).splitlines()[-1]}", flush=True)
            failed += 1
    ray.shutdown()
    return failed


def _in_folder(folder: str, task: Callable[..., None], arguments: tuple[object, ...], worker: int) -> None:
    os.chdir(folder)  # Ray starts its workers elsewhere, and data/ and mlruns/ are relative
    task(*arguments, worker)
