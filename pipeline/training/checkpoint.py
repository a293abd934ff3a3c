"""Exact state of a training on disk: one file per checkpoint, whole or absent, the last two kept.

A file is a NumPy .npz archive (no pickle) named ``<epoch>-<step>-<digest>.npz``, where the digest is that of its bytes.
It is written under another name, synced and renamed, so that being killed inside a save costs nothing.
Keras' `BackupAndRestore` was not taken: it leaves out random seeds and the best epoch so far, and writes in place.
"""

from __future__ import annotations

import hashlib
import io
import json
import os
import time
import zipfile
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any, BinaryIO

import numpy as np

from pipeline.config import UserError
from pipeline.files import replace_durably, sha256_of_file

FORMAT = 2  # raise when the files of an older version can no longer be read
KEPT = 2
MOST_OF_THE_TIME = 1 / 50  # that saving may take
AT_LEAST_S = 30.0  # between two checkpoints
DIGEST_CHARACTERS = 16


@dataclass(frozen=True)
class Saved:
    """What was saved: arrays in their order by name, and whatever JSON can say."""

    arrays: dict[str, np.ndarray]
    progress: dict[str, Any]


class Checkpoints:
    """The checkpoints of one training in a folder of their own.

    Args:
        folder: made when the first checkpoint is saved.
        identity: what must be the same for a training to go on: name -> value.
        at_least_s: seconds between two checkpoints at least.
    """

    def __init__(self, folder: Path, identity: Mapping[str, str], at_least_s: float = AT_LEAST_S) -> None:
        self._folder, self._at_least_s = folder, at_least_s
        self._identity = {"checkpoint format": str(FORMAT), **identity}
        self._saved_at, self._cost_s = time.monotonic(), 0.0

    def due(self) -> bool:
        """Return whether it is time for another checkpoint: seldom enough to cost `MOST_OF_THE_TIME` at most."""
        return time.monotonic() - self._saved_at >= max(self._at_least_s, self._cost_s / MOST_OF_THE_TIME)

    def save(self, epoch: int, step: int, saved: Saved) -> None:
        """Write a checkpoint of a training that has so many epochs and steps behind it, and drop all but the last two.

        Raises:
            UserError: the disk is full or cannot be written; what was saved before is still there.
        """
        started = time.monotonic()
        draft = self._folder / f"{os.getpid()}.part"
        about = {"identity": self._identity, "progress": saved.progress}
        try:
            self._folder.mkdir(parents=True, exist_ok=True)
            with draft.open("wb") as file:
                hashing = _HashingFile(file)
                np.savez(hashing, about=np.array(json.dumps(about)), **saved.arrays)  # type: ignore[arg-type]
            replace_durably(draft, self._folder / f"{epoch:06d}-{step:09d}-{hashing.digest()}.npz")
        except OSError as error:
            draft.unlink(missing_ok=True)
            raise UserError(
                f"checkpoints must fit into {self._folder}, got {error.strerror or error} (make room or permit "
                "writing, and run the same command again)"
            ) from error
        for old in self._files()[KEPT:]:
            old.unlink(missing_ok=True)
        self._saved_at = time.monotonic()
        self._cost_s = self._saved_at - started

    def load(self) -> Saved | None:
        """Return the newest checkpoint that is undamaged, or None.

        Raises:
            UserError: it belongs to other code or other photos.
        """
        for file in self._files():
            try:
                return self._read(file)
            except (OSError, ValueError, KeyError, zipfile.BadZipFile) as error:
                print(f"checkpoint {file} is damaged ({error}); taking the one before it", flush=True)
        return None

    def remove(self) -> None:
        """Remove all checkpoints: the training has ended."""
        for file in [*self._files(), *self._folder.glob("*.part")]:
            file.unlink(missing_ok=True)
        if self._folder.is_dir() and not any(self._folder.iterdir()):
            self._folder.rmdir()

    def _files(self) -> list[Path]:
        return sorted(self._folder.glob("*.npz"), reverse=True)

    def _read(self, file: Path) -> Saved:
        if sha256_of_file(file)[:DIGEST_CHARACTERS] != file.stem.rpartition("-")[2]:
            raise ValueError("its digest is another")
        with np.load(file, allow_pickle=False) as archive:
            arrays = {name: archive[name] for name in archive.files}
        about = json.loads(str(arrays.pop("about")))
        self._check_identity(file, about["identity"])
        return Saved(arrays, about["progress"])

    def _check_identity(self, file: Path, found: Mapping[str, str]) -> None:
        different = [
            f"{name} {found.get(name)} (now {self._identity.get(name)})"
            for name in sorted({*found, *self._identity})
            if found.get(name) != self._identity.get(name)
        ]
        if different:
            raise UserError(
                f"a training goes on with the code and the photos that it began with, got {file} with "
                f"{', '.join(different)} (resume=never begins anew)"
            )


class _HashingFile(io.BufferedIOBase):
    """A file that can only be written, and knows the digest of what was."""

    def __init__(self, file: BinaryIO) -> None:
        self._file, self._digest = file, hashlib.sha256()

    def writable(self) -> bool:
        return True

    def write(self, data: Any) -> int:
        self._digest.update(data)
        return self._file.write(data)

    def digest(self) -> str:
        return self._digest.hexdigest()[:DIGEST_CHARACTERS]
