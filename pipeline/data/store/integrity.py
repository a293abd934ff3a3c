"""Whether a prepared store is still what was written, found out in milliseconds or, on demand, byte by byte.

The sums of all files are compared on demand; else of large files, and of those that are not to be read, only the sizes.
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
    """Write the sizes and sums of all files of a finished folder; ``known`` are sums by name."""
    own = (SUMS_FILE, SIZES_FILE)
    sizes = {file.name: file.stat().st_size for file in sorted(folder.iterdir()) if file.name not in own}
    (folder / SIZES_FILE).write_text(json.dumps(sizes, indent=2))
    names = [*sizes, SIZES_FILE]
    with ThreadPoolExecutor() as pool:
        sums = pool.map(lambda name: known.get(name) or sha256_of_file(folder / name), names)
    write_sums(folder, dict(zip(names, sums, strict=True)))


def damaged_files(folder: Path, thorough: bool, unread: Collection[str] = ()) -> list[str]:
    """Return the names of files that are missing or have changed; raise OSError if one cannot be read.

    Args:
        folder: what `write_checksums` was called on.
        thorough: compare the sums of all files.
        unread: names of files that are only compared by size unless ``thorough``, however small they are.
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
        if not thorough and (name in unread or sizes[name] >= LARGE_BYTES):
            return False
        return sha256_of_file(file) != sums.get(name)

    with ThreadPoolExecutor() as pool:
        return [name for name, damaged in zip(sizes, pool.map(is_damaged, sizes), strict=True) if damaged]
