"""Checkpoints on disk: what comes back, what is kept, and what is refused."""

from __future__ import annotations

import errno
import os
from pathlib import Path

import numpy as np
import pytest

from pipeline.config import UserError
from pipeline.training import checkpoint
from pipeline.training.checkpoint import Checkpoints, TrainingState

IDENTITY = {"photos": "abc", "tensorflow": "2.21.0"}


@pytest.fixture
def checkpoints(tmp_path: Path) -> Checkpoints:
    return Checkpoints(tmp_path / "one", IDENTITY, min_interval_s=0)


def _saved(number: int) -> TrainingState:
    rng = np.random.default_rng(number)
    arrays = {"state0": rng.normal(size=(3, 4)).astype(np.float32), "state1": np.array(number), "best0": np.empty(0)}
    return TrainingState(arrays, {"epochs": [{"loss": 0.1 * number}], "best": None})


def _assert_same(found: TrainingState | None, wanted: TrainingState) -> None:
    assert found is not None
    assert found.progress == wanted.progress
    assert list(found.arrays) == list(wanted.arrays)
    for name, array in wanted.arrays.items():
        assert found.arrays[name].dtype == array.dtype
        np.testing.assert_array_equal(found.arrays[name], array)


def _names(checkpoints: Checkpoints) -> list[str]:
    return [file.name for file in checkpoints._files()]


def test_the_newest_comes_back_and_two_are_kept(checkpoints: Checkpoints) -> None:
    assert checkpoints.load() is None
    for number, (epoch, step) in enumerate([(0, 5), (0, 40), (9, 3), (10, 2)]):
        checkpoints.save(epoch, step, _saved(number))
        _assert_same(checkpoints.load(), _saved(number))
    assert [name[:16] for name in _names(checkpoints)] == ["000010-000000002", "000009-000000003"]


def test_after_a_removal_nothing_is_left(checkpoints: Checkpoints, tmp_path: Path) -> None:
    checkpoints.save(1, 0, _saved(1))
    (tmp_path / "one/77.part").write_bytes(b"torn")
    checkpoints.remove()
    assert list(tmp_path.iterdir()) == []
    checkpoints.remove()


@pytest.mark.parametrize("damage", ["cut", "flipped", "empty"])
def test_a_damaged_newest_falls_back_to_the_older(
    checkpoints: Checkpoints, damage: str, capsys: pytest.CaptureFixture[str]
) -> None:
    for number in (1, 2):
        checkpoints.save(number, 0, _saved(number))
    newest = checkpoints._files()[0]
    content = bytearray(newest.read_bytes())
    content[len(content) // 2] ^= 1
    newest.write_bytes({"cut": content[:-40], "flipped": content, "empty": b""}[damage])
    _assert_same(checkpoints.load(), _saved(1))
    assert f"checkpoint {newest} is damaged" in capsys.readouterr().out
    checkpoints._files()[1].write_bytes(b"")
    assert checkpoints.load() is None


@pytest.mark.parametrize(
    ("change", "difference"),
    [
        ({"photos": "xyz"}, "photos abc (now xyz)"),
        ({"tensorflow": "2.99"}, "tensorflow 2.21.0 (now 2.99)"),
        ({"more": "1"}, "more None (now 1)"),
    ],
)
def test_a_checkpoint_of_other_code_or_photos_is_refused(
    checkpoints: Checkpoints, tmp_path: Path, change: dict[str, str], difference: str
) -> None:
    checkpoints.save(1, 0, _saved(1))
    with pytest.raises(UserError) as error:
        Checkpoints(tmp_path / "one", IDENTITY | change).load()
    assert difference in str(error.value)
    assert "resume=never" in str(error.value)
    assert "\n" not in str(error.value)


def test_another_format_is_refused(checkpoints: Checkpoints, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    checkpoints.save(1, 0, _saved(1))
    monkeypatch.setattr(checkpoint, "FORMAT", checkpoint.FORMAT + 1)
    with pytest.raises(UserError, match=rf"checkpoint format {checkpoint.FORMAT - 1} \(now {checkpoint.FORMAT}\)"):
        Checkpoints(tmp_path / "one", IDENTITY).load()


@pytest.mark.parametrize("fails", ["savez", "fsync", "replace"])
def test_a_save_that_fails_leaves_the_one_before(
    checkpoints: Checkpoints, monkeypatch: pytest.MonkeyPatch, fails: str
) -> None:
    checkpoints.save(1, 0, _saved(1))

    def no_room(*_: object, **__: object) -> None:
        raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))

    with monkeypatch.context() as patched:
        owner = {"savez": np, "fsync": os, "replace": Path}[fails]
        patched.setattr(owner, fails, no_room)
        with pytest.raises(UserError, match=r"No space left on device \(free up space"):
            checkpoints.save(2, 0, _saved(2))
    _assert_same(checkpoints.load(), _saved(1))
    assert len(list(checkpoints._folder.iterdir())) == 1


def test_saving_costs_a_small_part_of_the_time(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    now = 1000.0
    monkeypatch.setattr(checkpoint.time, "monotonic", lambda: now)
    checkpoints = Checkpoints(tmp_path, IDENTITY, min_interval_s=10)
    savez = np.savez

    def takes_two_seconds(*arguments: object, **arrays: object) -> None:
        nonlocal now
        now += 2
        savez(*arguments, **arrays)

    monkeypatch.setattr(np, "savez", takes_two_seconds)
    assert not checkpoints.due()
    now += 10
    assert checkpoints.due()
    checkpoints.save(0, 1, _saved(1))
    now += 99.9
    assert not checkpoints.due()
    now += 0.2
    assert checkpoints.due()
