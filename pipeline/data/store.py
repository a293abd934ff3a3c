"""The prepared store: photos decoded once into uint8 arrays on disk, one file per split, and a manifest.

A store lies in ``prepared/<digest>``, where the digest covers the photos' names, labels and bytes, the data
flags, and `FORMAT`; equal input therefore always finds the store that was made of it. It is written into a
temporary folder and renamed when whole, under a lock, so that a killed or second process harms nothing.
"""

from __future__ import annotations

import hashlib
import json
import shutil
from collections.abc import Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path

import numpy as np
import pandas as pd
from filelock import FileLock
from tqdm import tqdm

from pipeline.config import DataConfig, UserError
from pipeline.data.array_file import ArrayFile
from pipeline.data.decode import BadImage, decode, prepare
from pipeline.data.image_ops import check_ops
from pipeline.data.intake import Candidate, find_photos, photos_in_table, printable
from pipeline.data.sources import photo_source
from pipeline.data.splits import SPLITS, assign_splits, check_given, leak_keys
from pipeline.data.tables import read_table
from pipeline.data.whole_folder import folder_when_whole

FORMAT = 2  # raise when the same photos and flags would give other pixels or another manifest
DATA_ROOT = Path("data")
MOST_HEADER_BYTES = 256  # of a .npy file
CHUNK = 256  # photos decoded at a time: bounds memory, and is plenty for the threads


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
    folder = prepared / _digest(config, source, candidates)
    prepared.mkdir(parents=True, exist_ok=True)
    with FileLock(prepared / f".{folder.name}.lock"):
        if folder.is_dir():
            if is_whole(folder):
                return Store(folder, source, reused=True)
            shutil.rmtree(folder)  # a cache: what is damaged is made anew
        try:
            with folder_when_whole(folder) as draft:
                _write(draft, config, source, candidates)
        except OSError as error:
            raise UserError(
                f"prepared photos must fit into {prepared}, got {error.strerror or error} (make room or permit writing)"
            ) from error
    return Store(folder, source, reused=False)


def _digest(config: DataConfig, source: Path, candidates: Sequence[Candidate]) -> str:
    options = config.data_config().model_dump(exclude={"data"})
    photos = [(_name(photo, source), *photo[1:]) for photo in candidates]
    return hashlib.sha256(json.dumps([FORMAT, options, photos], sort_keys=True).encode()).hexdigest()


def _name(photo: Candidate, source: Path) -> str:
    inside = photo.path.is_relative_to(source)
    return printable((photo.path.relative_to(source) if inside else photo.path).as_posix())


def _write(draft: Path, config: DataConfig, source: Path, candidates: Sequence[Candidate]) -> None:
    accepted, rejected = _decode_all(draft / "all.npy", config, source, candidates)
    class_names = sorted({photo.label for photo in candidates})
    labels, given = accepted["label"].tolist(), accepted["split"].tolist()
    accepted["class_index"] = [class_names.index(label) for label in labels]
    accepted["group"] = leak_keys(accepted["sha256"].tolist(), accepted["group"].tolist())
    keys = accepted["group"].tolist()
    if any(given):
        check_given(given, keys, accepted["path"].tolist())
    else:
        accepted["split"] = assign_splits(labels, keys, config.val_fraction, config.test_fraction, config.split_seed)
    accepted["row"] = accepted.groupby("split").cumcount()
    _check_every_split_has_every_class(accepted, class_names)
    everything = np.load(draft / "all.npy", mmap_mode="r")
    for split in SPLITS:
        with ArrayFile(draft / f"{split}.npy", everything.shape[1:]) as array:
            for index in np.flatnonzero(accepted["split"] == split):
                array.append(everything[index])
    (draft / "all.npy").unlink()
    accepted.to_parquet(draft / "manifest.parquet")
    rejected.to_csv(draft / "rejected.csv", index=False)
    about_store = {"format": FORMAT, "class_names": class_names, "data": config.data_config().model_dump()}
    (draft / "store.json").write_text(json.dumps(about_store, indent=2))


def _decode_all(
    file: Path, config: DataConfig, source: Path, candidates: Sequence[Candidate]
) -> tuple[pd.DataFrame, pd.DataFrame]:
    """Write the pixels of all usable photos; return the table of these, in the file's order, and that of the others."""
    accepted: list[dict[str, object]] = []
    rejected: list[dict[str, object]] = []
    with ArrayFile(file, (config.image_size, config.image_size, 3)) as array:
        for photo, outcome in zip(candidates, _decoded(candidates, config), strict=True):
            about: dict[str, object] = {"path": _name(photo, source), "label": photo.label}
            if isinstance(outcome, str):
                rejected.append(about | {"reason": outcome})
                continue
            pixels, (height, width) = outcome
            accepted.append(
                about
                | {"sha256": photo.sha256, "width": width, "height": height}
                | {"split": photo.split, "group": photo.group}
            )
            array.append(pixels)
    return (
        pd.DataFrame(accepted, columns=["path", "label", "sha256", "width", "height", "split", "group"]),
        pd.DataFrame(rejected, columns=["path", "label", "reason"]),
    )


def _decoded(candidates: Sequence[Candidate], config: DataConfig) -> Iterator[tuple[np.ndarray, tuple[int, int]] | str]:
    """Yield, in order, each photo's pixels and original (height, width), or the reason why it is refused."""

    def decode_one(photo: Candidate) -> tuple[np.ndarray, tuple[int, int]] | str:
        if photo.problem:
            return photo.problem
        try:
            image = decode(photo.path.read_bytes())
        except OSError as error:
            return f"cannot be read ({error.strerror})"
        except BadImage as error:
            return str(error)
        return prepare(image, config.image_size, config.resize, config.image_ops), (image.shape[0], image.shape[1])

    with ThreadPoolExecutor() as pool, tqdm(total=len(candidates), desc="preparing", unit="photo", disable=None) as bar:
        for start in range(0, len(candidates), CHUNK):
            for outcome in pool.map(decode_one, candidates[start : start + CHUNK]):
                bar.update()
                yield outcome


def _check_every_split_has_every_class(manifest: pd.DataFrame, class_names: Sequence[str]) -> None:
    for split in SPLITS:
        if missing := sorted(set(class_names) - set(manifest.loc[manifest["split"] == split, "label"])):
            raise UserError(
                f"every class needs a readable photo in every split, got none of {', '.join(missing)} in {split} "
                "(add photos, raise the split's fraction, or try another split_seed)"
            )
