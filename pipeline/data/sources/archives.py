"""Unpacks .zip and .tar archives safely: only regular files and folders, inside the target, within size limits.

Does not own which archive to unpack, nor where (`resolve.py`). The folder is renamed when it is complete. Rejected: the
standard library's ``extractall``, whose tar filters came with Python 3.11.4, and which trusts the header of a zip.
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
ARCHIVE_ERRORS = (
    tarfile.TarError, zipfile.BadZipFile, EOFError, zlib.error, gzip.BadGzipFile, FileExistsError, NotADirectoryError,
    NotImplementedError, RuntimeError,
)  # fmt: skip


class Member(NamedTuple):
    """An entry of an archive: a file with content, a folder, or something else."""

    name: str
    is_file: bool
    is_folder: bool
    open: Callable[[], IO[bytes] | None]


def extract(
    archive: Path,
    folder: Path,
    limit_files: int = LIMIT_FILES,
    limit_bytes: int = LIMIT_BYTES,
    strip_components: int = 0,
) -> None:
    """Unpack an archive into ``folder``, without the first ``strip_components`` parts of every path.

    Raises UserError, and leaves nothing behind, on a link, a device, a path outside the target, a password, or too many
    files or bytes.
    """
    files, bytes_left = 0, limit_bytes
    try:
        with atomic_folder(folder) as draft, _members(archive) as members:
            for member in members:
                path = draft.joinpath(*_safe_path(member, archive).parts[strip_components:])
                files += 1
                bytes_left -= _write(member, path, bytes_left)
                if files > limit_files or bytes_left < 0:
                    raise UserError(
                        f"{archive} must unpack to at most {limit_files} files and {limit_bytes} bytes, got more at "
                        f"{member.name} (unpack it by hand and pass the folder as data)"
                    )
    except ARCHIVE_ERRORS as error:
        raise UserError(
            f"{archive} must be a whole archive without a password, got {first_line(error)} "
            "(get it again, or unpack it by hand and pass the folder as data)"
        ) from error


def _write(member: Member, path: Path, max_bytes: int) -> int:
    """Create a folder, or write a file up to about ``max_bytes``; return the bytes written."""
    if not member.is_file:
        path.mkdir(parents=True, exist_ok=True)
        return 0
    path.parent.mkdir(parents=True, exist_ok=True)
    written = 0
    content = member.open()
    assert content is not None, "a file has content"
    with content, path.open("xb") as file:
        while written <= max_bytes and (chunk := content.read(CHUNK_BYTES)):  # a zip's header may understate the size
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
            yield (_zip_member(opened, info) for info in opened.infolist())
    else:
        with tarfile.open(archive) as members:
            yield (_tar_member(members, info) for info in members)


def _zip_member(archive: zipfile.ZipFile, info: zipfile.ZipInfo) -> Member:
    kind = stat.S_IFMT(info.external_attr >> 16)  # 0 in archives from systems without Unix modes
    is_file = not info.is_dir() and kind in (0, stat.S_IFREG)
    return Member(info.filename, is_file, info.is_dir(), lambda: archive.open(info))


def _tar_member(archive: tarfile.TarFile, info: tarfile.TarInfo) -> Member:
    return Member(info.name, info.isreg(), info.isdir(), lambda: archive.extractfile(info))
