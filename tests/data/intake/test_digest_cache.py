"""Remembered digests: unchanged files are not read again, changed ones are, and the memory may fail."""

from __future__ import annotations

import hashlib
import os
from pathlib import Path

import pytest

from pipeline.data.intake import Candidate
from pipeline.data.intake import digest_cache as digests
from pipeline.data.intake.digest_cache import add_digests


@pytest.fixture
def photo(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.setattr(digests, "SETTLED_AFTER_S", 0.0)  # when its inode changed is not for a test to set back
    file = tmp_path / os.fsdecode(b"a\xff.jpg")
    file.write_bytes(b"first")
    return file


def _digest(photo: Path) -> str:
    (found,) = add_digests([Candidate(photo, "daisy")], photo.parent / "memory" / "digests.sqlite")
    return found.sha256


def _sha256(content: bytes) -> str:
    return hashlib.sha256(content).hexdigest()


def test_an_unchanged_file_is_not_read_again(photo: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    assert _digest(photo) == _sha256(b"first")
    monkeypatch.setattr(hashlib, "file_digest", lambda *_: pytest.fail("read again"))
    assert _digest(photo) == _sha256(b"first")


def test_a_changed_file_is_read_again_even_if_its_time_is_set_back(photo: Path) -> None:
    about = photo.stat()
    assert _digest(photo) == _sha256(b"first")
    photo.write_bytes(b"other")
    os.utime(photo, ns=(about.st_atime_ns, about.st_mtime_ns))
    assert photo.stat().st_mtime_ns == about.st_mtime_ns
    assert _digest(photo) == _sha256(b"other")


def test_another_file_in_its_place_is_read(photo: Path) -> None:
    _digest(photo)
    other = photo.with_name("other.jpg")
    other.write_bytes(b"other")
    other.replace(photo)
    assert _digest(photo) == _sha256(b"other")


def test_what_has_just_been_written_is_not_remembered(photo: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(digests, "SETTLED_AFTER_S", 60.0)
    _digest(photo)
    monkeypatch.setattr(hashlib, "file_digest", lambda *_: hashlib.sha256(b"was read"))
    assert _digest(photo) == _sha256(b"was read")


def test_a_memory_that_is_damaged_or_cannot_be_made_changes_nothing(photo: Path) -> None:
    memory = photo.parent / "memory"
    memory.mkdir()
    (memory / "digests.sqlite").write_bytes(b"no database" * 1000)
    assert _digest(photo) == _sha256(b"first")
    (memory / "digests.sqlite").unlink()
    memory.rmdir()
    memory.write_text("a file where the folder should be")
    assert _digest(photo) == _sha256(b"first")


def test_a_file_that_is_gone_is_a_problem(photo: Path) -> None:
    photo.unlink()
    (found,) = add_digests([Candidate(photo, "daisy")], photo.parent / "digests.sqlite")
    assert (found.sha256, found.problem) == ("", "cannot be read (No such file or directory)")
