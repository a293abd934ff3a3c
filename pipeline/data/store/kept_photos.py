"""Photos that were decoded for a store that was not completed: kept in its draft, and used by the next one.

A class with too few photos is told only when all are decoded. Whoever then adds some, or leaves the class out, has
another data set, whose store takes over from the drafts of others each shard whose photos, and the rules and flags that
made their pixels, are the same.
"""

from __future__ import annotations

import contextlib
import hashlib
import json
import shutil
from collections.abc import Callable, Sequence
from functools import partial
from pathlib import Path

import numpy as np
from filelock import FileLock, Timeout

from pipeline.config import DataConfig
from pipeline.data.intake import Candidate
from pipeline.data.pixels.shard_processes import shards_of
from pipeline.data.pixels.shards import Record, write_known_shard
from pipeline.data.rule_versions import RuleVersions
from pipeline.data.rules import is_momentary
from pipeline.files import atomic_file

DRAFT_SUFFIX = ".part"  # of an incomplete store
SHARDS = "shards"  # the draft's folder of shards, until they are joined
CONTENTS = "photos.json"  # what the shards are of
Identity = tuple[str, str, str, str]  # of a decoded photo: path, digest, problem, note
PIXEL_FLAGS = {"image_size", "resize", "image_ops", "max_pixels"}


def lock_of(store: Path) -> FileLock:
    """Return the lock of a store and its draft."""
    return FileLock(store.with_name(f".{store.name}.lock"))


def describe_draft(draft: Path, config: DataConfig, candidates: Sequence[Candidate], rules: RuleVersions) -> None:
    """Write which photos a draft's shards are of, and by which flags and rules."""
    with atomic_file(draft / CONTENTS) as file, file.open("w") as text:
        text.write(f'{{"pixels": {json.dumps(_pixel_key(config, rules))}, "photos": [')
        for number, photo in enumerate(candidates):
            text.write((", " if number else "") + json.dumps(_identity(photo)))
        text.write("]}")


def take_over(draft: Path, config: DataConfig, candidates: Sequence[Candidate], rules: RuleVersions) -> None:
    """Write into ``draft`` the shards whose photos are all in other drafts.

    Of these, the drafts whose photos are all among the candidates are deleted; others may yet be gone on with.
    """
    known: dict[Identity, Callable[[], tuple[Record, bytes]]] = {}
    with contextlib.ExitStack() as locks:
        others = [other for other in sorted(draft.parent.glob(f"*{DRAFT_SUFFIX}")) if other != draft]
        mine = [other for other in others if _is_free(other, locks) and _is_of(other, _pixel_key(config, rules))]
        wanted = set(map(_identity, candidates)) if mine else set[Identity]()
        done: list[Path] = []
        for other in mine:
            kept = _kept_in(other, config.image_size)
            known |= kept
            done += [other] if kept and kept.keys() <= wanted else []
        for shard, photos in shards_of(draft / SHARDS, candidates) if known else ():
            readers = [known.get(_identity(photo)) for photo in photos]
            if not (shard.is_of(photos) and shard.is_complete()) and all(readers):
                write_known_shard(shard, photos, (read() for read in readers if read))
        for other in done:
            shutil.rmtree(other)


def _is_free(draft: Path, locks: contextlib.ExitStack) -> bool:
    """Hold the lock of another draft until the end of ``locks``, unless another command does."""
    try:
        locks.enter_context(lock_of(draft.with_suffix("")).acquire(timeout=0))
    except Timeout:
        return False
    return True


def _is_of(draft: Path, pixel_key: str) -> bool:
    contents = draft / CONTENTS
    return contents.exists() and json.loads(contents.read_text())["pixels"] == pixel_key


def _kept_in(draft: Path, image_size: int) -> dict[Identity, Callable[[], tuple[Record, bytes]]]:
    """Return, by identity, how to read the record and the bytes of each photo in a draft's complete shards."""
    made_of = [
        Candidate(Path(path), "", sha256, problem, note=note)
        for path, sha256, problem, note in json.loads((draft / CONTENTS).read_text())["photos"]
    ]
    known: dict[Identity, Callable[[], tuple[Record, bytes]]] = {}
    for shard, part in shards_of(draft / SHARDS, made_of):
        if not (shard.is_of(part) and shard.is_complete()):
            continue
        pixels, place = shard.photos(image_size), 0
        for photo, record in zip(part, shard.records(), strict=True):
            if not is_momentary(record["reason"]):
                known[_identity(photo)] = partial(_read, record, pixels, place)
            place += not record["reason"]
    return known


def _read(record: Record, pixels: np.ndarray, place: int) -> tuple[Record, bytes]:
    return record, b"" if record["reason"] else pixels[place].tobytes()


def _identity(photo: Candidate) -> Identity:
    return str(photo.path.absolute()), photo.sha256, photo.problem, photo.note


def _pixel_key(config: DataConfig, rules: RuleVersions) -> str:
    flags = config.data_config().model_dump(mode="json", include=PIXEL_FLAGS)
    return hashlib.sha256(json.dumps([flags, rules], sort_keys=True).encode()).hexdigest()
