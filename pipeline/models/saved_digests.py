"""SHA-256 of a model's files: recorded when it is saved and registered, compared when it is loaded.

The list beside the files has the form that ``sha256sum -c SHA256SUMS`` reads. The package model-signing does the same
with keys and certificates, which say who made a model; here the registry says that.
"""

from __future__ import annotations

import hashlib
from collections.abc import Mapping
from pathlib import Path

from pipeline.config import DamagedModel

SUMS_FILE = "SHA256SUMS"
NOT_OF_THE_MODEL = ("__pycache__", "registered_model_meta")  # Python and MLflow write them where they load a model


def file_digests(folder: Path) -> dict[str, str]:
    """Return the hexadecimal SHA-256 of every file of a folder, by its path inside."""
    files = {path.relative_to(folder).as_posix(): path for path in sorted(folder.rglob("*")) if path.is_file()}
    return {
        name: _digest(path) for name, path in files.items() if not set(NOT_OF_THE_MODEL).intersection(name.split("/"))
    }


def check_digests(folder: Path, recorded: Mapping[str, str]) -> None:
    """Raise DamagedModel if a recorded file is missing or has other bytes, or if there is one that was not recorded."""
    found = file_digests(folder)
    wrong = sorted(name for name in found.keys() | recorded.keys() if found.get(name) != recorded.get(name))
    if wrong:
        more = f" and {len(wrong) - 1} more" if len(wrong) > 1 else ""
        raise DamagedModel(
            f"a model's files must have the SHA-256 that was recorded, got another for {wrong[0]}{more} in {folder} "
            "(do not use the model; train it again, or restore its files)"
        )


def write_sums(folder: Path) -> None:
    """Write the digests of a folder's files beside them."""
    lines = [f"{digest}  {name}\n" for name, digest in file_digests(folder).items() if name != SUMS_FILE]
    (folder / SUMS_FILE).write_text("".join(lines))


def check_sums(folder: Path) -> None:
    """Raise DamagedModel if a file is not as `write_sums` found it; a folder without its list is an older one."""
    if not (folder / SUMS_FILE).exists():
        return
    lines = (folder / SUMS_FILE).read_text(errors="replace").splitlines()
    recorded = {name: digest for digest, _, name in (line.partition("  ") for line in lines)}
    check_digests(folder, recorded | {SUMS_FILE: _digest(folder / SUMS_FILE)})


def _digest(path: Path) -> str:
    with path.open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()
