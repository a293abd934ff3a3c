"""Photos that lie where MLflow keeps artifacts (runs:/, s3:// …): fetched once, and again when they have changed.

A change is told by the names and sizes of the files, which is all that artifact stores say of them. Where a store
cannot be asked, what was fetched last is used, with a warning.
"""

from __future__ import annotations

import hashlib
import json
import logging
import os
import re
from pathlib import Path
from typing import TYPE_CHECKING

from filelock import FileLock

from pipeline.config import UserError, first_line
from pipeline.files import atomic_folder

if TYPE_CHECKING:
    from mlflow.entities import FileInfo

ARTIFACT_URI = re.compile(r"^(runs|models|mlflow-artifacts|s3|gs|https?|abfss|dbfs|wasbs|hdfs)://?")
CHECK = "check the address, and MLFLOW_TRACKING_URI"
REMEDIES = {
    "http": "download it, and give the file as data",
    "s3:": "pip install boto3 if it is missing, and check the address and your credentials",
    "gs:": "pip install google-cloud-storage if it is missing, and check the address and your credentials",
}

log = logging.getLogger(__name__)


def fetch_artifact(address: str, raw_folder: Path) -> Path:
    """Return the path of an artifact, downloaded the first time and whenever its files have changed.

    Raises:
        UserError: it cannot be fetched, and never was.
        OSError: it cannot be written.
    """
    import mlflow

    name = f"artifact-{_key(address)}"
    raw_folder.mkdir(parents=True, exist_ok=True)
    with FileLock(raw_folder / f".{name}.lock"):
        fetched = sorted(raw_folder.glob(f"{name}*"), key=lambda folder: folder.stat().st_mtime)
        try:
            listing = _listing(address)
        except Exception as error:  # each artifact store raises its own errors
            listing = []
            reason = f"it cannot be checked for changes: {first_line(error)}"
        else:
            reason = "it no longer exists"
        if fetched and not listing:
            log.warning("data=%s: using the copy that was fetched last (%s)", address, reason)
            return _content(fetched[-1])
        folder = raw_folder / f"{name}-{_key(json.dumps(sorted(listing)))}"
        if not folder.is_dir():
            log.info("fetching %s", address)
            with atomic_folder(folder) as draft:
                try:
                    mlflow.artifacts.download_artifacts(artifact_uri=address, dst_path=str(draft))
                except Exception as error:
                    remedy = next((text for scheme, text in REMEDIES.items() if address.startswith(scheme)), CHECK)
                    raise UserError(
                        f"data={address} must be an artifact that can be fetched, got {first_line(error)} ({remedy})"
                    ) from error
    return _content(folder)


def _content(folder: Path) -> Path:
    entries = list(folder.iterdir())
    return entries[0] if len(entries) == 1 else folder


def _listing(address: str) -> list[tuple[str, int | None]]:
    """Return the name and size of every file of an artifact, of a single file that of itself; none if there is none."""
    import mlflow

    files: list[tuple[str, int | None]] = []
    waiting = [address.rstrip("/")]
    while waiting:
        folder = waiting.pop()
        for entry in mlflow.artifacts.list_artifacts(artifact_uri=folder):
            path = f"{folder}/{_last(entry.path)}"
            if entry.is_dir:
                waiting.append(path)
            else:
                files.append((path, entry.file_size))
    return files or [(address, entry.file_size) for entry in _beside(address) if _last(entry.path) == _last(address)]


def _beside(address: str) -> list[FileInfo]:
    """Return what lies in the folder of an artifact."""
    import mlflow

    parent = address.rstrip("/").rpartition("/")[0]
    if address.startswith("runs:/"):
        run_id, _, path = address.removeprefix("runs:/").strip("/").partition("/")
        return list(mlflow.MlflowClient().list_artifacts(run_id, path.rpartition("/")[0] or None))
    return list(mlflow.artifacts.list_artifacts(artifact_uri=parent))


def _last(path: str) -> str:
    return path.rstrip("/").rpartition("/")[2]


def _key(text: str) -> str:
    return hashlib.sha256(os.fsencode(text)).hexdigest()[:12]
