"""Tasks on local processes: all run, the dead cost one, and the cores are divided among them."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path

import psutil
import pytest

from pipeline.config import UserError
from pipeline.processes.pool import THREAD_VARIABLES, USES_FORK, Outcome, _ForkServer, run_tasks

# What the workers run. A file of its own, because a started process imports it by name.
TASKS = """
import os
import signal
import time
from pathlib import Path

from pipeline.config import UserError

THREAD_VARIABLES = ("OMP_NUM_THREADS", "TF_NUM_INTRAOP_THREADS", "TF_NUM_INTEROP_THREADS")


def note(folder, number):
    threads = " ".join(os.environ.get(name, "-") for name in THREAD_VARIABLES)
    Path(folder, str(number)).write_text(f"{os.getpid()} {threads}")
    return number * number


def killed(folder, number):
    if number == 1:
        os.kill(os.getpid(), signal.SIGKILL)
    return note(folder, number)


def fails(folder, number):
    if number == 0:
        raise UserError("storage must be a database")
    if number == 2:
        raise RuntimeError("out of memory\\nand more")
    return note(folder, number)


def server_killed(folder, number):
    if number == 1 and not Path(folder, "once").exists():
        Path(folder, "once").write_text("")
        os.kill(os.getppid(), signal.SIGKILL)
        return sleep(folder, 100)
    return note(folder, number)


def sleep(folder, number):
    note(folder, number)
    try:
        time.sleep(60)
    except KeyboardInterrupt:
        Path(folder, f"closed {number}").write_text("")
        raise
"""


@pytest.fixture
def tasks(tmp_path: Path, monkeypatch: pytest.MonkeyPatch):
    (tmp_path / "tasks_of_workers.py").write_text(TASKS)
    monkeypatch.syspath_prepend(tmp_path)
    for name in THREAD_VARIABLES:
        monkeypatch.delenv(name, raising=False)
    monkeypatch.setenv("PYTHONWARNINGS", "ignore::UserWarning:multiprocessing.resource_tracker")
    import tasks_of_workers

    yield tasks_of_workers
    del sys.modules["tasks_of_workers"]


@pytest.fixture
def notes(tmp_path: Path) -> Path:
    (tmp_path / "notes").mkdir()
    return tmp_path / "notes"


def _read(notes: Path) -> dict[str, list[str]]:
    return {path.name: path.read_text().split() for path in sorted(notes.iterdir())}


def _jobs(notes: Path, count: int) -> list[tuple[str, int]]:
    return [(str(notes), number) for number in range(count)]


def _outcomes(task, notes: Path, jobs: int, workers: int) -> list[Outcome]:
    return sorted(run_tasks(task, _jobs(notes, jobs), workers), key=lambda outcome: (outcome.error, outcome.value))


@pytest.fixture
def eight_cores(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(os, "cpu_count", lambda: 8)


@pytest.mark.usefixtures("eight_cores")
def test_tasks_run_in_processes_of_their_own_with_a_share_of_the_cores(tasks, notes: Path) -> None:
    before = dict(os.environ)
    assert _outcomes(tasks.note, notes, 4, workers=2) == [Outcome(0), Outcome(1), Outcome(4), Outcome(9)]
    written = _read(notes)
    assert list(written) == ["0", "1", "2", "3"]
    assert str(os.getpid()) not in {pid for pid, *_ in written.values()}
    assert [threads for _, *threads in written.values()] == [["4"] * 3] * 4
    assert dict(os.environ) == before


@pytest.mark.skipif(not USES_FORK, reason="elsewhere processes do not fork")
def test_a_process_that_begins_late_finds_the_locks_of_its_pool(tasks, notes: Path) -> None:
    known = len(_ForkServer.locks)
    assert _outcomes(tasks.note, notes, 1, workers=1) == [Outcome(0)]
    locks = _ForkServer.locks[known:]
    assert locks
    assert all(Path("/dev/shm", f"sem.{lock._semlock.name.strip('/')}").exists() for lock in locks)


def test_more_workers_than_cores_get_one_thread_and_a_value_of_the_user_stays(
    tasks, notes: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(os, "cpu_count", lambda: 1)
    monkeypatch.setenv("OMP_NUM_THREADS", "7")
    assert len(_outcomes(tasks.note, notes, 2, workers=2)) == 2
    assert [threads for _, *threads in _read(notes).values()] == [["7", "1", "1"]] * 2
    assert os.environ["OMP_NUM_THREADS"] == "7"


def test_a_single_worker_has_all_threads_and_every_task_a_process(tasks, notes: Path) -> None:
    assert len(_outcomes(tasks.note, notes, 3, workers=1)) == 3
    written = _read(notes)
    assert len({pid for pid, *_ in written.values()}) == 3
    assert {tuple(threads) for _, *threads in written.values()} == {("-", "-", "-")}


@pytest.mark.parametrize("workers", [1, 2])
def test_a_killed_process_costs_its_task_alone(tasks, notes: Path, workers: int) -> None:
    *others, dead = _outcomes(tasks.killed, notes, 5, workers)
    assert others == [Outcome(0), Outcome(4), Outcome(9), Outcome(16)]
    assert "killed" in dead.error
    assert "-9" in dead.error
    assert list(_read(notes)) == ["0", "2", "3", "4"]


@pytest.mark.skipif(not USES_FORK, reason="elsewhere there is no server")
@pytest.mark.parametrize("workers", [1, 2])
def test_a_killed_server_costs_the_tasks_that_run(tasks, notes: Path, workers: int) -> None:
    outcomes = _outcomes(tasks.server_killed, notes, 5, workers)
    dead = [outcome for outcome in outcomes if outcome.kind == "ProcessExpired"]
    assert 1 <= len(dead) <= workers
    assert all("killed" in outcome.error for outcome in dead)
    assert len(outcomes) == 5
    orphan = int((notes / "100").read_text().split()[0])
    _wait_for(lambda: not psutil.pid_exists(orphan))
    assert (notes / "closed 100").exists()


def test_a_task_that_raises_gives_its_error_in_one_line(tasks, notes: Path) -> None:
    outcomes = _outcomes(tasks.fails, notes, 4, workers=2)
    wrong = [("out of memory", "RuntimeError"), ("storage must be a database", "UserError")]
    assert outcomes == [Outcome(1), Outcome(9), *(Outcome(error=text, kind=kind) for text, kind in wrong)]


def test_jobs_are_drawn_only_when_a_worker_is_free(tasks, notes: Path) -> None:
    drawn: list[int] = []

    def jobs():
        for job in _jobs(notes, 5):
            drawn.append(job[1])
            yield job

    for number, _ in enumerate(run_tasks(tasks.note, jobs(), 2)):
        assert len(drawn) <= number + 2
    assert drawn == [0, 1, 2, 3, 4]


def test_an_interruption_lets_the_tasks_close_and_ends_their_processes(tasks, notes: Path) -> None:
    def interrupt_once_all_run(*_: object) -> None:
        if len(_read(notes)) == 2:
            signal.setitimer(signal.ITIMER_REAL, 0)
            raise KeyboardInterrupt

    before = signal.signal(signal.SIGALRM, interrupt_once_all_run)
    signal.setitimer(signal.ITIMER_REAL, 0.1, 0.1)
    start = time.monotonic()
    try:
        with pytest.raises(KeyboardInterrupt):
            list(run_tasks(tasks.sleep, _jobs(notes, 2), 2))
    finally:
        signal.setitimer(signal.ITIMER_REAL, 0)
        signal.signal(signal.SIGALRM, before)
    assert time.monotonic() - start < 50
    written = _read(notes)
    assert sorted(written) == ["0", "1", "closed 0", "closed 1"]
    for number in "01":
        with pytest.raises(ProcessLookupError):
            os.kill(int(written[number][0]), 0)


def test_a_process_ends_with_its_parent(tasks, notes: Path) -> None:
    code = f"""
import sys
sys.path.insert(0, {str(Path(tasks.__file__).parent)!r})
import tasks_of_workers
from pipeline.processes import run_tasks
if __name__ == "__main__":
    list(run_tasks(tasks_of_workers.sleep, [({str(notes)!r}, 0)], 1))
"""
    script = notes.parent / "parent.py"
    script.write_text(code)
    root = Path(__file__).parents[2]
    with subprocess.Popen([sys.executable, str(script)], env=os.environ | {"PYTHONPATH": str(root)}) as parent:
        _wait_for(lambda: "0" in _read(notes) and _read(notes)["0"])
        parent.kill()
    pid = int(_read(notes)["0"][0])
    _wait_for(lambda: not psutil.pid_exists(pid))
    assert "closed 0" in _read(notes)


def _wait_for(condition: Callable[[], object], seconds: float = 50) -> None:
    end = time.monotonic() + seconds
    while not condition():
        assert time.monotonic() < end
        time.sleep(0.05)


def test_ray_without_its_package_says_what_to_install(notes: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "ray", None)
    with pytest.raises(UserError, match=r"ray_address.*'local'.*pip install") as error:
        list(run_tasks(print, [], 2, "local"))
    assert len(str(error.value).splitlines()) == 1
