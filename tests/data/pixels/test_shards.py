"""Shards: a hostile file costs itself alone, and what is killed goes on from whole shards to the same bytes."""

from __future__ import annotations

import os
import random
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from pathlib import Path

import cv2
import numpy as np
import pytest

from pipeline.config import DataConfig, UserError
from pipeline.data.intake.candidates import find_photos
from pipeline.data.intake.digest_cache import add_digests
from pipeline.data.pixels import shard_processes
from pipeline.data.pixels.shards import SHA256, Shard
from pipeline.data.rule_versions import NEWEST
from pipeline.data.store.store import Store, prepared_store
from tests.conftest import images_of

ROOT = Path(__file__).parents[3]

# What stands in for decoders with faults: a file that says so crashes, hangs or kills the process that decodes it.
HOSTILE = """
import ctypes
import os
import signal
import time
from pathlib import Path

from pipeline.data.pixels import shards

decode = shards.decode_with_notes
killed = Path(__file__).with_name("killed")


def hostile(data, *arguments):
    if data == b"CRASH":
        ctypes.string_at(0)
    if data == b"HANG":
        time.sleep(60)
    if data == b"KILL" or (data == b"KILL ONCE" and not killed.exists()):
        killed.touch()
        os.kill(os.getpid(), signal.SIGKILL)
    return decode(data, *arguments)


def write_shard(shard, photos, config, version):
    shards.decode_with_notes = hostile
    shards.DECODE_LIMIT_S = 4.0
    shards.write_shard(shard, photos, config, version)


def exits(shard, photos, config, version):
    os._exit(3)


def fills_the_disk(shard, photos, config, version):
    raise OSError(28, "No space left on device")
"""


@pytest.fixture
def photos(tmp_path: Path) -> Path:
    rng = np.random.default_rng(0)
    for label in ("daisy", "roses"):
        (tmp_path / "photos" / label).mkdir(parents=True)
        _draw(tmp_path / "photos" / label, range(12), rng)
    return tmp_path / "photos"


def _draw(folder: Path, numbers: range, rng: np.random.Generator) -> None:
    for number in numbers:
        cv2.imwrite(str(folder / f"{number:02d}.png"), rng.integers(0, 256, (20, 24, 3), np.uint8))


@pytest.fixture
def tasks(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[object]:
    (tmp_path / "hostile_tasks.py").write_text(HOSTILE)
    monkeypatch.syspath_prepend(tmp_path)
    import hostile_tasks

    yield hostile_tasks
    del sys.modules["hostile_tasks"]


def _prepare(photos: Path) -> Store:
    return prepared_store(DataConfig(data=str(photos), image_size=32), photos.parent / "root")


def _sums(store: Store) -> str:
    return (store.folder / "SHA256SUMS").read_text()


def test_a_photo_that_ends_its_process_is_named_and_costs_nothing_else(
    photos: Path, tasks, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(shard_processes, "write_shard", tasks.write_shard)
    monkeypatch.setattr(shard_processes, "PHOTOS_PER_SHARD", 8)
    for name, content in {"crash": b"CRASH", "crash-too": b"CRASH", "hang": b"HANG", "kill": b"KILL"}.items():
        (photos / "daisy" / f"{name}.jpg").write_bytes(content)
    store = _prepare(photos)
    reasons = dict(zip(store.quarantined["path"], store.quarantined["reason"], strict=True))
    assert reasons == {
        "daisy/crash.jpg": "crashed the decoder (SIGSEGV)",
        "daisy/crash-too.jpg": "crashed the decoder (SIGSEGV)",
        "daisy/hang.jpg": "decoder took too long (more than 60 seconds)",
        "daisy/kill.jpg": "decoder was killed (2 times by SIGKILL, was memory short?)",
    }
    assert len(store.manifest) == 24
    for row in store.manifest.itertuples():
        pixels = cv2.cvtColor(cv2.imread(str(photos / row.path)), cv2.COLOR_BGR2RGB)[:, 2:22]
        expected = cv2.resize(pixels, (32, 32), interpolation=cv2.INTER_CUBIC)
        np.testing.assert_array_equal(images_of(store, row.split)[row.row], expected)


def test_a_process_that_was_killed_by_chance_is_replaced(
    photos: Path, tasks, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(shard_processes, "write_shard", tasks.write_shard)
    (photos / "daisy" / "unlucky.jpg").write_bytes(b"KILL ONCE")
    assert _prepare(photos).quarantined["reason"].tolist() == ["not an image (text)"]
    assert (tmp_path / "killed").exists()


def test_processes_that_cannot_start_are_no_photos_fault(photos: Path, tasks, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(shard_processes, "write_shard", tasks.exits)
    with pytest.raises(RuntimeError, match="exit code 3"):
        _prepare(photos)


def test_a_full_disk_is_one_line_and_the_next_command_goes_on(
    photos: Path, tasks, monkeypatch: pytest.MonkeyPatch
) -> None:
    with monkeypatch.context() as patched:
        patched.setattr(shard_processes, "write_shard", tasks.fills_the_disk)
        with pytest.raises(UserError, match="free up space"):
            _prepare(photos)
    prepared = photos.parent / "root" / "prepared"
    assert [path.suffix for path in prepared.iterdir() if path.is_dir()] == [".part"]
    assert not _prepare(photos).reused


def test_a_shard_is_whole_if_its_pixels_are_those_of_its_digest(photos: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(shard_processes, "PHOTOS_PER_SHARD", 10)
    folder = photos.parent / "shards"
    folder.mkdir()
    found = add_digests(find_photos(photos, ()).photos, photos.parent / "digests.sqlite")
    config = DataConfig(image_size=32)
    shards = sorted(shard_processes.write_shards(folder, found, config, NEWEST.pixels), key=lambda shard: shard.number)
    assert [len(shard.records()) for shard in shards] == [10, 10, 4]
    assert [len(shard.photos(32)) for shard in shards] == [10, 10, 4]
    assert all(SHA256 not in record for shard in shards for record in shard.records())
    content = bytearray(shards[1].pixels_file.read_bytes())
    shards[1].pixels_file.write_bytes(bytes([content[0] ^ 1]) + content[1:])
    shards[2].records_file.unlink()
    assert [Shard(folder, number, "").is_complete() for number in range(3)] == [True, False, False]
    (folder / "00002.jsonl").write_text('{"reason": "", "wid')
    before = [path.stat().st_mtime_ns for path in (shards[0].pixels_file, shards[0].records_file)]
    list(shard_processes.write_shards(folder, found, config, NEWEST.pixels))
    assert shards[1].pixels_file.read_bytes() == content
    assert all(Shard(folder, number, "").is_complete() for number in range(3))
    assert before == [path.stat().st_mtime_ns for path in (shards[0].pixels_file, shards[0].records_file)]


PREPARE = """
import sys
from pathlib import Path
from pipeline.config import DataConfig
from pipeline.data.pixels import shard_processes
from pipeline.data.store import prepared_store

shard_processes.PHOTOS_PER_SHARD = 2
store = prepared_store(DataConfig(data=sys.argv[1], image_size=32), Path(sys.argv[2]))
print(store.digest)
"""
KILLS = 6


def test_killed_at_any_moment_it_goes_on_to_the_same_bytes(photos: Path) -> None:
    """SIGKILL for the command alone or for all its processes, after a random number of further shards."""
    rng = random.Random(0)
    (photos / "daisy" / "bad.jpg").write_text("no photo")
    _draw(photos / "daisy", range(12, 60), np.random.default_rng(1))  # enough to be killed at
    uninterrupted = _prepare(photos)
    root = photos.parent / "killed"
    command = [sys.executable, "-c", PREPARE, str(photos), str(root)]
    env = os.environ | {"PYTHONPATH": str(ROOT)}

    def whole_shards() -> int:
        return len(list(root.glob("prepared/*.part/shards/*.jsonl")))

    killed = 0
    for _ in range(KILLS):
        wanted = whole_shards() + rng.choice([0, 1, 2])
        with subprocess.Popen(command, env=env, stdout=subprocess.PIPE, text=True, start_new_session=True) as process:
            _wait_for(lambda process=process, wanted=wanted: process.poll() is not None or whole_shards() >= wanted)
            time.sleep(rng.choice([0, 0.01, 0.1]))
            if process.poll() is None:
                killed += 1
                if rng.random() < 0.5:
                    process.kill()
                else:
                    os.killpg(process.pid, signal.SIGKILL)
    assert killed >= KILLS // 2
    left = whole_shards()
    done = subprocess.run(command, env=env, capture_output=True, text=True, check=True)
    assert done.stdout.split() == [uninterrupted.digest]
    assert left < 37
    store = Store(root / "prepared" / uninterrupted.digest, photos, reused=True)
    assert _sums(store) == _sums(uninterrupted)
    assert [path.name for path in (root / "prepared").iterdir() if path.is_dir()] == [store.digest]


def _wait_for(condition: Callable[[], object], seconds: float = 60) -> None:
    end = time.monotonic() + seconds
    while not condition():
        assert time.monotonic() < end
        time.sleep(0.002)


def test_few_photos_keep_all_processors_busy(photos: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Forty photos of 24 megapixels are ten seconds of work."""
    candidates = [*find_photos(photos, ()).photos] * 20

    def shares(count: int) -> list[int]:
        return [len(part) for _, part in shard_processes.shards_of(photos, candidates[:count])]

    monkeypatch.setattr(os, "cpu_count", lambda: 4)
    for count, expected in ((10, [10]), (40, [16, 16, 8]), (400, [50] * 8), (480, [60] * 8)):
        assert shares(count) == expected
    monkeypatch.setattr(os, "cpu_count", lambda: 1)
    assert shares(480) == [240, 240]


def test_a_shard_of_other_photos_is_not_taken_for_ones_own(photos: Path, tmp_path: Path) -> None:
    """A machine with more processors divides the photos otherwise, perhaps into a shard with as many."""
    candidates = add_digests(find_photos(photos, ()).photos, tmp_path / "cache")
    folder = tmp_path / "shards"
    folder.mkdir()
    config = DataConfig(image_size=32)
    first, other = candidates[:5], candidates[5:10]
    (made,) = shard_processes.write_shards(folder, first, config, NEWEST.pixels)
    assert made.is_complete()
    assert made.is_of(first)
    assert not made.is_of(other)
    pixels = made.pixels_file.read_bytes()
    (again,) = shard_processes.write_shards(folder, other, config, NEWEST.pixels)
    assert again.pixels_file.read_bytes() != pixels
