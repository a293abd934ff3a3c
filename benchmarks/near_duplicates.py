"""Processor time in which near duplicates are found, by the rules of today and by the first, and what they make of it.

Besides the photos, near-identical drawn pictures: two kinds of parts under a fixed camera, which give every search as
many candidates as there are pairs. The first rules compare these one by one, so that they only get the fewest.
"""

from __future__ import annotations

import time
from collections.abc import Callable
from pathlib import Path

import cv2
import numpy as np
import pandas as pd
from tqdm import tqdm

from benchmarks.measure import compared
from pipeline.config import DataConfig
from pipeline.data.intake import find_photos
from pipeline.data.pixels import decode
from pipeline.data.pixels.fingerprints import Fingerprint, fingerprint
from pipeline.data.sources import photo_source
from pipeline.data.splits.duplicates import similar_pairs
from pipeline.data.splits.resemblance import near_duplicates

SIZES, SIZES_IF_QUICK = (500, 20_000), (200,)  # near-identical pictures
ROUNDS = 3


def run(data: str, quick: bool) -> pd.DataFrame:
    """Measure both rules on the photos and on the fewest pictures, and those of today on the others."""
    sizes = SIZES_IF_QUICK if quick else SIZES
    pictures, kinds = _pictures(max(sizes))
    tables = []
    for size in sizes:
        some, labels = pictures[:size], kinds[:size]
        tables.append(_measured(f"{size} near-identical pictures", some, labels, with_first=size == sizes[0]))
    source, *_ = photo_source(DataConfig(data=data).data, Path("data/raw"))
    photos = find_photos(source, ()).photos
    prints = [fingerprint(decode(photo.path.read_bytes())) for photo in tqdm(photos, disable=None)]
    tables.append(_measured(f"{len(photos)} photos", prints, [photo.label for photo in photos], with_first=True))
    return pd.concat(tables, ignore_index=True)


def _measured(case: str, prints: list[Fingerprint], labels: list[str], with_first: bool) -> pd.DataFrame:
    phashes, mirrored = (
        np.array([getattr(one, name) for one in prints], np.uint64) for name in ("phash", "mirrored_phash")
    )

    def grey_of(index: int) -> np.ndarray:
        return prints[index].grey

    searches: dict[str, Callable[[], int]] = {
        "today's rules": lambda: len(near_duplicates(np.array(labels), phashes, mirrored, grey_of).pairs)
    }
    if with_first:
        searches["the first rules"] = lambda: len(similar_pairs(phashes, mirrored, grey_of))
    seconds: dict[str, list[float]] = {name: [] for name in searches}
    for _ in range(ROUNDS):
        for name, search in searches.items():
            start = time.process_time()
            found = search()
            seconds[name].append(time.process_time() - start)
            print(f"{case}, {name}: {found} pairs", flush=True)
    return compared(case, "seconds of processor time", seconds)


def _pictures(count: int) -> tuple[list[Fingerprint], list[str]]:
    draw = np.random.default_rng(0)
    prints = []
    for number in range(count):
        image = np.full((64, 64), 100, np.float32)
        if number % 2:
            cv2.circle(image, (32 + int(draw.integers(-1, 2)), 32), 20, 200, -1)
        else:
            for bar in range(4):
                cv2.rectangle(image, (6 + 14 * bar, 8), (12 + 14 * bar, 56), 220, -1)
        noisy = np.clip(image + draw.normal(0, 3, image.shape), 0, 255).astype(np.uint8)
        prints.append(fingerprint(np.repeat(noisy[..., None], 3, axis=2)))
    return prints, [("bars", "disc")[number % 2] for number in range(count)]
