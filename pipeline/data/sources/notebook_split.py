"""The split of a published notebook on Flower Photos, as a table of the split of every photo.

The notebook called ``keras.utils.image_dataset_from_directory`` twice with ``validation_split=0.2, seed=123``, which
sorts the photos by class and name, shuffles them by numpy's ``RandomState(seed)``, and takes the last fifth, 734 of
3,670, for validation. We need three splits: these 734 become the test split, which only `evaluate` reads, and the last
tenth of the other 2,936 in the same order becomes the validation split. Three of the 2,936 are byte-identical copies of
photos among the 734, one of them under another label; these three are left out.
"""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd

from pipeline.files import sha256_of_file

SEED, TEST_SHARE, VALIDATION_SHARE = 123, 0.2, 0.1
SPLITS = ("train", "validation", "test")  # the most protected last
SUFFIXES = (".bmp", ".gif", ".jpeg", ".jpg", ".png")  # what Keras reads


def notebook_table(photos: Path) -> pd.DataFrame:
    """Return path (starting with the folder's own name), label and split of the photos in a folder of class folders.

    If photos with the same bytes are in several splits, the table keeps those in the most protected one.
    """
    classes = sorted(entry for entry in photos.iterdir() if entry.is_dir())
    files = [file for folder in classes for file in sorted(folder.iterdir()) if file.suffix.lower() in SUFFIXES]
    order = keras_order(files)
    test = int(TEST_SHARE * len(order))
    validation = int(VALIDATION_SHARE * (len(order) - test))
    ranks = pd.Series(np.repeat(range(len(SPLITS)), [len(order) - test - validation, validation, test]))
    paths = [file.relative_to(photos.parent).as_posix() for file in order]
    table = pd.DataFrame(
        {"path": paths, "label": [file.parent.name for file in order], "split": ranks.map(dict(enumerate(SPLITS)))}
    )
    contents = [sha256_of_file(file) for file in order]
    return table[ranks == ranks.groupby(contents).transform("max")]


def keras_order(files: Sequence[Path]) -> list[Path]:
    """Return sorted files in the order that ``image_dataset_from_directory`` shuffles them to before splitting."""
    order: Any = list(files)
    np.random.RandomState(SEED).shuffle(order)
    return order
