"""Candidate photos -> the files of a prepared store: decoded, split, and written. Reading them is `store.py`'s."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import numpy as np
import pandas as pd
from tqdm import tqdm

from pipeline.config import DataConfig, UserError
from pipeline.data.array_file import ArrayFile
from pipeline.data.decode import BadImage, decode, prepare
from pipeline.data.intake import Candidate, printable
from pipeline.data.splits import SPLITS, assign_splits, check_given, leak_keys

FORMAT = 3  # raise when the same photos and flags would give other pixels or another manifest
CHUNK = 256  # photos decoded at a time: bounds memory, and is plenty for the threads


def store_digest(config: DataConfig, source: Path, candidates: Sequence[Candidate]) -> str:
    """Return the digest that names the store of these photos and data flags."""
    options = config.data_config().model_dump(exclude={"data"})
    photos = [(_name(photo, source), *photo[1:]) for photo in candidates]
    return hashlib.sha256(json.dumps([FORMAT, options, photos], sort_keys=True).encode()).hexdigest()


def write_store(draft: Path, config: DataConfig, source: Path, candidates: Sequence[Candidate]) -> None:
    """Write the whole store into an empty folder.

    Raises:
        UserError: the photos cannot be split into three parts with every class in each.
    """
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


def _name(photo: Candidate, source: Path) -> str:
    inside = photo.path.is_relative_to(source)
    return printable((photo.path.relative_to(source) if inside else photo.path).as_posix())


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
