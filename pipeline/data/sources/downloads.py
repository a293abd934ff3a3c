"""Downloads files: resumed after an interruption, verified by SHA-256, renamed when complete."""

from __future__ import annotations

from pathlib import Path

import requests
from tqdm import tqdm

from pipeline.config import UserError
from pipeline.files import sha256_of_file

CONNECT_TIMEOUT_S, READ_TIMEOUT_S = 10, 60
CHUNK_BYTES = 1 << 16  # an interruption loses the current chunk


def download(url: str, target: Path, sha256: str, size: int | None = None) -> None:
    """Download ``url`` to ``target``, resuming ``target.part``; an existing target is only verified.

    Raises UserError if the network fails or the SHA-256 differs. ``size`` is the progress bar's total.
    """
    if target.exists():
        if sha256_of_file(target) != sha256:
            raise UserError(f"{target} must have SHA-256 {sha256}, got another file (delete it to download it again)")
        return
    target.parent.mkdir(parents=True, exist_ok=True)
    part = target.with_name(target.name + ".part")
    resumed = part.exists()
    _fetch_until_complete(url, part, target, size)
    if resumed and sha256_of_file(part) != sha256:
        # The part may have been the start of another file: start again from zero.
        part.unlink()
        _fetch_until_complete(url, part, target, size)
    if (received := sha256_of_file(part)) != sha256:
        part.unlink()
        raise UserError(f"{url} must have SHA-256 {sha256}, got {received} (try again, or put the file at {target})")
    part.replace(target)


def _fetch_until_complete(url: str, part: Path, target: Path, size: int | None) -> None:
    """Retry after every interruption, as long as each attempt adds bytes."""
    while True:
        before = _size(part)
        try:
            return _fetch(url, part, size)
        except requests.RequestException as error:
            if _size(part) <= before:
                raise UserError(
                    f"{url} must be reachable, got {_cause(error)} (try again, or put the file at {target} by hand)"
                ) from error


def _fetch(url: str, part: Path, size: int | None) -> None:
    offset = _size(part)
    # With a compressed transfer, byte offsets would not be those of the file, and it could not resume.
    headers = {"Accept-Encoding": "identity"} | ({"Range": f"bytes={offset}-"} if offset else {})
    timeout = (CONNECT_TIMEOUT_S, READ_TIMEOUT_S)
    with requests.get(url, headers=headers, stream=True, timeout=timeout) as response:
        if offset and response.status_code == requests.codes.requested_range_not_satisfiable:
            return  # complete, or another file: the checksum tells
        response.raise_for_status()
        resumes = response.status_code == requests.codes.partial_content
        start = offset if resumes else 0
        with (
            part.open("ab" if resumes else "wb") as file,
            tqdm(total=size, initial=start, unit="B", unit_scale=True, desc=part.stem, disable=None) as bar,
        ):
            for chunk in response.iter_content(CHUNK_BYTES):
                file.write(chunk)
                bar.update(len(chunk))


def _size(path: Path) -> int:
    return path.stat().st_size if path.exists() else 0


def _cause(error: requests.RequestException) -> str:
    if error.response is not None:
        return f"HTTP status {error.response.status_code}"
    # urllib3 wraps the actual cause in its own retry message.
    cause = getattr(error.args[0] if error.args else error, "reason", error)
    return f"{type(error).__name__}: {' '.join(str(cause).split()).rsplit(': ', 1)[-1]}"
