"""Photos after each step of their preparation, for people to check the image operations by eye."""

from __future__ import annotations

import numpy as np
import pandas as pd

from pipeline.config import DataConfig
from pipeline.data.pixels import BadImage, decode, prepare
from pipeline.data.pixels.image_ops import stages
from pipeline.data.store.store import Store


def stages_of_photos(store: Store, config: DataConfig) -> dict[str, dict[str, np.ndarray]]:
    """Return, per class, its first readable training photo before the image operations and after each of them.

    Returns:
        class -> {"before": image, "1. grey": image, ...}, each uint8 RGB (image_size, image_size, 3).
    """
    rows = store.rows("train")
    stages_of = {name: _stages(store, config, rows.loc[rows["label"] == name, "path"]) for name in store.class_names}
    return {name: images for name, images in stages_of.items() if images}


def _stages(store: Store, config: DataConfig, paths: pd.Series[str]) -> dict[str, np.ndarray]:
    version = store.rule_versions.pixels
    for path in paths:
        try:
            before = prepare(
                decode((store.source / path).read_bytes(), config.max_pixels, version),
                config.image_size,
                config.resize,
                version=version,
            )
        except (OSError, BadImage):  # deleted since it was prepared, or its name is not UTF-8
            continue
        after = {f"{number}. {op}": image for number, (op, image) in enumerate(stages(before, config.image_ops), 1)}
        return {"before": before, **after}
    return {}
