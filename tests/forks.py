"""Commands of the project as forks of one process that has imported what they need, as trials are.

Where what a command does is asked, not how it starts: importing TensorFlow takes longer than training a tiny network.
"""

from __future__ import annotations

import contextlib
import json
import multiprocessing
import os
import signal
import subprocess
import sys
import threading
import time
import traceback
from collections.abc import Iterator, Mapping
from multiprocessing import forkserver
from pathlib import Path
from typing import Any, TextIO

ROOT = Path(__file__).parents[1]


class Forked:
    """A command that runs; its methods are those of `subprocess.Popen`."""

    def __init__(self, forks: Forks, pid: int, output: tuple[Path, Path]) -> None:
        self.pid, self._forks, self._output = pid, forks, output
        self.returncode: int | None = None

    def poll(self) -> int | None:
        """Return the exit code, or None while the command runs."""
        if self.returncode is None:
            self.returncode = self._forks.ask(poll=self.pid)
        return self.returncode

    def send_signal(self, number: int) -> None:
        """Send a signal, unless the command has ended."""
        if self.poll() is None:
            os.kill(self.pid, number)

    def kill(self) -> None:
        """Send SIGKILL."""
        self.send_signal(signal.SIGKILL)

    def communicate(self, timeout: float = 300) -> tuple[str, str]:
        """Wait until the command ends, and return what it printed and what it wrote to standard error."""
        end = time.monotonic() + timeout
        while self.poll() is None:
            if time.monotonic() > end:
                raise subprocess.TimeoutExpired(str(self.pid), timeout)
            time.sleep(0.02)
        printed, errors = (file.read_text() for file in self._output)
        return printed, errors


class Forks:
    """The process that commands fork from."""

    def __init__(self, process: subprocess.Popen[str], scratch: Path) -> None:
        self._process, self._scratch, self._lock, self._started = process, scratch, threading.Lock(), 0

    def ask(self, **request: Any) -> Any:
        assert self._process.stdin is not None
        assert self._process.stdout is not None
        with self._lock:
            self._process.stdin.write(json.dumps(request) + "\n")
            self._process.stdin.flush()
            return json.loads(self._process.stdout.readline())

    def start(self, folder: Path, environment: Mapping[str, str], *words: object) -> Forked:
        """Start ``python -m pipeline WORDS`` in a folder."""
        self._started += 1
        output = (self._scratch / f"{self._started}.out", self._scratch / f"{self._started}.err")
        start = {"words": list(map(str, words)), "folder": str(folder), "environment": dict(environment)}
        return Forked(self, self.ask(start=start | {"output": list(map(str, output))}), output)


@contextlib.contextmanager
def forks_in(scratch: Path) -> Iterator[Forks]:
    """Lend a process to fork commands from; what they and their trials print lies in the folder."""
    command = [sys.executable, "-m", "tests.forks"]
    variables = os.environ | {"PYTHONPATH": str(ROOT), "PYTHONWARNINGS": "ignore"}
    with (
        (scratch / "trials.txt").open("w") as of_trials,
        subprocess.Popen(
            command, cwd=ROOT, env=variables, text=True, stdin=subprocess.PIPE, stdout=subprocess.PIPE, stderr=of_trials
        ) as process,
    ):
        assert process.stdin is not None
        yield Forks(process, scratch)
        process.stdin.close()


def run_forked(words: list[str], folder: str, environment: dict[str, str], output: list[str]) -> int:
    """Run a command in this process, which is a fork, and return its exit code."""
    from pipeline.__main__ import main

    running = lambda: None  # noqa: E731  # the fork server runs, though not as a child of this process
    forkserver.ensure_running = forkserver._forkserver.ensure_running = running  # type: ignore[attr-defined]
    signal.signal(signal.SIGINT, signal.default_int_handler)  # both are ignored since the preload
    signal.signal(signal.SIGTERM, signal.SIG_DFL)
    os.setsid()
    os.chdir(folder)
    os.environ.clear()
    os.environ.update(environment)
    for standard, file in zip((1, 2), output, strict=True):
        os.dup2(os.open(file, os.O_WRONLY | os.O_CREAT | os.O_APPEND), standard)
    try:
        code = main(words)
    except Exception:
        traceback.print_exc()
        code = 1
    sys.stdout.flush()
    sys.stderr.flush()
    return code


def _serve(answers: TextIO) -> None:
    """Answer every request for a start with a process id, and every other with an exit code; kill what still runs."""
    running: set[int] = set()
    for line in sys.stdin:
        request = json.loads(line)
        if "start" in request:
            if not (answer := os.fork()):
                os._exit(run_forked(**request["start"]))
            running.add(answer)
        else:
            ended, status = os.waitpid(request["poll"], os.WNOHANG)
            running.discard(ended)
            answer = os.waitstatus_to_exitcode(status) if ended else None
        print(json.dumps(answer), file=answers, flush=True)
    for pid in running:
        os.kill(pid, signal.SIGKILL)  # a test has failed before it could; trials end with their search


if __name__ == "__main__":
    answers = os.fdopen(os.dup(1), "w")
    os.dup2(2, 1)  # what trials print is no answer
    multiprocessing.set_forkserver_preload(["tests.forks_preload"])
    forkserver.ensure_running()
    import tests.forks_preload  # noqa: F401

    _serve(answers)
