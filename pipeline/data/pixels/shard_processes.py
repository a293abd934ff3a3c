"""Runs the processes that write shards: a few at a time, each for one shard, so that a crash takes one photo.

Pebble starts them and says how each ended. Its pool, `concurrent.futures` and joblib were not taken: in all of them a
process that dies as soon as it has got its task may take other tasks with it, or leave its own waiting for ever.
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
from pipeline.data.pixels.shards import DECODE_LIMIT_S, Shard, refused, write_shard
from pipeline.data.rules import by_rule

PHOTOS_PER_SHARD = 256  # what a kill of the whole command may cost each process; starting one takes as long as ten
KILLS = 2  # of processes at one photo from outside, after which it is not tried again
OUR_PROCESSES = "preparing photos"


def write_shards(folder: Path, photos: Sequence[Candidate], config: DataConfig, version: int) -> Iterator[Shard]:
    """Yield the shards of the photos as they become whole, in any order; those that are there already come first.

    Paths are made absolute for the processes, which may begin in another folder than this one is in. ``version`` is of
    the rules of pixels.

    Raises:
        OSError: a shard cannot be written.
    """
    token = uuid4().hex[:8]
    waiting = []
    for number in range(-(-len(photos) // PHOTOS_PER_SHARD)):
        shard = Shard(folder.absolute(), number, token)
        if shard.is_whole() and len(shard.records()) == len(_photos_of(shard, photos)):
            yield shard
        else:
            waiting.append(shard)
    yield from _in_processes(waiting, photos, config, version)


def _photos_of(shard: Shard, photos: Sequence[Candidate]) -> list[Candidate]:
    first = shard.number * PHOTOS_PER_SHARD
    return [photo._replace(path=photo.path.absolute()) for photo in photos[first : first + PHOTOS_PER_SHARD]]


def _in_processes(
    waiting: list[Shard], photos: Sequence[Candidate], config: DataConfig, version: int
) -> Iterator[Shard]:
    # Pebble's types call the argument mp_context; its code reads context.
    start = concurrent.process(name=OUR_PROCESSES, context=_context())(write_shard)  # type: ignore[call-overload]
    waiting.reverse()
    running: dict[Future[None], Shard] = {}
    kills: Counter[tuple[int, int]] = Counter()
    try:
        while waiting or running:
            while waiting and len(running) < (os.cpu_count() or 1):
                shard = waiting.pop()
                running[start(shard, _photos_of(shard, photos), config, version)] = shard
            for future in wait(running, return_when=FIRST_COMPLETED).done:
                shard = running.pop(future)
                try:
                    future.result()
                except ProcessExpired as death:
                    _blame(shard, death.exitcode, kills)
                    waiting.append(shard)
                else:
                    yield shard
    finally:
        for future in running:
            future.cancel()
        for process in multiprocessing.active_children():
            if process.name == OUR_PROCESSES:
                process.join()


def _context() -> multiprocessing.context.BaseContext:
    if sys.platform != "linux":
        return multiprocessing.get_context("spawn")
    multiprocessing.set_forkserver_preload(
        ["pipeline.data.pixels.shards"]
    )  # does nothing where the server runs already
    return multiprocessing.get_context("forkserver")


def _blame(shard: Shard, exit_code: int | None, kills: Counter[tuple[int, int]]) -> None:
    """Put down the photo that a process was at when it ended; one that was killed from outside gets another chance."""
    number = len(shard.records_so_far())
    name = signal.Signals(-exit_code).name if exit_code and exit_code < 0 else f"exit code {exit_code}"
    was_killed = name in ("SIGKILL", "SIGTERM")
    kills[shard.number, number] += was_killed
    if was_killed and kills[shard.number, number] < KILLS:
        return
    if not shard.has_begun():
        raise RuntimeError(f"the processes that decode photos must start, got {name}")
    if was_killed:
        shard.add(refused(by_rule("decoder was killed", f"{KILLS} times by {name}, was memory short?")))
    elif name == "SIGALRM":
        shard.add(refused(by_rule("decoder took too long", f"more than {DECODE_LIMIT_S:g} seconds")))
    else:
        shard.add(refused(by_rule("crashed the decoder", name)))
