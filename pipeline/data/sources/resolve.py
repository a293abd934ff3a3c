"""Resolves the ``data`` flag to photos: built-in ones, a folder, an archive, a table, an MLflow artifact.

Owns the flag's meaning and the paths under the raw folder. Does not own the content of a folder (`intake`).
"""

from __future__ import annotations

import hashlib
import logging
import os
from collections.abc import Callable, Mapping
from pathlib import Path
from types import MappingProxyType
from typing import NamedTuple

from filelock import FileLock

from pipeline.config import UserError
from pipeline.data.intake import TABLE_SUFFIXES, beside, class_root
from pipeline.data.sources import archives
from pipeline.data.sources.artifacts import ARTIFACT_URI, fetch_artifact
from pipeline.data.sources.downloads import download
from pipeline.data.sources.notebook_split import notebook_table
from pipeline.data.sources.synthetic import write_synthetic
from pipeline.files import atomic_file

FLOWER_PHOTOS_URL = "https://storage.googleapis.com/download.tensorflow.org/example_images/flower_photos.tgz"
FLOWER_PHOTOS_BYTES = 228_813_984
# The digest recorded by TensorFlow Datasets for this archive.
FLOWER_PHOTOS_SHA256 = "4c54ace7911aaffe13a365c34f650e71dd5bf1be0a58b464e5a7183e3e595d9c"

# Flower Photos unpacks to 3,671 files; JPEG files do not shrink in an archive.
FLOWER_PHOTOS_LIMITS = {"limit_files": 20_000, "limit_bytes": 1 << 30}

log = logging.getLogger(__name__)


class Source(NamedTuple):
    """Where photos are: the folder that their names are relative to, and the table that lists them, if there is one.

    ``beside`` is what lies beside that folder, in folders that wrap it, with the reason to ignore it.
    """

    folder: Path
    table: Path | None = None
    beside: Mapping[Path, str] = MappingProxyType({})


def photo_source(data: str, raw_dir: Path) -> Source:
    """Return the source that ``data`` names; drawn, downloaded or unpacked photos are kept under ``raw_dir``."""
    try:
        if data in BUILT_IN:
            path = BUILT_IN[data](raw_dir)
            return Source(path) if path.is_dir() else Source(path.parent, path)
        path = fetch_artifact(data, raw_dir) if ARTIFACT_URI.match(data) else _user_path(data)
        if path.is_dir():
            return _wrapped(path)
        if path.suffix.lower() in TABLE_SUFFIXES:
            return Source(path.parent, path)
        return _wrapped(_unpack(path, raw_dir))
    except OSError as error:
        raise UserError(
            f"data={data} must be readable, and its folder writable, got {error} (check permissions and free space)"
        ) from error


def _wrapped(folder: Path) -> Source:
    root = class_root(folder)
    return Source(root, beside=beside(folder, root))


def _user_path(data: str) -> Path:
    remedies = (
        "use flower_photos, synthetic, a folder that holds one folder of photos per class, an archive of such a "
        f"folder ({', '.join(archives.SUFFIXES)}), or a .csv or .parquet with the columns path and label"
    )
    try:
        path = Path(data).expanduser()
        exists = path.exists()
    except (OSError, RuntimeError) as error:  # no permission, name too long; no such user
        raise UserError(f"data must be an existing folder or file, got {data}: {error} ({remedies})") from error
    if not exists:
        raise UserError(
            f"data must be an existing folder or file, got {data}, not found at {path.absolute()} ({remedies})"
        )
    name = path.name.lower()
    if not path.is_dir() and not path.is_file():  # opening a pipe would block for ever
        raise UserError(f"data must be a folder or a regular file, got {data} ({remedies})")
    if not path.is_dir() and not name.endswith((*archives.SUFFIXES, *TABLE_SUFFIXES)):
        if tool := next((tool for suffix, tool in archives.OTHERS.items() if name.endswith(suffix)), ""):
            remedies = f"unpack it with {tool} and give the folder, or make it one of {', '.join(archives.SUFFIXES)}"
        raise UserError(f"data must be a folder, an archive or a table, got the file {data} ({remedies})")
    return path


def _unpack(archive: Path, raw_dir: Path) -> Path:
    """Return the folder of an archive's files, unpacked the first time and whenever the archive has changed."""
    status = archive.stat()
    key = _key(f"{archive.absolute()} {status.st_size} {status.st_mtime_ns}")
    return _make_once(
        raw_dir / f"{archive.name.partition('.')[0]}-{key}", lambda folder: archives.extract(archive, folder)
    )


def _key(text: str) -> str:
    return hashlib.sha256(os.fsencode(text)).hexdigest()[:12]


def draw_synthetic(raw_dir: Path) -> Path:
    """Return the folder of synthetic photos, drawn the first time."""
    # If the drawings change, so must the version number: prepared data and results are never mixed.
    return _make_once(raw_dir / "synthetic-v1", write_synthetic)


def download_flower_photos(
    raw_dir: Path, url: str = FLOWER_PHOTOS_URL, sha256: str = FLOWER_PHOTOS_SHA256, size: int = FLOWER_PHOTOS_BYTES
) -> Path:
    """Return the folder of Flower Photos, downloaded and unpacked the first time.

    The archive is kept: raw data is never modified, and a lost folder can be restored without a network.
    """
    archive = raw_dir / "flower_photos.tgz"

    def make(folder: Path) -> None:
        try:
            download(url, archive, sha256, size)
        except UserError as error:
            raise UserError(f"{error}; or use data=synthetic or data=path/to/folder") from error
        archives.extract(archive, folder, **FLOWER_PHOTOS_LIMITS, strip_components=1)

    return _make_once(raw_dir / "flower_photos", make)


def flower_photos_as_in_notebook(raw_dir: Path) -> Path:
    """Return the table with a published notebook's split of Flower Photos, written the first time."""
    table = raw_dir / "flower_photos_notebook-v2.csv"  # if the split changes, so must the number: see draw_synthetic
    photos = download_flower_photos(raw_dir)
    with FileLock(raw_dir / ".flower_photos_notebook.lock"):
        if not table.exists():
            with atomic_file(table) as draft:
                notebook_table(photos).to_csv(draft, index=False)
    return table


BUILT_IN: dict[str, Callable[[Path], Path]] = {
    "flower_photos": download_flower_photos,
    "flower_photos_notebook": flower_photos_as_in_notebook,
    "synthetic": draw_synthetic,
}


def _make_once(folder: Path, make: Callable[[Path], None]) -> Path:
    if not _has_content(folder):
        folder.parent.mkdir(parents=True, exist_ok=True)
        # Two processes must not append to one part file; the second one finds the finished folder.
        with FileLock(folder.with_name(f".{folder.name}.lock")):
            if not _has_content(folder):
                log.info("generating %s", folder)
                make(folder)
    return folder


def _has_content(folder: Path) -> bool:
    return folder.is_dir() and any(folder.iterdir())
