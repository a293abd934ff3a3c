"""Unpacks .zip and .tar archives safely: regular files and folders alone, inside the target, and not without end.

Which archive, and where to, is the business of `sources.py`. The folder is renamed when whole. The standard library's
``extractall`` was not taken: its filters for tar came with Python 3.11.4, and for zip it believes what a header claims.
"""

from __future__ import annotations

import contextlib
import gzip
import stat
import tarfile
import zipfile
import zlib
from collections.abc import Callable, Iterator
from pathlib import Path, PurePosixPath, PureWindowsPath
from typing import IO, NamedTuple

from pipeline.config import UserError, first_line
from pipeline.files import atomic_folder

SUFFIXES = (".zip", ".tar", ".tgz", ".tar.gz", ".tar.bz2", ".tar.xz")
LIMIT_FILES, LIMIT_BYTES = 1_000_000, 100 << 30
CHUNK_BYTES = 1 << 20
DAMAGED = (
    tarfile.TarError, zipfile.BadZipFile, EOFError, zlib.error, gzip.BadGzipFile, FileExistsError, NotADirectoryError,
    NotImplementedError, RuntimeError,
)  # fmt: skip


class Member(NamedTuple):
    """What an archive holds under a name: a file with content, a folder, or something that is neither."""

    name: str
    is_file: bool
    is_folder: bool
    open: Callable[[], IO[bytes] | None]


def extract(
    archive: Path, folder: Path, limit_files: int = LIMIT_FILES, limit_bytes: int = LIMIT_BYTES, strip: int = 0
) -> None:
    """Unpack an archive into ``folder``, without the first ``strip`` parts of every path.

    Raises UserError, and leaves nothing, on a link, a device, a path that leads outside, a password, or too much of
    anything.
    """
    files, left = 0, limit_bytes
    try:
        with atomic_folder(folder) as unfinished, _members(archive) as members:
            for member in members:
                path = unfinished.joinpath(*_safe_path(member, archive).parts[strip:])
                files += 1
                left -= _write(member, path, left)
                if files > limit_files or left < 0:
                    raise UserError(
                        f"{archive} must unpack to at most {limit_files} files and {limit_bytes} bytes, got more at "
                        f"{member.name} (unpack it by hand and pass the folder as data)"
                    )
    except DAMAGED as error:
        raise UserError(
            f"{archive} must be a whole archive without a password, got {first_line(error)} "
            "(get it again, or unpack it by hand and pass the folder as data)"
        ) from error


def _write(member: Member, path: Path, most: int) -> int:
    """Make a folder, or write a file's bytes, but hardly more than ``most``; return how many."""
    if not member.is_file:
        path.mkdir(parents=True, exist_ok=True)
        return 0
    path.parent.mkdir(parents=True, exist_ok=True)
    written = 0
    content = member.open()
    assert content is not None, "a file has content"
    with content, path.open("xb") as file:
        while written <= most and (chunk := content.read(CHUNK_BYTES)):  # a zip's header may claim less than there is
            written += file.write(chunk)
    return written


def _safe_path(member: Member, archive: Path) -> PurePosixPath:
    path, drive = PurePosixPath(member.name.replace("\\", "/")), PureWindowsPath(member.name).drive
    if not (member.is_file or member.is_folder) or path.is_absolute() or ".." in path.parts or drive:
        raise UserError(
            f"{archive} must hold only files and folders with relative paths, got {member.name} "
            "(do not use this archive; unpack a trusted one by hand and pass the folder as data)"
        )
    return path


@contextlib.contextmanager
def _members(archive: Path) -> Iterator[Iterator[Member]]:
    if archive.suffix.lower() == ".zip":
        with zipfile.ZipFile(archive) as opened:
            yield (_of_zip(opened, info) for info in opened.infolist())
    else:
        with tarfile.open(archive) as members:
            yield (_of_tar(members, info) for info in members)


def _of_zip(archive: zipfile.ZipFile, info: zipfile.ZipInfo) -> Member:
    kind = stat.S_IFMT(info.external_attr >> 16)  # 0 where the archive comes from a system without Unix modes
    is_file = not info.is_dir() and kind in (0, stat.S_IFREG)
    return Member(info.filename, is_file, info.is_dir(), lambda: archive.open(info))


def _of_tar(archive: tarfile.TarFile, info: tarfile.TarInfo) -> Member:
    return Member(info.name, info.isreg(), info.isdir(), lambda: archive.extractfile(info))
