"""SHA-256 checksums of files, and lists in the format of coreutils: ``sha256sum -c SHA256SUMS`` checks them, too.

They detect what decoders and file systems do not: bits that have changed on the disk.
"""

from __future__ import annotations

import hashlib
from collections.abc import Mapping
from pathlib import Path

SUMS_FILE = "SHA256SUMS"


def sha256_of_file(path: Path) -> str:
    """Return the SHA-256 of a file's bytes, hexadecimal."""
    with path.open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()


def write_sums(folder: Path, sums: Mapping[str, str]) -> None:
    """Write SHA-256 checksums, by paths relative to a folder, to the folder's `SUMS_FILE`."""
    (folder / SUMS_FILE).write_text("".join(f"{digest}  {name}\n" for name, digest in sums.items()))


def read_sums(folder: Path) -> dict[str, str]:
    """Return the checksums that `write_sums` wrote; damaged lines become checksums that no file has.

    Raises:
        FileNotFoundError: the folder has no list.
    """
    lines = (folder / SUMS_FILE).read_text(errors="replace").splitlines()
    return {name: digest for digest, _, name in (line.partition("  ") for line in lines)}
