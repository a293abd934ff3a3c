"""One shard: a run of candidate photos, decoded into two files by a process of its own, which a hostile file may end.

``00012.jsonl`` has a line per photo, ``00012.pixels`` the prepared pixels and the grey copy of those that can be used,
one after the other. They get these names when they are whole, pixels first; until then their names hold the writer's
token, so that what a killed command left is never mixed with what the next one writes. Who starts the processes, and
what is said of a photo that ended one, is the business of `shard_processes.py`.
"""

from __future__ import annotations

import hashlib
import json
import os
import signal
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import cv2
import numpy as np

from pipeline.config import DataConfig, first_line
from pipeline.data.intake import Candidate, printable
from pipeline.data.pixels.decode import FORMATS, BadImage, decode_with_notes, prepare
from pipeline.data.pixels.fingerprints import GREY_PX, fingerprint
from pipeline.data.pixels.thumbnails import thumbnail
from pipeline.data.rules import by_rule
from pipeline.files import sha256_of_file

DECODE_LIMIT_S = 60.0  # for one photo, reading included; the largest that max_pixels allows by itself takes about 3
MOST_BYTES_PER_PIXEL = 8  # of a file: 16 bits in four channels, uncompressed
SHA256 = "sha256"

Record = dict[str, Any]  # what became of a photo: JSON


@dataclass(frozen=True)
class Shard:
    """Where the files of shard ``number`` are; ``token`` marks those of one command that are not whole yet."""

    folder: Path
    number: int
    token: str

    @property
    def records_file(self) -> Path:
        """Its records, and last the digest of its pixels."""
        return self.folder / f"{self.number:05d}.jsonl"

    @property
    def pixels_file(self) -> Path:
        """Its photos: bytes of `photo_type`."""
        return self.folder / f"{self.number:05d}.pixels"

    def unfinished(self, file: Path) -> Path:
        """Return what one of its files is called until it is whole."""
        return file.with_name(f"{file.name}.{self.token}")

    def has_begun(self) -> bool:
        """Return whether a process has taken it up."""
        return self.unfinished(self.pixels_file).exists()

    def is_whole(self) -> bool:
        """Return whether both files are there and the pixels are those that were written."""
        lines = _lines(self.records_file)
        if not lines or SHA256 not in lines[-1] or not self.pixels_file.exists():
            return False
        return bool(sha256_of_file(self.pixels_file) == lines[-1][SHA256])

    def records(self) -> list[Record]:
        """Return a record per photo, of a whole shard."""
        return _lines(self.records_file)[:-1]

    def records_so_far(self) -> list[Record]:
        """Return the records that an unfinished shard has."""
        return _lines(self.unfinished(self.records_file))

    def add(self, record: Record) -> None:
        """Append a record to an unfinished shard."""
        with self.unfinished(self.records_file).open("a") as file:
            file.write(_as_line(record))

    def photos(self, image_size: int) -> np.ndarray:
        """Return the memory-mapped usable photos of a whole shard, a structured array of `photo_type`."""
        if not self.pixels_file.stat().st_size:
            return np.empty(0, photo_type(image_size))
        return np.memmap(self.pixels_file, photo_type(image_size), "r")

    def remove(self) -> None:
        """Delete the files of a whole shard, records first."""
        self.records_file.unlink()
        self.pixels_file.unlink()


def photo_type(image_size: int) -> np.dtype[np.void]:
    """Return the type of a photo in a shard: ``image`` is uint8 RGB, ``grey`` as in `fingerprints.Fingerprint`."""
    return np.dtype([("image", np.uint8, (image_size, image_size, 3)), ("grey", np.uint8, (GREY_PX, GREY_PX))])


def written_shards(folder: Path) -> list[Shard]:
    """Return the shards of a folder in which all are whole, in the order of their photos."""
    return [Shard(folder, int(file.stem), token="") for file in sorted(folder.glob("*.jsonl"))]


def write_shard(shard: Shard, photos: Sequence[Candidate], config: DataConfig, version: int) -> None:
    """Decode the photos of a shard, or those that have no record yet; runs in a process of its own."""
    _silence_the_decoders()
    cv2.setNumThreads(1)  # the processes share the cores
    done = shard.records_so_far()
    pixels_file = shard.unfinished(shard.pixels_file)
    records_file = shard.unfinished(shard.records_file)
    with pixels_file.open("a+b") as pixels, records_file.open("a", buffering=1) as records:  # a line at a time
        pixels.truncate(sum(not record["reason"] for record in done) * photo_type(config.image_size).itemsize)
        pixels.seek(0)
        pixels_sum = hashlib.file_digest(pixels, SHA256)
        for photo in photos[len(done) :]:
            with _ends_the_process_after(DECODE_LIMIT_S):
                record, bytes_of_photo = examined(photo, config, version)
            if bytes_of_photo:
                pixels.write(bytes_of_photo)
                pixels.flush()
                pixels_sum.update(bytes_of_photo)
            records.write(_as_line(record))
        records.write(_as_line({SHA256: pixels_sum.hexdigest()}))
    pixels_file.replace(shard.pixels_file)
    records_file.replace(shard.records_file)


def examined(photo: Candidate, config: DataConfig, version: int) -> tuple[Record, bytes]:
    """Return what became of a photo by a version of the rules of pixels, and its bytes of `photo_type` if usable."""
    if photo.problem:
        return refused(photo.problem), b""
    data = b""
    try:
        data = _read(photo.path, MOST_BYTES_PER_PIXEL * config.max_pixels)
        if hashlib.sha256(data).hexdigest() != photo.sha256:
            raise BadImage(by_rule("changed on the disk"))
        image, name, notes = decode_with_notes(data, config.max_pixels, version)
        looks = fingerprint(image)._asdict()
        pixels = prepare(image, config.image_size, config.resize, config.image_ops, version)
    except BadImage as error:
        return refused(str(error), thumbnail(data, config.max_pixels)), b""
    except OSError as error:
        return refused(by_rule("cannot be read", error.strerror)), b""
    except (MemoryError, cv2.error) as error:
        return refused(by_rule("cannot be prepared", first_line(error))), b""
    notes = (*notes, *_notes_on_name(photo.path, name), *([photo.note] if photo.note else []))
    bytes_of_photo = pixels.tobytes() + looks.pop("grey").tobytes()
    return _record(notes=notes, width=image.shape[1], height=image.shape[0], **looks), bytes_of_photo


def refused(reason: str, thumbnail: str = "") -> Record:
    """Return the record of a photo that cannot be used."""
    return _record(reason=reason, thumbnail=thumbnail)


def _record(**known: object) -> Record:
    nothing = {"reason": "", "notes": (), "thumbnail": "", "width": 0, "height": 0}
    return nothing | {"pixels": "", "phash": 0, "mirrored_phash": 0} | known


def _notes_on_name(path: Path, name: str) -> list[str]:
    """Return a note if the name of a file of a format does not promise that format."""
    name = "JPEG" if name == "MPO" else name  # which is several JPEGs in a file
    named = f"{name} named {printable(path.suffix)}"
    fits = not path.suffix or path.suffix.lower() in FORMATS[name]
    return [] if fits else [by_rule("named like another format", named)]


def _read(path: Path, most_bytes: int) -> bytes:
    with path.open("rb") as file:
        if (size := os.fstat(file.fileno()).st_size) > most_bytes:
            raise BadImage(by_rule("too many bytes", size))
        return file.read()


def _as_line(record: Record) -> str:
    return json.dumps(record) + "\n"


def _lines(file: Path) -> list[Record]:
    """Return the whole lines of a file of JSON lines; the writer may have been killed in the last one."""
    try:
        text = file.read_text()
    except FileNotFoundError:
        return []
    return [json.loads(line) for line in text.splitlines(keepends=True) if line.endswith("\n")]


@contextmanager
def _ends_the_process_after(seconds: float) -> Iterator[None]:
    """Let the system end this process unless the block ends in time, wherever in a decoder it hangs."""
    signal.signal(signal.SIGALRM, signal.SIG_DFL)
    signal.setitimer(signal.ITIMER_REAL, seconds)
    yield
    signal.setitimer(signal.ITIMER_REAL, 0)


def _silence_the_decoders() -> None:
    """Send what C libraries print about damaged files nowhere, and leave no dumps of memory of those that crash."""
    import resource

    resource.setrlimit(resource.RLIMIT_CORE, (0, 0))
    with Path(os.devnull).open("wb") as nowhere:
        os.dup2(nowhere.fileno(), 2)
