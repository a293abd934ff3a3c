"""Images per second of a training that saves checkpoints, against one that saves none, and the seconds of one save."""

from __future__ import annotations

import itertools
import tempfile
import time
from collections.abc import Callable
from pathlib import Path

import pandas as pd

from benchmarks.measure import compared, in_turns
from pipeline.config import TrainConfig
from pipeline.data.store import Store, prepared_store
from pipeline.training import Checkpoints, fit

VARIANTS = ("resnet18", "resnet50")
EPOCHS = 5
ROUNDS = 3


def run(data: str, quick: bool) -> pd.DataFrame:
    """Measure each variant at the default size; ``quick`` the first, for two epochs."""
    tables: list[pd.DataFrame] = []
    costs: dict[str, list[float]] = {}
    for variant in VARIANTS[: 1 if quick else None]:
        config = TrainConfig(weights="none", data=data, variant=variant, epochs=2 if quick else EPOCHS)
        store = prepared_store(config)
        costs[variant] = []
        contenders = {
            "with checkpoints": _training(config, store, costs[variant]),
            "without": _training(config, store, None),
        }
        case = f"{variant}, {config.image_size} px, {config.epochs} epochs"
        tables.append(in_turns(case, "images per second", contenders, 1 if quick else ROUNDS))
    most = {f"{variant}, the slowest": [max(seconds)] for variant, seconds in costs.items() if seconds}
    return pd.concat([*tables, compared("one save", "seconds", most)] if most else tables, ignore_index=True)


def _training(config: TrainConfig, store: Store, costs: list[float] | None) -> Callable[[], float]:
    numbers = itertools.count()

    def train() -> float:
        with tempfile.TemporaryDirectory(dir=".") as folder:
            checkpoints = _Timed(Path(folder, str(next(numbers))), costs) if costs is not None else None
            start = time.perf_counter()
            fit(config, store, checkpoints=checkpoints)
            return config.epochs * len(store.images("train")) / (time.perf_counter() - start)

    return train


class _Timed(Checkpoints):
    def __init__(self, folder: Path, costs: list[float]) -> None:
        super().__init__(folder, {})
        self._costs = costs

    def save(self, *arguments: object) -> None:
        start = time.perf_counter()
        super().save(*arguments)  # type: ignore[arg-type]
        self._costs.append(time.perf_counter() - start)
