"""Checks that a prepared store is still as it was written, in milliseconds or, on request, byte by byte.

On request it compares the checksums of all files; otherwise only the sizes of large files and of the test split's.
"""

from __future__ import annotations

import json
from collections.abc import Collection, Mapping
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from types import MappingProxyType

from pipeline.files import SUMS_FILE, read_sums, sha256_of_file, write_sums

SIZES_FILE = "sizes.json"
LARGE_BYTES = 64 << 20


def write_checksums(folder: Path, known: Mapping[str, str] = MappingProxyType({})) -> None:
    """Write the sizes and checksums of all files of a finished folder; ``known`` are checksums by name."""
    own = (SUMS_FILE, SIZES_FILE)
    sizes = {file.name: file.stat().st_size for file in sorted(folder.iterdir()) if file.name not in own}
    (folder / SIZES_FILE).write_text(json.dumps(sizes, indent=2))
    names = [*sizes, SIZES_FILE]
    with ThreadPoolExecutor() as pool:
        sums = pool.map(lambda name: known.get(name) or sha256_of_file(folder / name), names)
    write_sums(folder, dict(zip(names, sums, strict=True)))


def damaged_files(folder: Path, thorough: bool, size_only: Collection[str] = ()) -> list[str]:
    """Return the names of files that are missing or have changed; raise OSError if one cannot be read.

    Args:
        folder: the folder that `write_checksums` was called on.
        thorough: compare the checksums of all files.
        size_only: names of files that are only compared by size, even small ones, unless ``thorough``.
    """
    try:
        sums = read_sums(folder)
        if sums.get(SIZES_FILE) != sha256_of_file(folder / SIZES_FILE):
            return [SIZES_FILE]
        sizes = json.loads((folder / SIZES_FILE).read_text())
    except (FileNotFoundError, ValueError):
        return [SUMS_FILE]

    def is_damaged(name: str) -> bool:
        file = folder / name
        if not file.is_file() or file.stat().st_size != sizes[name]:
            return True
        if not thorough and (name in size_only or sizes[name] >= LARGE_BYTES):
            return False
        return sha256_of_file(file) != sums.get(name)

    with ThreadPoolExecutor() as pool:
        return [name for name, damaged in zip(sizes, pool.map(is_damaged, sizes), strict=True) if damaged]
