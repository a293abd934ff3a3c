"""Runs the tasks of `pool` on Ray, which schedules them, restarts those whose machine dies, and returns results.

A task is restarted up to `MAX_RETRIES` times, so it must be restartable. It gets this process's code, working folder
and the environment variables of `CARRIED_PREFIXES`, and as many threads as it has CPUs.
"""

from __future__ import annotations

import contextlib
import os
import pickle
import signal
import socket
import sys
import threading
from collections.abc import Callable, Iterator, Mapping, Sequence
from concurrent.futures import Future
from pathlib import Path
from typing import Any

from pipeline.config import UserError, first_line, install_command
from pipeline.processes.interrupts import raise_interrupts

THREAD_VARIABLES = ("OMP_NUM_THREADS", "TF_NUM_INTRAOP_THREADS", "TF_NUM_INTEROP_THREADS")
MAX_RETRIES = 3
TASKS_PER_PROCESS = 4  # TensorFlow takes seconds to import, and its memory grows with each training
CONNECT_TIMEOUT_S = 10
SHUTDOWN_TIMEOUT_S = 30  # for an interrupted task to close its run
# Prefixes of the environment variables that are copied to a task: stores, their credentials, and TensorFlow's. All
# others, such as PATH, are those of its machine.
CARRIED_PREFIXES = ("MLFLOW_", "PG", "OPTUNA", "AWS_", "AZURE_", "GOOGLE_", "TF_", "KERAS_", "OMP_", "PIPELINE_")

Submit = Callable[[tuple[object, ...]], Future[Any]]


@contextlib.contextmanager
def on_ray(
    task: Callable[..., object], workers: int, address: str, gpus: int, variables: Sequence[str]
) -> Iterator[Submit]:
    """Connect to Ray, or start it here, and yield a function that submits a job; an exception interrupts all jobs.

    Args:
        task: see `pool.run_tasks`.
        workers: number of tasks at a time; the CPUs are divided among them.
        address: ``local`` to start Ray here, else a cluster's address.
        gpus: GPUs of each task if the cluster has any.
        variables: names of further environment variables to copy.

    Raises:
        UserError: Ray is not installed, does not answer, or has no resources for any task.
    """
    ray = _import_ray(address)
    _connect(ray, address, workers, {_code_of(task), _code_of(_on_node)})
    try:
        cpus, gpus = resources_per_task([node["Resources"] for node in ray.nodes() if node["Alive"]], workers, gpus)
        context = (os.getcwd(), _carried_variables(os.environ, variables), cpus)
        options = {"num_cpus": cpus, "num_gpus": gpus, "max_retries": MAX_RETRIES}
        remote = ray.remote(**options, max_calls=1 if gpus else TASKS_PER_PROCESS)(_on_node)
        running: set[Any] = set()

        def submit(job: tuple[object, ...]) -> Future[Any]:
            reference = remote.remote(*context, pickle.dumps((task, job)))
            running.add(reference)
            future: Future[Any] = reference.future()
            future.add_done_callback(lambda _: running.discard(reference))
            return future

        try:
            yield submit
        except BaseException:
            _interrupt(ray, list(running))
            raise
    finally:
        ray.shutdown()


def _import_ray(address: str) -> Any:
    try:
        import ray
    except ImportError:
        raise UserError(f"ray_address needs the extra ray, got {address!r} ({install_command('ray')})") from None
    return ray


def resources_per_task(nodes: Sequence[Mapping[str, float]], workers: int, gpus: int) -> tuple[int, int]:
    """Return the CPUs and GPUs of each task: the most with which ``workers`` tasks fit on these nodes.

    Raises:
        UserError: no node has this many GPUs.
    """
    processors = [int(node.get("CPU", 0)) for node in nodes]
    gpus_per_task = gpus if any(node.get("GPU") for node in nodes) else 0
    if gpus_per_task > max((node.get("GPU", 0) for node in nodes), default=0):
        raise UserError(f"devices must be at most the GPUs of one node of the cluster, got {gpus} (try devices=1)")
    max_cpus = max(processors, default=0)
    feasible = (cpus for cpus in range(max_cpus, 0, -1) if sum(count // cpus for count in processors) >= workers)
    return next(feasible, 1), gpus_per_task


def _connect(ray: Any, address: str, workers: int, code: set[str]) -> None:
    os.environ.setdefault("RAY_USAGE_STATS_ENABLED", "0")  # no telemetry
    os.environ.setdefault("RAY_ACCEL_ENV_VAR_OVERRIDE_ON_ZERO", "0")  # a task without GPUs keeps these variables
    here = {"num_cpus": max(workers, os.cpu_count() or 1), "include_dashboard": False} if address == "local" else {}
    previous_handler = signal.getsignal(signal.SIGTERM)
    try:
        _check_reachable(address)
        ray.init(
            address=address,
            logging_level="warning",
            runtime_env={"py_modules": sorted(code), "excludes": ["**/__pycache__"]},
            **here,
        )
    except (OSError, ValueError, RuntimeError) as error:
        raise UserError(
            f"ray_address must be local or a running cluster, got {address!r}: {first_line(error)} (ray status)"
        ) from None
    if threading.current_thread() is threading.main_thread():
        signal.signal(signal.SIGTERM, previous_handler)  # Ray installs its own handler


def _check_reachable(address: str) -> None:
    """Raise OSError if nothing listens at HOST:PORT, which Ray itself reports only after fifteen minutes."""
    host, _, port = address.rpartition(":")
    if host and "/" not in host and port.isdigit():
        socket.create_connection((host.strip("[]"), int(port)), timeout=CONNECT_TIMEOUT_S).close()


def _code_of(task: Callable[..., object]) -> str:
    """Return the folder of the package, or the file of the module, that defines a task."""
    file = Path(str(sys.modules[task.__module__.partition(".")[0]].__file__))
    return str(file.parent if file.name == "__init__.py" else file)


def _carried_variables(environment: Mapping[str, str], variables: Sequence[str]) -> dict[str, str]:
    return {name: text for name, text in environment.items() if name.startswith(CARRIED_PREFIXES) or name in variables}


def _on_node(folder: str, variables: Mapping[str, str], cpus: int, task_and_job: bytes) -> object:
    """Run a task in the caller's working folder and environment, set before the task's modules are imported."""
    try:
        Path(folder).mkdir(parents=True, exist_ok=True)
        os.chdir(folder)
    except OSError as error:
        raise UserError(
            f"the working folder must exist on every node, or be creatable there, got "
            f"{error.strerror} for {folder} on {socket.gethostname()} (run the command in another folder)"
        ) from None
    os.environ.update({name: str(cpus) for name in THREAD_VARIABLES} | {"TQDM_DISABLE": "1"} | dict(variables))
    signal.signal(signal.SIGINT, signal.default_int_handler)  # Ray interrupts a task by SIGINT
    task, job = pickle.loads(task_and_job)
    with raise_interrupts(signal.SIGINT):
        return task(*job)


def _interrupt(ray: Any, running: list[Any]) -> None:
    """Raise KeyboardInterrupt in the running tasks, give them time to clean up, and kill the rest."""
    for reference in running:
        ray.cancel(reference)
    _, unfinished = ray.wait(running, num_returns=len(running), timeout=SHUTDOWN_TIMEOUT_S) if running else ([], [])
    for reference in unfinished:
        ray.cancel(reference, force=True)
