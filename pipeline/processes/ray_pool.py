"""The tasks of `pool` on Ray, which places them on machines, restarts those whose machine dies, and carries results.

A task is restarted as often as `RESTARTS` says; it must bear that. It gets this process's code, folder and variables of
`CARRIED`, and as many threads as it has processors.
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

from pipeline.config import UserError, first_line

THREAD_VARIABLES = ("OMP_NUM_THREADS", "TF_NUM_INTRAOP_THREADS", "TF_NUM_INTEROP_THREADS")
RESTARTS = 3
TASKS_PER_PROCESS = 4  # TensorFlow takes seconds to import, and its memory grows by each training
CONNECT_S = 10
SECONDS_TO_END = 30  # that an interrupted task has to close its run
# Beginnings of the names of variables that a task sees as this process does: stores, keys to them, and TensorFlow's.
# All others, such as PATH, are the machine's own.
CARRIED = ("MLFLOW_", "PG", "OPTUNA", "AWS_", "AZURE_", "GOOGLE_", "TF_", "KERAS_", "OMP_", "PIPELINE_")

Submit = Callable[[tuple[object, ...]], Future[Any]]


@contextlib.contextmanager
def on_ray(
    task: Callable[..., object], workers: int, address: str, gpus: int, variables: Sequence[str]
) -> Iterator[Submit]:
    """Connect to Ray, or start it here, and yield what submits a job; an exception interrupts all that run.

    Args:
        task: see `pool.run_tasks`.
        workers: how many tasks run at a time; the processors are divided among them.
        address: ``local`` to start Ray here, else a cluster's address.
        gpus: that each task gets where the cluster has any.
        variables: further names of variables to carry over.

    Raises:
        UserError: Ray is not installed, does not answer, or has no room for any task.
    """
    ray = _imported(address)
    _connect(ray, address, workers, {_code_of(task), _code_of(_on_node)})
    try:
        cpus, gpus = share([node["Resources"] for node in ray.nodes() if node["Alive"]], workers, gpus)
        surroundings = (os.getcwd(), _carried(os.environ, variables), cpus)
        options = {"num_cpus": cpus, "num_gpus": gpus, "max_retries": RESTARTS}
        remote = ray.remote(**options, max_calls=1 if gpus else TASKS_PER_PROCESS)(_on_node)
        running: set[Any] = set()

        def submit(job: tuple[object, ...]) -> Future[Any]:
            reference = remote.remote(*surroundings, pickle.dumps((task, job)))
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


def _imported(address: str) -> Any:
    try:
        import ray
    except ImportError:
        raise UserError(f"ray_address needs the extra ray, got {address!r} (pip install '.[ray]')") from None
    return ray


def share(nodes: Sequence[Mapping[str, float]], workers: int, gpus: int) -> tuple[int, int]:
    """Return the processors and GPUs of each task: as many as leave room for ``workers`` tasks on these nodes.

    Raises:
        UserError: no node has so many GPUs.
    """
    processors = [int(node.get("CPU", 0)) for node in nodes]
    wanted = gpus if any(node.get("GPU") for node in nodes) else 0
    if wanted > max((node.get("GPU", 0) for node in nodes), default=0):
        raise UserError(f"devices must be at most the GPUs of one node of the cluster, got {gpus} (try devices=1)")
    most = max(processors, default=0)
    fitting = (cpus for cpus in range(most, 0, -1) if sum(count // cpus for count in processors) >= workers)
    return next(fitting, 1), wanted


def _connect(ray: Any, address: str, workers: int, code: set[str]) -> None:
    os.environ.setdefault("RAY_USAGE_STATS_ENABLED", "0")  # it would report to its makers
    os.environ.setdefault("RAY_ACCEL_ENV_VAR_OVERRIDE_ON_ZERO", "0")  # a task without GPUs leaves the variables alone
    here = {"num_cpus": max(workers, os.cpu_count() or 1), "include_dashboard": False} if address == "local" else {}
    before = signal.getsignal(signal.SIGTERM)
    try:
        _reach(address)
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
        signal.signal(signal.SIGTERM, before)  # Ray takes it for itself


def _reach(address: str) -> None:
    """Raise OSError if nobody listens at HOST:PORT, of which Ray is sure after fifteen minutes only."""
    host, _, port = address.rpartition(":")
    if host and "/" not in host and port.isdigit():
        socket.create_connection((host.strip("[]"), int(port)), timeout=CONNECT_S).close()


def _code_of(task: Callable[..., object]) -> str:
    """Return the folder of the package, or the file of the module, that a task is from."""
    file = Path(str(sys.modules[task.__module__.partition(".")[0]].__file__))
    return str(file.parent if file.name == "__init__.py" else file)


def _carried(environment: Mapping[str, str], variables: Sequence[str]) -> dict[str, str]:
    return {name: text for name, text in environment.items() if name.startswith(CARRIED) or name in variables}


def _on_node(folder: str, variables: Mapping[str, str], cpus: int, task_and_job: bytes) -> object:
    """Run a task in surroundings like the caller's. What it needs is imported only then, and so sees them."""
    try:
        Path(folder).mkdir(parents=True, exist_ok=True)
        os.chdir(folder)
    except OSError as error:
        raise UserError(
            f"the folder in which the command was given must exist on every node, or be made there, got "
            f"{error.strerror} for {folder} on {socket.gethostname()} (give the command in another folder)"
        ) from None
    os.environ.update({name: str(cpus) for name in THREAD_VARIABLES} | {"TQDM_DISABLE": "1"} | dict(variables))
    signal.signal(signal.SIGINT, signal.default_int_handler)  # by which Ray interrupts a task
    task, job = pickle.loads(task_and_job)
    return task(*job)


def _interrupt(ray: Any, running: list[Any]) -> None:
    """Raise KeyboardInterrupt in the tasks that run, give them time to close what they have open, and end the rest."""
    for reference in running:
        ray.cancel(reference)
    _, left = ray.wait(running, num_returns=len(running), timeout=SECONDS_TO_END) if running else ([], [])
    for reference in left:
        ray.cancel(reference, force=True)
