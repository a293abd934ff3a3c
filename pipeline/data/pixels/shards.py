"""One shard: consecutive candidate photos, decoded into two files by a process of its own, which a bad file may crash.

``00012.jsonl`` has a line per photo and one with digests, ``00012.pixels`` the prepared pixels and the grey copy of
each usable photo, one after the other. The files get these names when they are complete, pixels first; until then their
names carry the writer's token, so that the leftovers of a killed command never mix with the next one's output. Does not
own starting the processes, nor the record of a photo that crashed one (`shard_processes.py`).
"""

from __future__ import annotations

import hashlib
import json
import os
import signal
from collections.abc import Iterable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import cv2
import numpy as np
from filelock import FileLock

from pipeline.config import DataConfig, first_line
from pipeline.data.intake import Candidate, printable
from pipeline.data.pixels.decode import FORMATS, BadImage, Decoded, decode_with_notes, prepare
from pipeline.data.pixels.decoding_v2 import USUAL_IMAGE_SIZE
from pipeline.data.pixels.fingerprints import GREY_PX, fingerprint
from pipeline.data.pixels.large_photos import share_turns
from pipeline.data.pixels.quality import quality_notes
from pipeline.data.pixels.thumbnails import thumbnail
from pipeline.data.rules import rule_text
from pipeline.files import sha256_of_file

DECODE_LIMIT_S = 60.0  # for one photo, reading included; waiting for a turn not; the largest takes about 5
MAX_BYTES_PER_PIXEL = 8  # of file size: 16 bits in four channels, uncompressed
SHA256, PHOTOS = "sha256", "photos"  # digests of a shard's pixels, and of those of its photos
LARGE_LOCK = ".large.lock"  # held by the process that decodes a large photo

Record = dict[str, Any]  # the result for one photo, as JSON


@dataclass(frozen=True)
class Shard:
    """The files of shard ``number``; ``token`` marks the incomplete ones of one command."""

    folder: Path
    number: int
    token: str

    @property
    def records_file(self) -> Path:
        """The records, and on the last line the digests of the pixels and of the photos."""
        return self.folder / f"{self.number:05d}.jsonl"

    @property
    def pixels_file(self) -> Path:
        """The usable photos: bytes of `photo_dtype`."""
        return self.folder / f"{self.number:05d}.pixels"

    def partial_file(self, file: Path) -> Path:
        """Return the path of one of its files until it is complete."""
        return file.with_name(f"{file.name}.{self.token}")

    def has_started(self) -> bool:
        """Return whether a process has started to write it."""
        return self.partial_file(self.pixels_file).exists()

    def is_of(self, photos: Sequence[Candidate]) -> bool:
        """Return whether these are its photos: on another machine, the photos may be divided otherwise."""
        lines = _complete_lines(self.records_file)
        return bool(lines) and lines[-1].get(PHOTOS) == _digest_of(photos)

    def is_complete(self) -> bool:
        """Return whether both files exist and the pixels match their digest."""
        lines = _complete_lines(self.records_file)
        if not lines or SHA256 not in lines[-1] or not self.pixels_file.exists():
            return False
        return bool(sha256_of_file(self.pixels_file) == lines[-1][SHA256])

    def records(self) -> list[Record]:
        """Return a record per photo of a complete shard."""
        return _complete_lines(self.records_file)[:-1]

    def partial_records(self) -> list[Record]:
        """Return the records of an incomplete shard."""
        return _complete_lines(self.partial_file(self.records_file))

    def append(self, record: Record) -> None:
        """Append a record to an incomplete shard."""
        with self.partial_file(self.records_file).open("a") as file:
            file.write(_json_line(record))

    def photos(self, image_size: int) -> np.ndarray:
        """Return the usable photos of a complete shard: a memory-mapped structured array of `photo_dtype`."""
        if not self.pixels_file.stat().st_size:
            return np.empty(0, photo_dtype(image_size))
        return np.memmap(self.pixels_file, photo_dtype(image_size), "r")

    def remove(self) -> None:
        """Delete the files of a complete shard, records first."""
        self.records_file.unlink()
        self.pixels_file.unlink()


def photo_dtype(image_size: int) -> np.dtype[np.void]:
    """Return the dtype of a photo in a shard: ``image`` is uint8 RGB, ``grey`` as in `fingerprints.Fingerprint`."""
    return np.dtype([("image", np.uint8, (image_size, image_size, 3)), ("grey", np.uint8, (GREY_PX, GREY_PX))])


def complete_shards(folder: Path) -> list[Shard]:
    """Return the shards of a folder in which all are complete, in the order of their photos."""
    return [Shard(folder, int(file.stem), token="") for file in sorted(folder.glob("*.jsonl"))]


def write_shard(shard: Shard, photos: Sequence[Candidate], config: DataConfig, version: int) -> None:
    """Decode the photos of a shard that have no record yet; runs in a process of its own."""
    _silence_decoders()
    cv2.setNumThreads(1)  # the processes share the cores
    large_lock = FileLock(shard.folder / LARGE_LOCK)
    share_turns(lambda: _untimed(large_lock))
    done = shard.partial_records()
    pixels_file = shard.partial_file(shard.pixels_file)
    records_file = shard.partial_file(shard.records_file)
    with pixels_file.open("a+b") as pixels, records_file.open("a", buffering=1) as records:  # line-buffered
        pixels.truncate(sum(not record["reason"] for record in done) * photo_dtype(config.image_size).itemsize)
        pixels.seek(0)
        pixels_digest = hashlib.file_digest(pixels, SHA256)
        for photo in photos[len(done) :]:
            with _kill_process_after(DECODE_LIMIT_S):
                record, photo_bytes = examine_photo(photo, config, version)
            if photo_bytes:
                pixels.write(photo_bytes)
                pixels.flush()
                pixels_digest.update(photo_bytes)
            records.write(_json_line(record))
        records.write(_json_line({SHA256: pixels_digest.hexdigest(), PHOTOS: _digest_of(photos)}))
    pixels_file.replace(shard.pixels_file)
    records_file.replace(shard.records_file)


def write_known_shard(shard: Shard, photos: Sequence[Candidate], known: Iterable[tuple[Record, bytes]]) -> None:
    """Write a shard of photos that were decoded before: the record of each, and its bytes of `photo_dtype`, if any."""
    pixels_file = shard.partial_file(shard.pixels_file)
    records_file = shard.partial_file(shard.records_file)
    digest = hashlib.new(SHA256)
    with pixels_file.open("wb") as pixels, records_file.open("w") as records:
        for record, photo_bytes in known:
            pixels.write(photo_bytes)
            digest.update(photo_bytes)
            records.write(_json_line(record))
        records.write(_json_line({SHA256: digest.hexdigest(), PHOTOS: _digest_of(photos)}))
    pixels_file.replace(shard.pixels_file)
    records_file.replace(shard.records_file)


def _digest_of(photos: Sequence[Candidate]) -> str:
    return hashlib.sha256("\n".join(photo.sha256 or photo.problem for photo in photos).encode()).hexdigest()


def examine_photo(photo: Candidate, config: DataConfig, version: int) -> tuple[Record, bytes]:
    """Return a photo's record by a version of the pixel rules, and its bytes of `photo_dtype`, empty if unusable."""
    if photo.problem:
        return refused_record(photo.problem), b""
    data = b""
    try:
        data = _read_bytes(photo.path, MAX_BYTES_PER_PIXEL * config.max_pixels)
        if hashlib.sha256(data).hexdigest() != photo.sha256:
            raise BadImage(rule_text("changed on the disk"))
        decoded = decode_with_notes(data, config.max_pixels, version, config.image_size)
        prints = fingerprint(_pixels_to_compare(decoded, data, config.max_pixels, version))._asdict()
        pixels = prepare(decoded.pixels, config.image_size, config.resize, config.image_ops, version)
    except BadImage as error:
        return refused_record(str(error), thumbnail(data, config.max_pixels)), b""
    except OSError as error:
        return refused_record(rule_text("cannot be read", error.strerror)), b""
    except (MemoryError, cv2.error) as error:
        return refused_record(rule_text("cannot be prepared", first_line(error))), b""
    notes = (*decoded.notes, *_name_notes(photo.path, decoded.format), *([photo.note] if photo.note else []))
    notes = (*notes, *quality_notes(decoded.pixels))
    photo_bytes = pixels.tobytes() + prints.pop("grey").tobytes()
    return _record(notes=notes, width=decoded.width, height=decoded.height, **prints), photo_bytes


def _pixels_to_compare(decoded: Decoded, data: bytes, max_pixels: int, version: int) -> np.ndarray:
    """Return a photo's pixels at a size that no data flag changes: so none changes which photos are duplicates."""
    if decoded.reduced_by == decoded.most_reduced:
        return decoded.pixels
    return decode_with_notes(data, max_pixels, version, USUAL_IMAGE_SIZE).pixels


def refused_record(reason: str, thumbnail: str = "") -> Record:
    """Return the record of an unusable photo."""
    return _record(reason=reason, thumbnail=thumbnail)


def _record(**fields: object) -> Record:
    defaults = {"reason": "", "notes": (), "thumbnail": "", "width": 0, "height": 0}
    return defaults | {"pixels": "", "phash": 0, "mirrored_phash": 0} | fields


def _name_notes(path: Path, name: str) -> list[str]:
    """Return a note if the suffix of a file does not fit its format."""
    name = "JPEG" if name == "MPO" else name  # an MPO is several JPEGs in one file
    mismatch = f"{name} named {printable(path.suffix)}"
    matches = not path.suffix or path.suffix.lower() in FORMATS[name]
    return [] if matches else [rule_text("named like another format", mismatch)]


def _read_bytes(path: Path, max_bytes: int) -> bytes:
    with path.open("rb") as file:
        if (size := os.fstat(file.fileno()).st_size) > max_bytes:
            raise BadImage(rule_text("too many bytes", size))
        return file.read()


def _json_line(record: Record) -> str:
    return json.dumps(record) + "\n"


def _complete_lines(file: Path) -> list[Record]:
    """Return the complete lines of a JSON Lines file; its writer may have been killed within the last one."""
    try:
        text = file.read_text()
    except FileNotFoundError:
        return []
    return [json.loads(line) for line in text.splitlines(keepends=True) if line.endswith("\n")]


@contextmanager
def _kill_process_after(seconds: float) -> Iterator[None]:
    """Let the kernel kill this process unless the block ends in time, even if a decoder hangs in C code."""
    signal.signal(signal.SIGALRM, signal.SIG_DFL)
    signal.setitimer(signal.ITIMER_REAL, seconds)
    yield
    signal.setitimer(signal.ITIMER_REAL, 0)


@contextmanager
def _untimed(lock: FileLock) -> Iterator[None]:
    """Wait for a lock as long as it takes, and give the block the time of a photo."""
    signal.setitimer(signal.ITIMER_REAL, 0)
    with lock:
        signal.setitimer(signal.ITIMER_REAL, DECODE_LIMIT_S)
        yield


def _silence_decoders() -> None:
    """Discard what C libraries print about damaged files, and disable core dumps."""
    import resource

    resource.setrlimit(resource.RLIMIT_CORE, (0, 0))
    with Path(os.devnull).open("wb") as devnull:
        os.dup2(devnull.fileno(), 2)
