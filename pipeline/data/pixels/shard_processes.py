"""Runs the processes that write shards: a few at a time, each for one shard, so that a crash costs one photo.

Pebble starts them and reports how each ended. Rejected: Pebble's pool, `concurrent.futures` and joblib. In all of them
a process that dies right after receiving its task can take other tasks with it, or leave its own pending forever.
"""

from __future__ import annotations

import multiprocessing
import os
import signal
import sys
from collections import Counter
from collections.abc import Iterator, Sequence
from concurrent.futures import FIRST_COMPLETED, Future, wait
from pathlib import Path
from uuid import uuid4

from pebble import ProcessExpired, concurrent

from pipeline.config import DataConfig
from pipeline.data.intake import Candidate
from pipeline.data.pixels.shards import DECODE_LIMIT_S, Shard, refused_record, write_shard
from pipeline.data.rules import rule_text

PHOTOS_PER_SHARD = 256  # each process loses at most these on a kill; starting a process takes as long as ten photos
LEAST_PHOTOS_PER_SHARD = 16  # of fewer photos than would keep all processes busy: ten of 24 megapixels take a second
SHARDS_PER_PROCESSOR = 2  # at least, so that none waits long for the last one
MAX_KILLS = 2  # after this many kills from outside at one photo, it is not retried
PROCESS_NAME = "preparing photos"


def write_shards(folder: Path, photos: Sequence[Candidate], config: DataConfig, version: int) -> Iterator[Shard]:
    """Yield the shards of the photos as they are completed, in any order, existing complete ones first.

    Paths are made absolute, because the processes may start in another working folder. ``version`` is that of the pixel
    rules.

    Raises:
        OSError: a shard cannot be written.
    """
    pending = []
    for shard, part in shards_of(folder, photos):
        if shard.is_of(part) and shard.is_complete():
            yield shard
        else:
            pending.append(shard)
    yield from _run_processes(pending, photos, config, version)


def shards_of(folder: Path, photos: Sequence[Candidate]) -> Iterator[tuple[Shard, Sequence[Candidate]]]:
    """Yield the shards of the photos, complete or not, each with its photos."""
    token = uuid4().hex[:8]
    for number in range(-(-len(photos) // _photos_per_shard(len(photos)))):
        yield Shard(folder.absolute(), number, token), _part(photos, number)


def _part(photos: Sequence[Candidate], number: int) -> Sequence[Candidate]:
    """Return the photos of a shard."""
    size = _photos_per_shard(len(photos))
    return photos[number * size : (number + 1) * size]


def _photos_per_shard(photos: int) -> int:
    for_all_processors = -(-photos // (SHARDS_PER_PROCESSOR * (os.cpu_count() or 1)))
    return min(PHOTOS_PER_SHARD, max(LEAST_PHOTOS_PER_SHARD, for_all_processors))


def _run_processes(
    pending: list[Shard], photos: Sequence[Candidate], config: DataConfig, version: int
) -> Iterator[Shard]:
    # Pebble's types call the argument mp_context; its code reads context.
    start = concurrent.process(name=PROCESS_NAME, context=_context())(write_shard)  # type: ignore[call-overload]
    pending.reverse()
    running: dict[Future[None], Shard] = {}
    kills: Counter[tuple[int, int]] = Counter()
    try:
        while pending or running:
            while pending and len(running) < (os.cpu_count() or 1):
                shard = pending.pop()
                part = [photo._replace(path=photo.path.absolute()) for photo in _part(photos, shard.number)]
                running[start(shard, part, config, version)] = shard
            for future in wait(running, return_when=FIRST_COMPLETED).done:
                shard = running.pop(future)
                try:
                    future.result()
                except ProcessExpired as expired:
                    _record_death(shard, expired.exitcode, kills)
                    pending.append(shard)
                else:
                    yield shard
    finally:
        # Pebble's own way to cancel fails, with a traceback, at a process that ends at the same time.
        for process in multiprocessing.active_children():
            if process.name == PROCESS_NAME:
                process.kill()
                process.join()


def _context() -> multiprocessing.context.BaseContext:
    if sys.platform != "linux":
        return multiprocessing.get_context("spawn")
    # All that a process imports: this module for Pebble, too, which takes as long as 70 photos. No effect if the server
    # already runs.
    multiprocessing.set_forkserver_preload(["pipeline.data.pixels.shard_processes"])
    return multiprocessing.get_context("forkserver")


def _record_death(shard: Shard, exit_code: int | None, kills: Counter[tuple[int, int]]) -> None:
    """Record the photo at which a process died as refused; one killed from outside is retried until `MAX_KILLS`."""
    photo_index = len(shard.partial_records())
    name = signal.Signals(-exit_code).name if exit_code and exit_code < 0 else f"exit code {exit_code}"
    killed_from_outside = name in ("SIGKILL", "SIGTERM")
    kills[shard.number, photo_index] += killed_from_outside
    if killed_from_outside and kills[shard.number, photo_index] < MAX_KILLS:
        return
    if not shard.has_started():
        raise RuntimeError(f"the processes that decode photos must start, got {name}")
    if killed_from_outside:
        shard.append(refused_record(rule_text("decoder was killed", f"{MAX_KILLS} times by {name}, was memory short?")))
    elif name == "SIGALRM":
        shard.append(refused_record(rule_text("decoder took too long", f"more than {DECODE_LIMIT_S:g} seconds")))
    else:
        shard.append(refused_record(rule_text("crashed the decoder", name)))
