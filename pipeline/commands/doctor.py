"""``doctor``: check the machine and what stopped processes left, and repair what can be without losing anything.

Each check yields what it found; a new one is a function in `CHECKS`, and imports what it needs by itself, because that
may be what is missing. Only caches, drafts of files, and marks of processes that are gone are ever touched, unless
`experiment.retention` is asked to free room.
"""

from __future__ import annotations

import os
import re
import shutil
import subprocess
import sys
import tempfile
import tomllib
from collections.abc import Callable, Iterator, Sequence
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path
from typing import TYPE_CHECKING, Literal, NamedTuple

from filelock import FileLock, Timeout
from packaging.requirements import Requirement

from pipeline.config import DATA_FOLDER, RUNS_FOLDER, UserError, first_line, install_command
from pipeline.config import DoctorConfig as CONFIG

if TYPE_CHECKING:
    from pipeline.tracking.runs import TrainingRun

A_STORE = re.compile(r"([0-9a-f]{64})(\.part)?")  # the names of prepared photos, and of drafts of them
PROJECT = Path(__file__).parents[2] / "pyproject.toml"
LITTLE_DISK_BYTES, FAR_TOO_LITTLE_BYTES = 5 * 10**9, 5 * 10**8
FASTER_WITH = ("avx2", "avx512f", "avx512_bf16", "amx_bf16")
IMPORTS = {
    "opencv": ("import cv2", "Debian, Ubuntu: apt-get install libgl1 libglib2.0-0; Fedora: dnf install mesa-libGL"),
    "tensorflow": (
        "import tensorflow as tf; print(len(tf.config.list_physical_devices('GPU')), 'GPUs,', "
        "'built for CUDA' if tf.test.is_built_with_cuda() else 'built without CUDA')",
        "its wheels need a processor with AVX, and 64-bit Linux, macOS or WSL",
    ),
}


def run(config: CONFIG) -> None:
    """Print every finding as it comes; end with an error where something must be mended by hand."""
    if config.prune:
        from pipeline.experiment.retention import free_room

        free_room(delete=config.free)
        return
    wrong = 0
    for finding in findings():
        print(f"{finding.state:<9} {finding.about:<12} {finding.text}", flush=True)
        wrong += finding.state == "wrong"
    if wrong:
        raise UserError(f"all checks must pass, got {wrong} findings that are wrong (see the lines marked wrong)")


class Finding(NamedTuple):
    """What a check found out about something: it is fine, has been repaired, is worth knowing, or must be mended."""

    state: Literal["ok", "repaired", "note", "wrong"]
    about: str
    text: str


def packages() -> Iterator[Finding]:
    """Compare the installed packages with what the project asks for."""
    if not PROJECT.exists():
        yield Finding("note", "packages", "not checked: no pyproject.toml beside the code")
        return
    wanted = [Requirement(line) for line in tomllib.loads(PROJECT.read_text())["project"]["dependencies"]]
    found = {requirement.name: _installed(requirement.name) for requirement in wanted}
    wrong = [
        f"{need.name} must be {need.specifier}, got {found[need.name] or 'none'}"
        for need in wanted
        if not need.specifier.contains(found[need.name] or "0", prereleases=True)
    ]
    for text in wrong:
        yield Finding("wrong", "packages", f"{text} ({install_command()})")
    if not wrong:
        yield Finding("ok", "packages", f"{len(wanted)} packages on Python {sys.version.split()[0]}")


def _installed(name: str) -> str:
    try:
        return version(name)
    except PackageNotFoundError:
        return ""


def imports() -> Iterator[Finding]:
    """Import, in a process of its own, what fails where a system library or a processor feature is missing."""
    for name, (code, remedy) in IMPORTS.items():
        done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=False)
        if done.returncode:
            last = (done.stderr.strip().splitlines() or [f"exit code {done.returncode}"])[-1]
            yield Finding("wrong", name, f"it must import, got {last} ({remedy})")
        else:
            yield Finding("ok", name, f"imports{done.stdout.strip() and ', ' + done.stdout.strip()}")


def processor() -> Iterator[Finding]:
    """Name what a training's speed depends on."""
    from pipeline.training import cpu_features

    has = [feature for feature in FASTER_WITH if feature in cpu_features()]
    bfloat16 = "bfloat16 may be faster" if {"avx512_bf16", "amx_bf16"} & set(has) else "no bfloat16: trains in float32"
    yield Finding("note", "processor", f"{os.cpu_count()} cores, {' '.join(has) or 'no AVX2'}: {bfloat16}")


def disk() -> Iterator[Finding]:
    """See whether the folders that commands write to can be written, and have room."""
    for folder in (Path(), DATA_FOLDER, RUNS_FOLDER):
        place = folder if folder.exists() else Path()
        try:
            with tempfile.TemporaryFile(dir=place):
                free = shutil.disk_usage(place).free
        except OSError as error:
            yield Finding(
                "wrong", "disk", f"{place.absolute()} must be writable, got {error.strerror} (permit writing)"
            )
            continue
        state: Literal["ok", "note", "wrong"] = (
            "wrong" if free < FAR_TOO_LITTLE_BYTES else "note" if free < LITTLE_DISK_BYTES else "ok"
        )
        yield Finding(state, "disk", f"{free / 1e9:.1f} GB free for {place.absolute()}")


def prepared() -> Iterator[Finding]:
    """Remove damaged stores of prepared photos, which are made again then; name the drafts that are kept."""
    from pipeline.data.store import is_undamaged

    whole = 0
    for folder in sorted((DATA_FOLDER / "prepared").glob("*")):
        named = A_STORE.fullmatch(folder.name)
        if not named or folder.is_symlink():
            continue
        try:
            with FileLock(folder.with_name(f".{named[1]}.lock"), timeout=0):
                if named[2]:
                    megabytes = sum(file.stat().st_size for file in folder.rglob("*")) / 1e6
                    yield Finding(
                        "note", "photos", f"{folder} ({megabytes:.0f} MB) is kept: its command will continue there"
                    )
                    continue
                if is_undamaged(folder):
                    whole += 1
                    continue
                shutil.rmtree(folder)
        except Timeout:
            yield Finding("note", "photos", f"{folder} is being prepared by another process")
        except OSError as error:
            yield Finding("wrong", "photos", f"{folder} must be readable, got {error.strerror} (permit reading)")
        else:
            yield Finding("repaired", "photos", f"removed {folder}: it was damaged, and will be prepared again")
    yield Finding("ok", "photos", f"{whole} prepared stores are undamaged")


def places() -> Iterator[Finding]:
    """Correct where MLflow looks for artifacts, if the project's folder has another path than it had."""
    from pipeline.tracking.moved_folder import follow_moved_folder
    from pipeline.tracking.store import open_stores

    try:
        open_stores()
    except UserError:  # `runs` says so
        return
    try:
        for line in follow_moved_folder():
            yield Finding("repaired", "places", line)
        yield Finding("ok", "places", "the MLflow store has the right paths of its artifacts")
    except UserError as error:
        yield Finding("wrong", "places", str(error))


def runs() -> Iterator[Finding]:
    """Mark the runs and trials of processes that are gone."""
    from pipeline import tracking
    from pipeline.search.recovery import recover_studies

    try:
        if dead := tracking.connect():
            yield Finding("repaired", "runs", f"marked {dead} as KILLED: their process is gone")
        yield Finding("ok", "runs", "the MLflow store answers, and every run of this folder has the right status")
        if names := tracking.open_elsewhere():
            text = f"of other folders, still running or killed: {', '.join(names)} (run doctor in their folder)"
            yield Finding("note", "runs", text)
        for study in recover_studies(tracking.close_run):
            yield Finding("repaired", "trials", f"enqueued again in {study}: their process is gone")
    except UserError as error:
        yield Finding("wrong", "runs", str(error))


def checkpoints() -> Iterator[Finding]:
    """Remove the checkpoints of trainings that have ended; name those that wait for their command."""
    from pipeline import tracking
    from pipeline.experiment import CHECKPOINTS

    try:
        tracking.connect()
    except UserError:  # `runs` has said so
        return
    for folder in sorted(path for path in CHECKPOINTS.glob("*") if path.is_dir()):
        try:
            with FileLock(folder.with_suffix(".lock"), timeout=0):
                megabytes = sum(file.stat().st_size for file in folder.rglob("*")) / 1e6
                found = tracking.runs_of_training(folder.name)
                if {run.status for run in found} == {"FINISHED"}:
                    shutil.rmtree(folder)
                    yield Finding(
                        "repaired", "checkpoints", f"removed {folder} ({megabytes:.0f} MB): its training has ended"
                    )
                else:
                    text = f"{folder} ({megabytes:.0f} MB) is kept for {_described(found)}"
                    yield Finding("note", "checkpoints", text)
        except Timeout:
            yield Finding("ok", "checkpoints", f"{folder} is in use")


def _described(found: Sequence[TrainingRun]) -> str:
    """Return which training has these runs, latest first, and how it goes on."""
    if not found:
        return "a training that this MLflow store does not know (delete the folder if nobody continues it)"
    latest = next((run for run in found if run.status != "FINISHED"), found[0])
    below = f" of {latest.of!r}" if latest.of != latest.name else ""
    named = f"{latest.name!r}{below} (run {latest.run_id}), {latest.status.lower()}"
    if latest.status == "RUNNING":
        return f"{named} elsewhere"
    again = f"run its command, {latest.command or 'train'}, again with the same flags to continue"
    return f"{named}: {again}, or delete the folder"


CHECKS: tuple[Callable[[], Iterator[Finding]], ...] = (
    packages, imports, processor, disk, prepared, places, runs, checkpoints,
)  # fmt: skip


def findings() -> Iterator[Finding]:
    """Run all checks; one that cannot run is itself a finding."""
    for check in CHECKS:
        try:
            yield from check()
        except Exception as error:  # whatever is wrong with the machine, the other checks still run
            yield Finding(
                "wrong", check.__name__, f"cannot be checked, got {type(error).__name__}: {first_line(error)}"
            )
