"""Runs searches that are killed, for `test_killed_searches`: imports once, then forks a process per search.

It says when it is ready. For every line that comes in, the flags of a search and the kills while it runs, it answers
with how the search ended. The trials are forks of one process that has imported this module; they train a net of one
block.
"""

from __future__ import annotations

import json
import math
import multiprocessing
import os
import random
import signal
import sys
import time
from multiprocessing import forkserver
from pathlib import Path
from typing import Any

import optuna
import psutil

import pipeline.search.preload  # noqa: F401
from pipeline.data.store import DRAFT_SUFFIX
from pipeline.models.variants import VARIANTS
from tests.forks import run_forked
from tests.small_net import small_variant

FUSES = Path("fuses.json")  # the points at which a worker kills itself, one after the other


def die_if_due(point: str) -> None:
    """End as the out-of-memory killer ends a process, if that is the next point of the list."""
    points = json.loads(FUSES.read_text()) if FUSES.exists() else []
    if points and points[0] == point:
        FUSES.with_suffix(".new").write_text(json.dumps(points[1:]))
        FUSES.with_suffix(".new").rename(FUSES)
        os.kill(os.getpid(), signal.SIGKILL)


def lay_fuses() -> None:
    """Die before and after everything that a trial tells its study, and after it has closed its MLflow run."""
    import mlflow

    tell, end_run = optuna.Trial.set_user_attr, mlflow.end_run

    def set_user_attr(trial: optuna.Trial, key: str, value: object) -> None:
        die_if_due(f"before {key}")
        tell(trial, key, value)
        die_if_due(f"after {key}")

    def end(status: str = "FINISHED") -> None:
        end_run(status)
        die_if_due("run closed")

    optuna.Trial.set_user_attr, mlflow.end_run = set_user_attr, end


def refuse_to_read_the_test_split() -> None:
    """Let every attempt to open its pixels for reading fail, by whichever function, once they are prepared."""

    def refuse(event: str, arguments: tuple[object, ...]) -> None:
        if event != "open" or str(arguments[1]) not in ("r", "rb", "None"):
            return
        path = Path(str(arguments[0]))
        if path.name == "test.npy" and path.parent.suffix != DRAFT_SUFFIX:
            raise PermissionError("the test split is not to be read")

    sys.addaudithook(refuse)


def start(folder: str, variables: dict[str, str], command: str, flags: list[str]) -> int:
    if child := os.fork():
        return child
    os._exit(run_forked([command, *flags], folder, dict(os.environ) | variables, [f"{folder}/printed.txt"] * 2))


def kill(search: int, whom: str, rng: random.Random) -> bool:
    """Kill the search or one of its workers; return whether there was anyone to kill."""
    if whom != "worker":
        os.kill(search, signal.SIGINT if whom == "Ctrl-C" else signal.SIGKILL)
        return True
    alive = living_workers()
    if alive:
        rng.choice(alive).kill()
    return bool(alive)


def living_workers() -> list[psutil.Process]:
    return psutil.Process(forkserver._forkserver._forkserver_pid).children()  # type: ignore


def live(kills: list[tuple[float, str]], seed: int, **what: Any) -> dict[str, int]:
    """Run a search; each kill comes so many seconds after there are workers, and after the kill before it."""
    search, killed, rng = start(**what), 0, random.Random(seed)
    for seconds, whom in kills:
        end = math.inf
        while time.monotonic() < end:
            ended, status = os.waitpid(search, os.WNOHANG)
            if ended:
                return {"code": os.waitstatus_to_exitcode(status), "killed": killed}
            if end == math.inf and living_workers():
                end = time.monotonic() + seconds
            time.sleep(0.01)
        killed += kill(search, whom, rng)
    return {"code": os.waitstatus_to_exitcode(os.waitpid(search, 0)[1]), "killed": killed}


VARIANTS["resnet18"] = small_variant()
lay_fuses()
refuse_to_read_the_test_split()

if __name__ == "__main__":
    answers = os.fdopen(os.dup(1), "w")
    os.dup2(2, 1)  # what the workers print is no answer
    multiprocessing.set_forkserver_preload(["tests.system.searches_to_kill"])
    first = multiprocessing.get_context("forkserver").Process()
    first.start()
    first.join()  # the fork server has imported everything
    print("ready", file=answers, flush=True)
    for line in sys.stdin:
        print(json.dumps(live(**json.loads(line))), file=answers, flush=True)
