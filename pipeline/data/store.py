"""The prepared store: photos decoded once into uint8 arrays on disk, one file per split, and a manifest.

A store lies in ``prepared/<digest>``, where the digest covers the photos' names, labels and bytes, the data
flags, and the format; equal input therefore always finds the store that was made of it. It is written into a
temporary folder and renamed when whole, under a lock, so that a killed or second process harms nothing.
"""

from __future__ import annotations

import json
import shutil
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path

import numpy as np
import pandas as pd
from filelock import FileLock

from pipeline.config import DataConfig, UserError
from pipeline.data.image_ops import check_ops
from pipeline.data.intake import find_photos, photos_in_table
from pipeline.data.preparation import store_digest, write_store
from pipeline.data.sources import photo_source
from pipeline.data.splits import SPLITS
from pipeline.data.tables import read_table
from pipeline.data.whole import folder_when_whole

DATA_ROOT = Path("data")
MOST_HEADER_BYTES = 256  # of a .npy file


@dataclass(frozen=True)
class Store:
    """Prepared photos. Each split's arrays are opened when first asked for, and only then."""

    folder: Path
    source: Path
    reused: bool

    @property
    def digest(self) -> str:
        """Hexadecimal SHA-256 over the photos and the data flags."""
        return self.folder.name

    @cached_property
    def manifest(self) -> pd.DataFrame:
        """One row per photo: path, label, class_index, split, row, sha256, group, width, height."""
        return pd.read_parquet(self.folder / "manifest.parquet")

    @cached_property
    def rejected(self) -> pd.DataFrame:
        """One row per file that is no usable photo: path, label, reason."""
        return pd.read_csv(self.folder / "rejected.csv", dtype=str, keep_default_na=False)

    @cached_property
    def class_names(self) -> tuple[str, ...]:
        """Class names in the order of the network's outputs."""
        return tuple(json.loads((self.folder / "store.json").read_text())["class_names"])

    def images(self, split: str) -> np.ndarray:
        """Memory-mapped uint8 RGB of shape (n, image_size, image_size, 3), opened once."""
        if split not in self._opened:
            self._opened[split] = np.load(self.folder / f"{split}.npy", mmap_mode="r")
        return self._opened[split]

    @cached_property
    def _opened(self) -> dict[str, np.ndarray]:
        return {}

    def labels(self, split: str) -> np.ndarray:
        """Class indices, int64 of shape (n,), in the order of `images`."""
        return self.rows(split)["class_index"].to_numpy(np.int64)

    def rows(self, split: str) -> pd.DataFrame:
        """The manifest of one split, in the order of `images`."""
        return self.manifest[self.manifest["split"] == split].sort_values("row").reset_index(drop=True)

    def class_counts(self) -> pd.DataFrame:
        """Photos per class (index) and split (columns)."""
        counts = self.manifest.groupby(["label", "split"]).size().unstack(fill_value=0)
        return counts.reindex(index=list(self.class_names), columns=list(SPLITS), fill_value=0)


def is_whole(folder: Path) -> bool:
    """Return whether a folder of ``prepared`` holds a store with pixels for every row of its manifest, by their size.

    No pixel is read, those of the test split least of all. Raises OSError if the folder cannot be read.
    """
    store = Store(folder, folder, reused=True)
    try:
        bytes_of_a_photo = 3 * json.loads((folder / "store.json").read_text())["data"]["image_size"] ** 2
        pixels = {split: len(store.rows(split)) * bytes_of_a_photo for split in SPLITS}
        headers = [(folder / f"{split}.npy").stat().st_size - size for split, size in pixels.items()]
        return all(0 < header <= MOST_HEADER_BYTES for header in headers)
    except (FileNotFoundError, EOFError, ValueError, KeyError):
        return False


def prepared_store(config: DataConfig, data_root: Path = DATA_ROOT) -> Store:
    """Return the store for these data flags, making it if there is none yet.

    Raises:
        UserError: the photos cannot be found or split into three parts with every class in each, or the disk is full.
    """
    check_ops(config.image_ops)
    source, table = photo_source(config.data, data_root / "raw")
    candidates = (
        photos_in_table(read_table(table), source, config.classes) if table else find_photos(source, config.classes)
    )
    prepared = data_root / "prepared"
    folder = prepared / store_digest(config, source, candidates)
    prepared.mkdir(parents=True, exist_ok=True)
    with FileLock(prepared / f".{folder.name}.lock"):
        if folder.is_dir():
            if is_whole(folder):
                return Store(folder, source, reused=True)
            shutil.rmtree(folder)  # a cache: what is damaged is made anew
        try:
            with folder_when_whole(folder) as draft:
                write_store(draft, config, source, candidates)
        except OSError as error:
            raise UserError(
                f"prepared photos must fit into {prepared}, got {error.strerror or error} (make room or permit writing)"
            ) from error
    return Store(folder, source, reused=False)
