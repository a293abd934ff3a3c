"""Finds the folder of class folders that the ``data`` flag means, and makes the built-in ones.

Owns the flag's meaning and the places under the raw folder. What is in a folder is the business of `intake.py`.
"""

from __future__ import annotations

import logging
from collections.abc import Callable
from pathlib import Path

from filelock import FileLock

from pipeline.config import UserError
from pipeline.data.archives import download, extract_tar
from pipeline.data.synthetic import write_synthetic

FLOWER_PHOTOS_URL = "https://storage.googleapis.com/download.tensorflow.org/example_images/flower_photos.tgz"
FLOWER_PHOTOS_BYTES = 228_813_984
# The digest that TensorFlow Datasets records for this archive.
FLOWER_PHOTOS_SHA256 = "4c54ace7911aaffe13a365c34f650e71dd5bf1be0a58b464e5a7183e3e595d9c"

log = logging.getLogger(__name__)


def photo_folder(data: str, raw_dir: Path) -> Path:
    """Return the folder of class folders that ``data`` means; built-in photos are made under ``raw_dir`` once."""
    try:
        return BUILT_IN[data](raw_dir) if data in BUILT_IN else _users_folder(data)
    except OSError as error:
        raise UserError(
            f"data={data} must be readable, and its place writable, got {error} (check permissions and free space)"
        ) from error


def _users_folder(data: str) -> Path:
    remedies = "use flower_photos, synthetic, or the path of a folder that holds one folder of photos per class"
    try:
        folder = Path(data).expanduser()
        if folder.is_dir():
            return folder
        exists = folder.exists()
    except (OSError, RuntimeError) as error:  # no permission, name too long; no such user
        raise UserError(f"data must be an existing folder, got {data}: {error} ({remedies})") from error
    if exists:
        raise UserError(f"data must be a folder, got the file {data} (unpack it and pass the folder, or {remedies})")
    raise UserError(f"data must be an existing folder, got {data}, not found at {folder.absolute()} ({remedies})")


def draw_synthetic(raw_dir: Path) -> Path:
    """Return the folder of synthetic photos, drawn the first time."""
    # Another version number for another picture: prepared data and results are never mixed.
    return _made_once(raw_dir / "synthetic-v1", write_synthetic)


def download_flower_photos(
    raw_dir: Path, url: str = FLOWER_PHOTOS_URL, sha256: str = FLOWER_PHOTOS_SHA256, size: int = FLOWER_PHOTOS_BYTES
) -> Path:
    """Return the folder of Flower Photos, downloaded and unpacked the first time.

    The archive stays: raw data is never modified, and a lost folder comes back without a network.
    """
    archive = raw_dir / "flower_photos.tgz"

    def make(folder: Path) -> None:
        try:
            download(url, archive, sha256, size)
        except UserError as error:
            raise UserError(f"{error}; or use data=synthetic or data=path/to/folder") from error
        extract_tar(archive, folder)

    return _made_once(raw_dir / "flower_photos", make)


BUILT_IN: dict[str, Callable[[Path], Path]] = {"flower_photos": download_flower_photos, "synthetic": draw_synthetic}


def _made_once(folder: Path, make: Callable[[Path], None]) -> Path:
    if not _holds_something(folder):
        folder.parent.mkdir(parents=True, exist_ok=True)
        # Two processes must not append to one part file; the slower one finds the folder made.
        with FileLock(folder.with_name(f".{folder.name}.lock")):
            if not _holds_something(folder):
                log.info("making %s", folder)
                make(folder)
    return folder


def _holds_something(folder: Path) -> bool:
    return folder.is_dir() and any(folder.iterdir())
