"""Who owns what, across processes, namespaces, host names and folders: nothing is declared dead without proof."""

from __future__ import annotations

import contextlib
import os
import shutil
import signal
import socket
import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path

import pytest

from pipeline.processes import is_gone, is_here, is_owner_mark, owner_mark
from pipeline.processes.owners import OWNERS
from tests.conftest import ROOT

OWNER = "import time; from pipeline.processes import owner_mark; print(owner_mark(), flush=True); time.sleep(600)"
PARENT = """
import os, sys, time
from pipeline.processes import owner_mark
print(owner_mark(), flush=True)
if not os.fork():
    time.sleep(600)
time.sleep(600)
"""
CONTAINER = ("unshare", "--pid", "--uts", "--fork", "--mount-proc", "--kill-child", "--")


@pytest.fixture(autouse=True)
def folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """The working folder."""
    monkeypatch.chdir(tmp_path)
    return tmp_path


@contextlib.contextmanager
def _owner(folder: Path, *around: str, code: str = OWNER) -> Iterator[tuple[str, subprocess.Popen[str]]]:
    command = [*around, sys.executable, "-c", code]
    environment = os.environ | {"PYTHONPATH": str(ROOT)}
    with subprocess.Popen(
        command, cwd=folder, env=environment, stdout=subprocess.PIPE, text=True, start_new_session=True
    ) as process:
        assert process.stdout is not None
        try:
            yield process.stdout.readline().strip(), process
        finally:
            with contextlib.suppress(ProcessLookupError):
                os.killpg(process.pid, signal.SIGKILL)


def _asked_elsewhere(folder: Path, mark: str, *around: str) -> tuple[str, str]:
    code = f"from pipeline.processes import is_gone, is_here; print(is_here({mark!r}), is_gone({mark!r}))"
    environment = os.environ | {"PYTHONPATH": str(ROOT)}
    done = subprocess.run(
        [*around, sys.executable, "-c", code], cwd=folder, env=environment, capture_output=True, text=True, check=True
    )
    here, gone = done.stdout.split()
    return here, gone


def _becomes_gone(mark: str) -> bool:
    end = time.monotonic() + 30
    while not is_gone(mark) and time.monotonic() < end:
        time.sleep(0.01)
    return is_gone(mark)


@pytest.fixture
def container() -> tuple[str, ...]:
    """A command's beginning by which it runs in PID and UTS namespaces of its own, under another host name."""
    rename = ("sh", "-c", 'hostname elsewhere && exec "$@"', "sh")
    with contextlib.suppress(OSError):
        if not subprocess.run([*CONTAINER, *rename, "true"], capture_output=True, check=False).returncode:
            return (*CONTAINER, *rename)
    pytest.skip("needs the right to make namespaces")


def test_this_process_is_here_and_alive_however_often_it_is_looked_at() -> None:
    for _ in range(2):
        assert is_here(owner_mark())
        assert not is_gone(owner_mark())
    assert _asked_elsewhere(Path(), owner_mark()) == ("True", "False")


def test_a_process_is_alive_until_it_is_killed(folder: Path) -> None:
    with _owner(folder) as (mark, process):
        assert is_here(mark)
        assert not is_gone(mark)
        process.kill()
        process.wait()
        assert is_gone(mark)


def test_a_fork_that_goes_on_does_not_keep_its_parent_alive(folder: Path) -> None:
    with _owner(folder, code=PARENT) as (mark, process):
        assert not is_gone(mark)
        process.kill()
        process.wait()
        assert is_gone(mark)


def test_a_container_is_alive_until_it_is_killed_and_goes_on_under_another_name(
    folder: Path, container: tuple[str, ...]
) -> None:
    with _owner(folder, *container) as (mark, process):
        host, pid, *_ = mark.split()
        assert host == "elsewhere"
        assert int(pid) < 100  # which is the number of another process here
        assert is_here(mark)
        assert not is_gone(mark)
        process.kill()
        process.wait()  # what runs in it is killed by the kernel, soon
        assert is_here(mark)
        assert _becomes_gone(mark)
        assert _asked_elsewhere(folder, mark, *container) == ("True", "True")


def test_a_container_sees_that_what_runs_outside_is_alive(folder: Path, container: tuple[str, ...]) -> None:
    assert _asked_elsewhere(folder, owner_mark(), *container) == ("True", "False")


def test_of_two_containers_with_one_name_and_folders_of_their_own_neither_declares_the_other_dead(
    folder: Path, container: tuple[str, ...], tmp_path_factory: pytest.TempPathFactory
) -> None:
    other = tmp_path_factory.mktemp("other")
    with _owner(folder, *container) as (mark, _), _owner(other, *container) as (others, _):
        assert _asked_elsewhere(other, mark, *container) == ("False", "False")
        assert _asked_elsewhere(folder, others, *container) == ("False", "False")
        assert _asked_elsewhere(folder, mark, *container) == ("True", "False")


def test_a_copied_folder_is_another_folder(
    folder: Path, container: tuple[str, ...], tmp_path_factory: pytest.TempPathFactory
) -> None:
    copy = tmp_path_factory.mktemp("copies") / "copy"
    with _owner(folder, *container) as (mark, _):
        shutil.copytree(folder, copy)
        assert _asked_elsewhere(copy, mark, *container) == ("False", "False")
        with _owner(copy, *container) as (others, _):
            assert _asked_elsewhere(folder, others, *container) == ("False", "False")
            assert _asked_elsewhere(copy, others, *container) == ("True", "False")
        moved = folder.rename(copy.with_name("moved"))
        assert _asked_elsewhere(moved, mark, *container) == ("True", "False")


def test_a_folder_that_is_renamed_under_its_process_keeps_it_alive(
    folder: Path, container: tuple[str, ...], monkeypatch: pytest.MonkeyPatch
) -> None:
    before = owner_mark()
    monkeypatch.chdir(folder.rename(folder.with_name("renamed")))
    for mark in (before, owner_mark()):
        assert _asked_elsewhere(Path(), mark, *container) == ("True", "False")


def test_in_another_folder_the_kernel_still_tells(folder: Path, tmp_path_factory: pytest.TempPathFactory) -> None:
    other = tmp_path_factory.mktemp("other")
    with _owner(other) as (mark, process):
        assert not is_here(mark)
        assert not is_gone(mark)
        process.kill()
        process.wait()
        assert is_gone(mark)


def test_marks_of_earlier_versions_are_judged_by_host_and_start_time() -> None:
    host, pid, start, *_ = owner_mark().split()
    assert is_here(f"{host} {pid} {start}")
    assert not is_gone(f"{host} {pid} {start}")
    assert is_gone(f"{host} {pid} 1@0")
    assert not is_here(f"elsewhere.example {pid} 1@0")
    assert not is_gone(f"elsewhere.example {pid} 1@0")


@pytest.mark.parametrize("text", ["", "etl", "nightly batch 7", "a b c d", f"{socket.gethostname()} -1 x y z w"])
def test_what_is_no_mark_is_nobodys(text: str) -> None:
    assert not is_owner_mark(text)
    assert not is_here(text)
    assert not is_gone(text)


def test_locks_of_processes_that_have_ended_are_cleared_away(folder: Path) -> None:
    for _ in range(3):
        with _owner(folder) as (mark, process):
            process.kill()
            process.wait()
    mine = owner_mark()
    assert sorted(file.name for file in (folder / OWNERS).iterdir()) == sorted(["folder", mine.split()[-1]])
    assert is_gone(mark)  # though its file is gone, too


def test_a_folder_that_cannot_be_written_leaves_it_to_the_kernel(folder: Path) -> None:
    (folder / OWNERS.parent).write_text("a file where the folder should be")
    mark = owner_mark()
    assert mark.endswith("- -")
    assert not is_gone(mark)
