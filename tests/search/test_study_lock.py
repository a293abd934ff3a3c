"""The lock of a study: held by one process at a time wherever the storage is, and gone with that process."""

from __future__ import annotations

import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

from pipeline.search.study_lock import study_lock
from tests.servers import PASSWORD, Postgres

HOLDS = """
import sys, time
from pipeline.search.study_lock import study_lock
with study_lock(sys.argv[1], sys.argv[2]):
    print("holds it", flush=True)
    time.sleep(100)
"""


@pytest.fixture(params=["file", "postgres"])
def storage(request: pytest.FixtureRequest, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> str:
    if request.param == "file":
        return f"sqlite:///{tmp_path}/study.db"
    monkeypatch.setenv("PGPASSWORD", PASSWORD)
    server: Postgres = request.getfixturevalue("postgres")
    return server.new_database("locks")


@pytest.fixture
def holder(storage: str) -> Iterator[subprocess.Popen[str]]:
    command = [sys.executable, "-c", HOLDS, storage, "a/study"]
    with subprocess.Popen(command, stdout=subprocess.PIPE, text=True) as process:
        assert process.stdout is not None
        assert process.stdout.readline() == "holds it\n"
        yield process
        process.kill()


def test_it_is_held_by_one_and_ends_with_its_process(storage: str, holder: subprocess.Popen[str]) -> None:
    waiting = subprocess.Popen([sys.executable, "-c", HOLDS, storage, "a/study"], stdout=subprocess.PIPE, text=True)
    with study_lock(storage, "another"):
        pass
    with pytest.raises(subprocess.TimeoutExpired):
        waiting.wait(timeout=3)
    assert waiting.stdout is not None
    holder.kill()
    assert waiting.stdout.readline() == "holds it\n"
    waiting.kill()
    waiting.communicate()
    lock = study_lock(storage, "a/study")
    with lock:
        lock.release()
        with study_lock(storage, "a/study"):
            lock.release()
