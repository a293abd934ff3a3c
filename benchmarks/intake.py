"""What checking photos costs: preparing them against a bare loop, a run that finds them prepared, and peak memory.

Photos of 12 and 24 megapixels are drawn; the bare loop decodes them whole, as loops do that users write.

The bare loop reads, decodes and resizes on as many processes and keeps nothing. Ours hashes every file twice (once for
the store's digest, once as it is decoded), reads its header, checks it by all rules, crops, scales, writes and sums the
pixels, and splits the photos. Both times include starting the processes; the files are in the system's cache for both.
"""

from __future__ import annotations

import json
import multiprocessing
import os
import shutil
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable
from functools import partial
from pathlib import Path

import cv2
import numpy as np
import pandas as pd

from benchmarks.measure import COLUMNS, compared, in_turns
from benchmarks.memory import COMMANDS, peak_megabytes
from pipeline.config import DATA_FOLDER, DataConfig
from pipeline.data.sources import photo_source
from pipeline.data.store import prepared_store

ROOT = Path(__file__).parents[1]
SIZES = (64, 224)
ROUNDS = 5
SCALES = (1, 4)
CAMERAS = {12: (4000, 3000), 24: (6000, 4000)}  # megapixels -> width, height
CAMERA_PHOTOS = 40  # of each size: 12 seconds of decoding at 24 megapixels
CAMERA_CLASSES = 2
GRAIN = 5.0  # standard deviation of a sensor's noise: JPEGs of 24 megapixels get 8 to 11 MB by it, as cameras' have
CAMERA_QUALITY = 90
AGAIN = """
import json, sys, time
from pathlib import Path
from pipeline.config import DataConfig
from pipeline.data.store import prepared_store

start = time.perf_counter()
store = prepared_store(DataConfig(data=sys.argv[1]), Path("data"), thorough=True)
print(json.dumps([time.perf_counter() - start, store.reused]))
"""


def run(data: str, quick: bool) -> pd.DataFrame:
    """Measure at each size, then the second run, then memory; ``quick`` the first sizes in few rounds, no memory."""
    source = photo_source(data, DATA_FOLDER / "raw").folder.absolute()
    photos = [str(path) for path in sorted(source.glob("*/*.jpg"))]
    tables = []
    with tempfile.TemporaryDirectory() as scratch:
        for size in SIZES[: 1 if quick else None]:
            contenders: dict[str, Callable[[], float]] = {
                "preprocess": _ours(source, size, Path(scratch), len(photos)),
                "cv2.imdecode + cv2.resize": partial(_bare_loop, photos, size),
            }
            case = f"{len(photos)} photos to {size} px, {os.cpu_count()} processes"
            tables.append(in_turns(case, "photos per second", contenders, 2 if quick else ROUNDS))
        for megapixels, shape in list(CAMERAS.items())[: 1 if quick else None]:
            folder = _draw_camera_photos(photos, Path(scratch) / f"{megapixels}", shape)
            for image_size in SIZES[: 1 if quick else None]:
                tables.append(_large_photos(folder, megapixels, image_size, Path(scratch), 1 if quick else ROUNDS))
            shutil.rmtree(folder)
    tables.append(_second_run(source, len(photos), 1 if quick else ROUNDS))
    if not quick:
        tables.append(_memory(3))
    return pd.concat(tables, ignore_index=True)


def _large_photos(folder: Path, megapixels: int, size: int, scratch: Path, rounds: int) -> pd.DataFrame:
    photos = [str(path) for path in sorted(folder.glob("*/*.jpg"))]
    megabytes = statistics.mean(Path(photo).stat().st_size for photo in photos) / 1e6
    contenders: dict[str, Callable[[], float]] = {
        "preprocess": _ours(folder, size, scratch, len(photos)),
        "cv2.imdecode + cv2.resize": partial(_bare_loop, photos, size, chunk=4),
    }
    case = f"{len(photos)} photos of {megapixels} megapixels and {megabytes:.1f} MB to {size} px"
    return in_turns(case, "photos per second", contenders, rounds)


def _draw_camera_photos(photos: list[str], folder: Path, size: tuple[int, int]) -> Path:
    """Draw a camera's photos from real ones: enlarged, with a sensor's noise, each with another part of it."""
    rng = np.random.default_rng(0)
    width, height = size
    grain = rng.normal(0, GRAIN, (height + CAMERA_PHOTOS, width, 1)).astype(np.float32)
    chosen = photos[:: max(1, len(photos) // CAMERA_PHOTOS)][:CAMERA_PHOTOS]
    for number, photo in enumerate(chosen):
        image = cv2.imread(photo, cv2.IMREAD_COLOR | cv2.IMREAD_IGNORE_ORIENTATION)
        assert image is not None
        large = cv2.resize(image, size, interpolation=cv2.INTER_CUBIC) + grain[number : number + height]
        file = folder / f"class{number % CAMERA_CLASSES}" / f"{number:03d}.jpg"
        file.parent.mkdir(parents=True, exist_ok=True)
        encoded = cv2.imencode(".jpg", large.clip(0, 255).astype(np.uint8), [cv2.IMWRITE_JPEG_QUALITY, CAMERA_QUALITY])
        file.write_bytes(encoded[1].tobytes())
    return folder


def _ours(source: Path, size: int, scratch: Path, photos: int) -> Callable[[], float]:
    def prepare() -> float:
        root = scratch / "data"
        shutil.rmtree(root, ignore_errors=True)  # with what it remembers of the files
        start = time.perf_counter()
        store = prepared_store(DataConfig(data=str(source), image_size=size), root)
        seconds = time.perf_counter() - start
        assert not store.reused
        return photos / seconds

    return prepare


def _bare_loop(photos: list[str], size: int, chunk: int = 64) -> float:
    context = multiprocessing.get_context("forkserver")
    start = time.perf_counter()
    with context.Pool(os.cpu_count()) as pool:
        read = sum(pool.imap_unordered(partial(_decode, size=size), photos, chunksize=chunk))
    assert read == len(photos)
    return len(photos) / (time.perf_counter() - start)


def _decode(photo: str, size: int) -> bool:
    cv2.setNumThreads(1)
    image = cv2.imdecode(np.frombuffer(Path(photo).read_bytes(), np.uint8), cv2.IMREAD_COLOR)
    assert image is not None
    return bool(cv2.resize(image, (size, size), interpolation=cv2.INTER_AREA).size)


def _second_run(source: Path, photos: int, rounds: int) -> pd.DataFrame:
    """Return the seconds of finding the photos prepared: of that alone, and of the whole command in a new process."""
    command = [sys.executable, "-m", "pipeline", "preprocess", f"--data={source}"]
    measured: dict[str, list[float]] = {"finding and checking them": [], "the whole command": []}
    with tempfile.TemporaryDirectory() as folder:
        start_in = partial(subprocess.run, cwd=folder, env=os.environ | {"PYTHONPATH": str(ROOT)}, check=True)
        start_in(command, stdout=subprocess.DEVNULL)
        for _ in range(rounds):
            done = start_in([sys.executable, "-c", AGAIN, str(source)], stdout=subprocess.PIPE, text=True)
            seconds, reused = json.loads(done.stdout)
            assert reused
            measured["finding and checking them"].append(seconds)
            start = time.perf_counter()
            start_in(command, stdout=subprocess.DEVNULL)
            measured["the whole command"].append(time.perf_counter() - start)
    return compared(f"second run on {photos} photos", "seconds", measured)


def _memory(runs: int) -> pd.DataFrame:
    peaks = {scale: [peak_megabytes(COMMANDS["preprocess"], scale) for _ in range(runs)] for scale in SCALES}
    least = statistics.median(peaks[SCALES[0]])
    rows = []
    for scale, values in peaks.items():
        peak = (statistics.median(values), min(values), max(values))
        rows.append(("memory of preprocess", f"{scale * 500} photos", "MB at peak", *peak, *(v / least for v in peak)))
    return pd.DataFrame(rows, columns=COLUMNS)
