"""Exact training state on disk: one atomically written file per checkpoint; the last two are kept.

A file is a NumPy .npz archive (no pickle) named ``<epoch>-<step>-<digest>.npz``; the digest is that of its bytes. It is
written under another name, synced and renamed, so that a kill during a save does no harm. Rejected: Keras'
`BackupAndRestore`, which omits random seeds and the best epoch so far, and writes in place.
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

FORMAT = 2  # increment when older files can no longer be read
KEEP_NEWEST = 2
MAX_TIME_SHARE = 1 / 50  # spent on saving
MIN_INTERVAL_S = 30.0  # between two checkpoints, at least
DIGEST_LENGTH = 16


@dataclass(frozen=True)
class TrainingState:
    """The saved state: named arrays in order, and progress as JSON."""

    arrays: dict[str, np.ndarray]
    progress: dict[str, Any]


class Checkpoints:
    """The checkpoints of one training, in a folder of their own.

    Args:
        folder: created when the first checkpoint is saved.
        identity: name -> value of what must be unchanged for a training to resume.
        min_interval_s: minimum seconds between two checkpoints.
    """

    def __init__(self, folder: Path, identity: Mapping[str, str], min_interval_s: float = MIN_INTERVAL_S) -> None:
        self._folder, self._min_interval_s = folder, min_interval_s
        self._identity = {"checkpoint format": str(FORMAT), **identity}
        self._last_save, self._cost_s = time.monotonic(), 0.0

    def due(self) -> bool:
        """Return whether the next checkpoint is due: so rarely that saving costs at most `MAX_TIME_SHARE`."""
        return time.monotonic() - self._last_save >= max(self._min_interval_s, self._cost_s / MAX_TIME_SHARE)

    def save(self, epoch: int, step: int, state: TrainingState) -> None:
        """Write a checkpoint after this many epochs and steps, and delete all but the newest two.

        Raises:
            UserError: the disk is full or not writable; earlier checkpoints remain.
        """
        started = time.monotonic()
        draft = self._folder / f"{os.getpid()}.part"
        about = {"identity": self._identity, "progress": state.progress}
        try:
            self._folder.mkdir(parents=True, exist_ok=True)
            with draft.open("wb") as file:
                hashing = _HashingFile(file)
                np.savez(hashing, about=np.array(json.dumps(about)), **state.arrays)  # type: ignore[arg-type]
            replace_durably(draft, self._folder / f"{epoch:06d}-{step:09d}-{hashing.digest()}.npz")
        except OSError as error:
            draft.unlink(missing_ok=True)
            raise UserError(
                f"checkpoints must fit into {self._folder}, got {error.strerror or error} (free up space or allow "
                "writing, and run the same command again)"
            ) from error
        for old in self._files()[KEEP_NEWEST:]:
            old.unlink(missing_ok=True)
        self._last_save = time.monotonic()
        self._cost_s = self._last_save - started

    def load(self) -> TrainingState | None:
        """Return the newest undamaged checkpoint, or None.

        Raises:
            UserError: it belongs to other code or photos.
        """
        for file in self._files():
            try:
                return self._read(file)
            except (OSError, ValueError, KeyError, zipfile.BadZipFile) as error:
                print(f"checkpoint {file} is damaged ({error}); using the previous one", flush=True)
        return None

    def remove(self) -> None:
        """Delete all checkpoints, once the training has finished."""
        for file in [*self._files(), *self._folder.glob("*.part")]:
            file.unlink(missing_ok=True)
        if self._folder.is_dir() and not any(self._folder.iterdir()):
            self._folder.rmdir()

    def _files(self) -> list[Path]:
        return sorted(self._folder.glob("*.npz"), reverse=True)

    def _read(self, file: Path) -> TrainingState:
        if sha256_of_file(file)[:DIGEST_LENGTH] != file.stem.rpartition("-")[2]:
            raise ValueError("its digest is another")
        with np.load(file, allow_pickle=False) as archive:
            arrays = {name: archive[name] for name in archive.files}
        about = json.loads(str(arrays.pop("about")))
        self._check_identity(file, about["identity"])
        return TrainingState(arrays, about["progress"])

    def _check_identity(self, file: Path, recorded: Mapping[str, str]) -> None:
        differences = [
            f"{name} {recorded.get(name)} (now {self._identity.get(name)})"
            for name in sorted({*recorded, *self._identity})
            if recorded.get(name) != self._identity.get(name)
        ]
        if differences:
            raise UserError(
                f"a training must continue with the code and the photos that it started with, got {file} with "
                f"{', '.join(differences)} (resume=never starts over)"
            )


class _HashingFile(io.BufferedIOBase):
    """A write-only file that computes the digest of what is written."""

    def __init__(self, file: BinaryIO) -> None:
        self._file, self._digest = file, hashlib.sha256()

    def writable(self) -> bool:
        return True

    def write(self, data: Any) -> int:
        self._digest.update(data)
        return self._file.write(data)

    def digest(self) -> str:
        return self._digest.hexdigest()[:DIGEST_LENGTH]
