"""Unpacks .zip and .tar archives safely: only regular files and folders, inside the target, within size limits.

Does not own which archive to unpack, nor where (`resolve.py`). The folder is renamed when it is complete. Rejected: the
standard library's ``extractall``, whose tar filters came with Python 3.11.4, and which trusts the header of a zip.
"""

from __future__ import annotations

import contextlib
import gzip
import logging
import lzma
import stat
import struct
import tarfile
import zipfile
import zlib
from collections.abc import Callable, Iterator
from functools import partial
from pathlib import Path, PurePosixPath, PureWindowsPath
from typing import IO, NamedTuple

from pipeline.config import UserError, first_line
from pipeline.files import atomic_folder

SUFFIXES = (".zip", ".tar", ".tgz", ".tar.gz", ".tar.bz2", ".tbz2", ".tar.xz", ".txz")
OTHERS = {  # archives that are named for what they are -> what unpacks them
    ".7z": "7z x", ".rar": "unrar x", ".tar.zst": "tar --zstd -xf", ".tar.lz4": "tar -I lz4 -xf", ".iso": "7z x",
    ".gz": "gunzip", ".bz2": "bunzip2", ".xz": "unxz", ".zst": "unzstd",
}  # fmt: skip
KINDS = {  # how files begin, in lower case
    b"pk\x03\x04": "a zip", b"rar!": "a RAR archive", b"7z\xbc\xaf": "a 7z archive", b"\x1f\x8b": "gzip",
    b"bzh": "bzip2", b"\xfd7zxz": "xz", b"<": "a web page", b"\0" * 16: "zeros",
}  # fmt: skip
LIMIT_FILES, LIMIT_BYTES = 1_000_000, 100 << 30
CHUNK_BYTES = 1 << 20
ARCHIVE_ERRORS = (
    tarfile.TarError, zipfile.BadZipFile, EOFError, zlib.error, gzip.BadGzipFile, lzma.LZMAError, struct.error,
    FileExistsError, FileNotFoundError, IsADirectoryError, NotADirectoryError, NotImplementedError, RuntimeError,
    ValueError,
)  # fmt: skip

log = logging.getLogger(__name__)


class Member(NamedTuple):
    """An entry of an archive: a file with content, a hard link to an earlier one, a folder, or something else."""

    name: str
    is_file: bool
    is_folder: bool
    open: Callable[[], IO[bytes] | None]
    linked: str = ""  # the name of the earlier file, whose content it has, too


def extract(
    archive: Path,
    folder: Path,
    limit_files: int = LIMIT_FILES,
    limit_bytes: int = LIMIT_BYTES,
    strip_components: int = 0,
) -> None:
    """Unpack an archive into ``folder``, without the first ``strip_components`` parts of every path.

    Of files with one name the last is taken, as other programs do, and a warning says so.

    Raises UserError, and leaves nothing behind, on a symbolic link, a device, a path outside the target, a password,
    too many files or bytes, or damage.
    """
    files, bytes_left = 0, limit_bytes
    twice: list[str] = []
    try:
        with atomic_folder(folder) as draft, _members(archive) as members:
            for member in members:
                path = _path_in(draft, member.name, member, archive, strip_components)
                if member.linked:
                    earlier = _path_in(draft, member.linked, member, archive, strip_components)
                    if earlier == path and path.is_file():  # GNU tar writes so of a linked file that is named twice
                        continue
                    member = member._replace(open=partial(_open, earlier))
                if member.is_file and path.is_file():
                    twice.append(member.name)
                files += 1
                bytes_left -= _write(member, path, bytes_left)
                if files > limit_files or bytes_left < 0:
                    raise UserError(
                        f"{archive} must unpack to at most {limit_files} files and {limit_bytes} bytes, got more at "
                        f"{member.name} (unpack it by hand and pass the folder as data)"
                    )
    except ARCHIVE_ERRORS as error:
        raise _damaged(archive, error) from error
    except OSError as error:
        if error.errno is not None:  # of the disk; damaged data of bzip2 have none
            raise
        raise _damaged(archive, error) from error
    if twice:
        log.warning(
            "%s has %d duplicate names, such as %s: the last file of each is used", archive, len(twice), twice[0]
        )


def _damaged(archive: Path, error: Exception) -> UserError:
    with archive.open("rb") as file:
        head = file.read(16).lower()
    kind = next((kind for start, kind in KINDS.items() if head.startswith(start)), "")
    found = f"{kind}: " if kind else ""
    return UserError(
        f"{archive} must be a complete archive without a password, got {found}{first_line(error).rstrip(': ')} "
        "(download it again, or unpack it by hand and pass the folder as data)"
    )


def _path_in(draft: Path, name: str, member: Member, archive: Path, strip_components: int) -> Path:
    """Return where an entry of this name is unpacked to."""
    return draft.joinpath(*_safe_path(name, member, archive).parts[strip_components:])


def _open(file: Path) -> IO[bytes]:
    return file.open("rb")


def _write(member: Member, path: Path, max_bytes: int) -> int:
    """Create a folder, or write a file up to about ``max_bytes``; return the bytes written."""
    if not member.is_file:
        path.mkdir(parents=True, exist_ok=True)
        return 0
    path.parent.mkdir(parents=True, exist_ok=True)
    written = 0
    content = member.open()
    assert content is not None, "a file has content"
    with content, path.open("wb") as file:
        while written <= max_bytes and (chunk := content.read(CHUNK_BYTES)):  # a zip's header may understate the size
            written += file.write(chunk)
    return written


def _safe_path(name: str, member: Member, archive: Path) -> PurePosixPath:
    path, drive = PurePosixPath(name.replace("\\", "/")), PureWindowsPath(name).drive
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
            while members.fileobj and members.fileobj.read(CHUNK_BYTES):  # the checksum comes after the last file
                pass


def _zip_member(archive: zipfile.ZipFile, info: zipfile.ZipInfo) -> Member:
    kind = stat.S_IFMT(info.external_attr >> 16)  # 0 in archives from systems without Unix modes
    is_folder = info.filename.endswith(("/", "\\"))  # the latter as Windows wrote it for years
    return Member(info.filename, not is_folder and kind in (0, stat.S_IFREG), is_folder, lambda: archive.open(info))


def _tar_member(archive: tarfile.TarFile, info: tarfile.TarInfo) -> Member:
    linked = info.linkname if info.islnk() else ""
    return Member(info.name, info.isreg() or info.islnk(), info.isdir(), lambda: archive.extractfile(info), linked)
