"""Workers on local processes: all run, the dead are counted, and the cores are divided among them."""

from __future__ import annotations

import os
import signal
import sys
import time
from pathlib import Path

import pytest

from pipeline.config import UserError
from pipeline.workers import THREAD_VARIABLES, run_workers

# What the workers run. A file of its own, because a started process imports it by name.
TASKS = """
import os
import signal
import time
from pathlib import Path

from pipeline.config import UserError

THREAD_VARIABLES = ("OMP_NUM_THREADS", "TF_NUM_INTRAOP_THREADS", "TF_NUM_INTEROP_THREADS")


def note(folder, worker):
    threads = " ".join(os.environ[name] for name in THREAD_VARIABLES)
    Path(folder, str(worker)).write_text(f"{os.getpid()} {threads}")


def one_is_killed(folder, worker):
    if worker == 1:
        os.kill(os.getpid(), signal.SIGKILL)
    note(folder, worker)


def two_fail(folder, worker):
    note(folder, worker)
    if worker == 0:
        raise UserError("storage must be a database")
    if worker == 2:
        raise RuntimeError("out of memory")


def sleep(folder, worker):
    note(folder, worker)
    time.sleep(60)
"""


@pytest.fixture
def tasks(tmp_path: Path, monkeypatch: pytest.MonkeyPatch):
    (tmp_path / "tasks_of_workers.py").write_text(TASKS)
    monkeypatch.syspath_prepend(tmp_path)
    for name in THREAD_VARIABLES:
        monkeypatch.delenv(name, raising=False)
    import tasks_of_workers

    yield tasks_of_workers
    del sys.modules["tasks_of_workers"]


@pytest.fixture
def notes(tmp_path: Path) -> Path:
    (tmp_path / "notes").mkdir()
    return tmp_path / "notes"


def _read(notes: Path) -> dict[str, list[str]]:
    return {path.name: path.read_text().split() for path in sorted(notes.iterdir())}


def test_every_worker_runs_in_a_process_of_its_own_with_its_share_of_the_cores(
    tasks, notes: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(os, "cpu_count", lambda: 9)
    before = dict(os.environ)
    assert run_workers(tasks.note, (str(notes),), 2) == 0
    written = _read(notes)
    assert list(written) == ["0", "1"]
    assert len({pid for pid, *_ in written.values()} | {str(os.getpid())}) == 3
    assert [threads for _, *threads in written.values()] == [["4"] * 3] * 2
    assert dict(os.environ) == before


def test_more_workers_than_cores_get_one_thread_and_a_value_of_the_user_stays(
    tasks, notes: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(os, "cpu_count", lambda: 1)
    monkeypatch.setenv("OMP_NUM_THREADS", "7")
    assert run_workers(tasks.note, (str(notes),), 2) == 0
    assert [threads for _, *threads in _read(notes).values()] == [["7", "1", "1"]] * 2
    assert os.environ["OMP_NUM_THREADS"] == "7"


def test_a_killed_worker_is_counted_and_the_other_goes_on(tasks, notes: Path) -> None:
    assert run_workers(tasks.one_is_killed, (str(notes),), 2) == 1
    assert list(_read(notes)) == ["0"]


def test_workers_that_raise_are_counted_and_a_users_mistake_is_one_line(
    tasks, notes: Path, capfd: pytest.CaptureFixture[str]
) -> None:
    assert run_workers(tasks.two_fail, (str(notes),), 3) == 2
    assert list(_read(notes)) == ["0", "1", "2"]
    printed = capfd.readouterr().err
    assert "worker 0: error: storage must be a database\n" in printed
    assert "RuntimeError: out of memory" in printed
    assert "UserError" not in printed


def test_a_single_worker_runs_in_this_process(tasks, notes: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    for name in THREAD_VARIABLES:
        monkeypatch.setenv(name, "5")
    assert run_workers(tasks.note, (str(notes),), 1) == 0
    assert _read(notes) == {"0": [str(os.getpid()), "5", "5", "5"]}


def test_an_interruption_ends_the_workers(tasks, notes: Path) -> None:
    def interrupt_once_all_run(*_: object) -> None:
        if len(_read(notes)) == 2:
            signal.setitimer(signal.ITIMER_REAL, 0)
            raise KeyboardInterrupt

    before = signal.signal(signal.SIGALRM, interrupt_once_all_run)
    signal.setitimer(signal.ITIMER_REAL, 0.1, 0.1)
    start = time.monotonic()
    try:
        with pytest.raises(KeyboardInterrupt):
            run_workers(tasks.sleep, (str(notes),), 2)
    finally:
        signal.setitimer(signal.ITIMER_REAL, 0)
        signal.signal(signal.SIGALRM, before)
    assert time.monotonic() - start < 50
    for pid, *_ in _read(notes).values():
        with pytest.raises(ProcessLookupError):
            os.kill(int(pid), 0)


def test_ray_without_its_package_says_what_to_install(notes: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "ray", None)
    with pytest.raises(UserError, match=r"ray_address.*'local'.*pip install") as error:
        run_workers(print, (), 2, "local")
    assert len(str(error.value).splitlines()) == 1
