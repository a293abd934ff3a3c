"""The split of a published notebook on Flower Photos, as a table that says for every photo where it goes.

The notebook called ``keras.utils.image_dataset_from_directory`` twice with ``validation_split=0.2, seed=123``, which
sorts the photos by class and name, shuffles them by numpy's ``RandomState(seed)``, and takes the last fifth, 734 of
3,670, for validation. Our rule is three splits: these 734 are the test split here, which `evaluate` alone reads, and
the last tenth of the other 2,936 in the same order is the validation split. Three of the 2,936 are among the 734 once
more, byte for byte, one of them under another label; these three are left out.
"""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd

from pipeline.files import sha256_of_file

SEED, PUBLISHED_SHARE, OUR_SHARE = 123, 0.2, 0.1
SPLITS = ("train", "validation", "test")  # the more protected ones last
SUFFIXES = (".bmp", ".gif", ".jpeg", ".jpg", ".png")  # that Keras reads


def notebook_table(photos: Path) -> pd.DataFrame:
    """Return path (with the folder's own name first), label and split of the photos in a folder of class folders.

    Of photos with the same bytes in several splits, those in the most protected split are in the table.
    """
    classes = sorted(entry for entry in photos.iterdir() if entry.is_dir())
    files = [file for folder in classes for file in sorted(folder.iterdir()) if file.suffix.lower() in SUFFIXES]
    order = keras_order(files)
    test = int(PUBLISHED_SHARE * len(order))
    validation = int(OUR_SHARE * (len(order) - test))
    ranks = pd.Series(np.repeat(range(len(SPLITS)), [len(order) - test - validation, validation, test]))
    paths = [file.relative_to(photos.parent).as_posix() for file in order]
    table = pd.DataFrame(
        {"path": paths, "label": [file.parent.name for file in order], "split": ranks.map(dict(enumerate(SPLITS)))}
    )
    contents = [sha256_of_file(file) for file in order]
    return table[ranks == ranks.groupby(contents).transform("max")]


def keras_order(files: Sequence[Path]) -> list[Path]:
    """Return sorted files as ``image_dataset_from_directory`` shuffles them before it splits."""
    order: Any = list(files)
    np.random.RandomState(SEED).shuffle(order)
    return order
