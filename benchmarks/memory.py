"""Peak memory of preprocess, train and tune as the photos grow to 1, 2, 4 and 8 times as many.

Counted is what the processes of a command allocate together (anonymous resident memory), the median of three runs.
Pages of the memory-mapped store are left out: the system takes them back when it needs room. The number format is given
and every training has fewer steps than compiling the update needs to pay, so that all do the same.
"""

from __future__ import annotations

import contextlib
import functools
import os
import re
import statistics
import subprocess
import sys
import tempfile
import time
from pathlib import Path
from typing import NamedTuple

import pandas as pd
import psutil

from benchmarks.measure import COLUMNS
from pipeline.data.sources import write_synthetic

ROOT = Path(__file__).parents[1]
SCALES = (1, 2, 4, 8)
PHOTOS_PER_CLASS = 100
EVERY_S = 0.05
RUNS = 3
SMALL = ["--weights=none", "--image_size=64", "--epochs=2", "--batch_size=64", "--precision=bfloat16"]
NARROW = ["--width=0.1"]  # its weights take less than the photos would
COMMANDS = {
    "preprocess": ["preprocess", "--image_size=224"],
    "train": ["train", *SMALL],
    "tune": ["tune", *SMALL, "--n_trials=2", "--confirm_top_k=1", "--confirm_epochs_factor=1"],
}


class Usage(NamedTuple):
    """What a command used: wall time, processor time of all its processes, and their memory at every look."""

    seconds: float
    processor_seconds: float
    megabytes: list[float]


def run(data: str, quick: bool) -> pd.DataFrame:
    """Measure every command at every scale; ``quick`` two at two, once, with a narrow network.

    ``data`` is not used: photos are drawn.
    """
    scales = (SCALES[0], SCALES[2]) if quick else SCALES
    commands = {name: COMMANDS[name] for name in ("preprocess", "train")} if quick else COMMANDS
    rows = []
    for name, command in commands.items():
        words = [*command, *(NARROW if quick and name == "train" else [])]
        peaks = {scale: [peak_megabytes(words, scale) for _ in range(1 if quick else RUNS)] for scale in scales}
        smallest = statistics.median(peaks[1])
        for scale, runs in peaks.items():
            peak = (statistics.median(runs), min(runs), max(runs))
            ratios = [value / smallest for value in peak]
            rows.append((name, f"{scale * 5 * PHOTOS_PER_CLASS} photos", "MB at peak", *peak, *ratios))
            print(f"{name}: {scale} x: {peak[0]:.0f} MB, {ratios[0]:.2f} times the smallest", flush=True)
    return pd.DataFrame(rows, columns=COLUMNS)


def peak_megabytes(command: list[str], scale: int) -> float:
    """Return the most of `sampled_megabytes`."""
    return max(sampled_megabytes(command, scale))


def sampled_megabytes(command: list[str], scale: int) -> list[float]:
    """Run a command of the pipeline on drawn photos; return what its processes have allocated, every `EVERY_S`."""
    with tempfile.TemporaryDirectory() as folder:
        return watched([*command, f"--data={_photos(scale)}"], Path(folder)).megabytes


def watched(command: list[str], folder: Path) -> Usage:
    """Run a command of the pipeline in a working folder; return what it used."""
    start = time.perf_counter()
    process = subprocess.Popen(
        [sys.executable, "-m", "pipeline", *command],
        cwd=folder,
        env=os.environ | {"PYTHONPATH": str(ROOT)},
        stdout=subprocess.DEVNULL,
    )
    megabytes: list[float] = []
    processor_seconds: dict[int, float] = {}
    while process.poll() is None:
        family = _family(process.pid)
        megabytes.append(sum(map(_allocated_megabytes, family)))
        for member in family:
            with contextlib.suppress(psutil.Error):  # it has just ended
                processor_seconds[member.pid] = sum(member.cpu_times()[:2])
        time.sleep(EVERY_S)
    if process.returncode:
        raise RuntimeError(f"{command} ended with exit code {process.returncode}")
    return Usage(time.perf_counter() - start, sum(processor_seconds.values()), megabytes)


@functools.cache
def _drawn() -> tempfile.TemporaryDirectory[str]:
    return tempfile.TemporaryDirectory()  # which goes when this process ends


@functools.cache
def _photos(scale: int) -> Path:
    """Draw the photos of a scale, once for all commands and runs."""
    folder = Path(_drawn().name, f"photos{scale}")
    write_synthetic(folder, PHOTOS_PER_CLASS * scale)
    return folder


def _family(pid: int) -> list[psutil.Process]:
    """Return a process and all below it; none if it has just ended."""
    try:
        return [psutil.Process(pid), *psutil.Process(pid).children(recursive=True)]
    except psutil.NoSuchProcess:
        return []


def _allocated_megabytes(process: psutil.Process) -> float:
    try:
        status = Path(f"/proc/{process.pid}/status").read_text()
    except OSError:  # it has just ended
        return 0.0
    found = re.search(r"RssAnon:\s+(\d+) kB", status)
    return int(found[1]) / 1024 if found else 0.0
