"""The photos that a model knows: those of its data set, and which of them it has learned from or been chosen on.

A model keeps this table, of digests and not of pixels, so that it can be told later which photos are new to it,
whatever becomes of the data set: photos added, removed, relabelled, renamed, moved, encoded again. It takes about 60
bytes a photo, 4.8 MB for 80,000.

A photo is known again by its bytes or its pixels, and then counts as it was: a test photo of then is still unseen. Any
other counts as seen where it is a near duplicate of a photo that was learned from: by the groups of today's data set,
by a group of then, or, for photos that are in the data set no longer, by their perceptual hashes. Without the photo
itself nothing can verify a hash, so the limit is closer than that of `duplicates.py`: of Flower Photos encoded again as
JPEG (quality 75), as WebP, or at half the size, 99.9 % are within 4 of 64 bits, and 1.0 % of all photos have another
one so near (docs/log.md). Mirror images are not looked for.
"""

from __future__ import annotations

import hashlib
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import pandas as pd
import pyarrow as pa
import pyarrow.compute as pc

from pipeline.data.splits.assignment import GROUP

MAX_DISTANCE_BITS = 4
CHUNK = 1 << 18  # comparisons of hashes at a time: they stay in the processor's cache
COLUMNS = ["sha256", "pixels", "group", "phash", "learned"]


@dataclass(frozen=True)
class KnownPhotos:
    """A row per photo: digests of its bytes, pixels and group, perceptual hash, and whether the model ``learned`` it.

    The group is empty for a photo that is alone in it. A photo was learned if the model was trained on it or chosen by
    it, or a model that this one started from was.
    """

    table: pd.DataFrame

    @classmethod
    def of(cls, manifest: pd.DataFrame, start: KnownPhotos | None = None) -> KnownPhotos:
        """Return what a training on a store's photos knows, from weights that knew those of ``start``."""
        group, is_test = _group_digests(manifest["group"]), (manifest["split"] == "test").to_numpy()
        table = manifest[["sha256", "pixels", "phash"]].assign(
            group=group.where(group.duplicated(keep=False) | (group != manifest["sha256"]), ""),
            learned=~is_test,
        )[COLUMNS]
        if start is None:
            return cls(table.reset_index(drop=True))
        table.loc[is_test, "learned"] = start.has_seen(manifest[is_test], manifest)
        before = start.table[start.table["learned"]]
        tables = pd.concat([table, before]).sort_values("learned", ascending=False, kind="stable")
        return cls(tables.drop_duplicates(["sha256", "pixels"], ignore_index=True))

    @classmethod
    def read(cls, file: Path) -> KnownPhotos:
        """Read what `write` wrote."""
        return cls(pd.read_parquet(file))

    def write(self, file: Path) -> None:
        """Write the table; digests are noise, which only their spelling lets compress."""
        self.table.to_parquet(file, compression="zstd", index=False, use_dictionary=["group"])

    def knows(self, photos: pd.DataFrame) -> np.ndarray:
        """Return of each photo, rows of a manifest, whether it is one of these, bool (n,)."""
        return _is_among(photos, self.table)

    def has_seen(self, photos: pd.DataFrame, manifest: pd.DataFrame) -> np.ndarray:
        """Return of each photo whether the model has learned from it or from a near duplicate, bool (n,).

        Args:
            photos: rows of the manifest.
            manifest: of the whole data set, whose groups say what is alike.
        """
        learned = self.table[self.table["learned"]]
        is_known, seen = self.knows(photos), _is_among(photos, learned)
        if (is_known | seen).all():
            return seen
        groups_today = manifest.loc[_is_among(manifest, learned), "group"]
        groups_then = learned.loc[learned["group"] != "", "group"]
        alike = _is_in(photos["group"], groups_today) | _is_in(_group_digests(photos["group"]), groups_then)
        gone = learned.loc[~_is_among(learned, manifest), "phash"].to_numpy(np.uint64)
        of_new = manifest[_is_in(manifest["group"], photos["group"])]
        of_new = of_new[~self.knows(of_new)]
        copies = of_new.loc[_near(of_new["phash"].to_numpy(np.uint64), gone), "group"]
        return seen | (~is_known & (alike | _is_in(photos["group"], copies)))


def _is_among(photos: pd.DataFrame, others: pd.DataFrame) -> np.ndarray:
    """Return of each photo whether one of the others has its bytes or its pixels."""
    return _is_in(photos["sha256"], others["sha256"]) | _is_in(photos["pixels"], others["pixels"])


def _is_in(texts: pd.Series, others: pd.Series) -> np.ndarray:
    """Return of each text whether it is among the others, as `Series.isin` does in 40 times the time."""
    wanted = pa.array(others, pa.string())
    return np.asarray(pc.is_in(pa.array(texts, pa.string()), value_set=wanted).to_numpy(zero_copy_only=False))


def _group_digests(groups: pd.Series) -> pd.Series:
    """Return the groups' keys, with a digest for one that the user named: a model carries no names of other people."""
    digests = {key: hashlib.sha256(key.encode()).hexdigest() for key in groups.unique() if key.startswith(GROUP)}
    return groups.replace(digests) if digests else groups


def _near(hashes: np.ndarray, others: np.ndarray) -> np.ndarray:
    """Return of each perceptual hash whether one of the others is within `MAX_DISTANCE_BITS`, bool (n,)."""
    step = max(1, CHUNK // max(1, len(others)))
    found = [
        (np.bitwise_count(hashes[start : start + step, None] ^ others) <= MAX_DISTANCE_BITS).any(axis=1)
        for start in range(0, len(hashes), step)
    ]
    return np.concatenate([np.empty(0, bool), *found])
