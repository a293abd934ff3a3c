"""Checksums of a folder's files, in the format of coreutils: ``sha256sum -c SHA256SUMS`` checks them, too.

They find what no decoder and no file system does: bits that have changed on the disk. On demand the sums of all files
are compared; else of large files and of those that are not to be read only the sizes, a matter of milliseconds.
"""

from __future__ import annotations

import hashlib
import json
from collections.abc import Collection, Mapping
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from types import MappingProxyType

SUMS, SIZES = "SHA256SUMS", "sizes.json"
LARGE_BYTES = 64 << 20


def write_checksums(folder: Path, known: Mapping[str, str] = MappingProxyType({})) -> None:
    """Write the sizes and sums of all files of a folder, which is to change no more; ``known`` are sums by name."""
    sizes = {file.name: file.stat().st_size for file in sorted(folder.iterdir()) if file.name not in (SUMS, SIZES)}
    (folder / SIZES).write_text(json.dumps(sizes, indent=2))
    names = [*sizes, SIZES]
    with ThreadPoolExecutor() as pool:
        sums = pool.map(lambda name: known.get(name) or _sha256(folder / name), names)
    (folder / SUMS).write_text("".join(f"{digest}  {name}\n" for digest, name in zip(sums, names, strict=True)))


def damaged_files(folder: Path, thorough: bool, unread: Collection[str] = ()) -> list[str]:
    """Return the names of files that are missing or have changed; raise OSError if one cannot be read.

    Args:
        folder: what `write_checksums` was called on.
        thorough: compare the sums of all files.
        unread: names of files of which else only the sizes are compared, however small they are.
    """
    try:
        lines = [line.split("  ", 1) for line in (folder / SUMS).read_text().splitlines()]
        sums = {name: digest for digest, name in lines}
        if sums.get(SIZES) != _sha256(folder / SIZES):
            return [SIZES]
        sizes = json.loads((folder / SIZES).read_text())
    except (FileNotFoundError, ValueError):
        return [SUMS]

    def is_damaged(name: str) -> bool:
        file = folder / name
        if not file.is_file() or file.stat().st_size != sizes[name]:
            return True
        if not thorough and (name in unread or sizes[name] >= LARGE_BYTES):
            return False
        return _sha256(file) != sums.get(name)

    with ThreadPoolExecutor() as pool:
        return [name for name, damaged in zip(sizes, pool.map(is_damaged, sizes), strict=True) if damaged]


def _sha256(file: Path) -> str:
    with file.open("rb") as content:
        return hashlib.file_digest(content, "sha256").hexdigest()
