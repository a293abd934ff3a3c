"""What many photos cost `preprocess`: time and memory of the first run, and of the second, which finds them prepared.

Measured are the photos that ``--data`` names, such as the 80,000 of Tiny ImageNet, and small photos that are drawn, in
two numbers: the memory that each further photo takes is the difference, and what a million would take is derived.
Memory is counted as in `memory.py`. Processor time is that of all processes, as seen every `memory.EVERY_S` seconds.
"""

from __future__ import annotations

import statistics
import tempfile
from pathlib import Path

import cv2
import numpy as np
import pandas as pd

from benchmarks.measure import COLUMNS
from benchmarks.memory import watched
from pipeline.config import DATA_FOLDER
from pipeline.data.sources import photo_source

DRAWN = (80_000, 200_000)
QUICK = (20_000, 80_000)
CLASSES = 200
SIDE_PX, FIELDS_PX = 64, 8  # of a drawn photo, and of the random colours that it is enlarged from
FLAGS = ["--image_size=64", "--resize=stretch"]  # keeps the pixels of Tiny ImageNet
AGAIN, AGAIN_IF_QUICK = 3, 1  # second runs
MILLION = 1_000_000


def run(data: str, quick: bool) -> pd.DataFrame:
    """Measure the photos of ``data``, unless it is synthetic, and drawn ones; ``quick`` fewer of these."""
    rows, peaks = [], {}
    if data != "synthetic":
        rows += _measured(photo_source(data, DATA_FOLDER / "raw").folder.absolute(), "photos of --data", AGAIN)[0]
    for count in QUICK if quick else DRAWN:
        with tempfile.TemporaryDirectory() as folder:
            draw_photos(Path(folder), count)
            found, peaks[count] = _measured(Path(folder), f"{count} drawn photos", AGAIN_IF_QUICK if quick else AGAIN)
            rows += found
    few, many = peaks
    for name in peaks[few]:
        each = (peaks[many][name] - peaks[few][name]) / (many - few)  # MB
        rows.append(_row("memory", f"{name}, a further photo", "bytes", [each * 2**20]))
        rows.append(
            _row("memory", f"{name}, a million photos (derived)", "MB", [peaks[many][name] + each * (MILLION - many)])
        )
    return pd.DataFrame(rows, columns=COLUMNS)


def _measured(photos: Path, case: str, again: int) -> tuple[list[tuple[object, ...]], dict[str, float]]:
    """Return the rows of the first run and of the second ones, and the peak of each in MB."""
    with tempfile.TemporaryDirectory() as folder:
        command = ["preprocess", *FLAGS, f"--data={photos}"]
        first = watched(command, Path(folder))
        (quarantined,) = Path(folder).glob("data/prepared/*/quarantined.parquet")
        two_labels = pd.read_parquet(quarantined)["reason"].str.startswith("same picture under two labels").sum()
        second = [watched(command, Path(folder)) for _ in range(again)]
    rows, peaks = [], {}
    for name, runs in (("first run", [first]), ("second run", second)):
        megabytes = [max(usage.megabytes) for usage in runs]
        peaks[name] = statistics.median(megabytes)  # a process seen as it forks counts twice
        rows.append(_row(case, f"{name}, wall", "seconds", [usage.seconds for usage in runs]))
        rows.append(_row(case, f"{name}, processor", "seconds", [usage.processor_seconds for usage in runs]))
        rows.append(_row(case, f"{name}, peak memory", "MB", megabytes))
    rows.append(_row(case, "found under two labels", "photos", [float(two_labels)]))
    return rows, peaks


def _row(case: str, contender: str, unit: str, values: list[float]) -> tuple[object, ...]:
    row = (case, contender, unit, statistics.median(values), min(values), max(values), 1.0, 1.0, 1.0)
    print(*row[:6], sep="\t", flush=True)
    return row


def draw_photos(folder: Path, count: int) -> None:
    """Draw small photos of random colours, no two alike, in class folders."""
    draw = np.random.default_rng(0)
    for number in range(CLASSES):
        (folder / f"class{number:03d}").mkdir()
    for number in range(count):
        fields = draw.integers(256, size=(FIELDS_PX, FIELDS_PX, 3), dtype=np.uint8)
        encoded = cv2.imencode(".jpg", cv2.resize(fields, (SIDE_PX, SIDE_PX), interpolation=cv2.INTER_CUBIC))[1]
        (folder / f"class{number % CLASSES:03d}" / f"photo{number:07d}.jpg").write_bytes(encoded.tobytes())
