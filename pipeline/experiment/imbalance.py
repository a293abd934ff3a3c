"""What is said of rare classes before a training begins: how rare they are, and which flags mind them."""

from __future__ import annotations

from collections.abc import Collection
from typing import NamedTuple

from pipeline.config import TrainingConfig
from pipeline.data.store import Store


class _Flag(NamedTuple):
    """A flag that minds rare classes: its value without that, what is then blind to them, and the value to try."""

    name: str
    unset: str
    blind: str
    value: str


FOR_RARE_CLASSES = (
    _Flag("class_weights", "none", "the training loss", "balanced"),
    _Flag("objective", "val_accuracy", "val_accuracy", "val_macro_f1"),
)


def print_imbalance(config: TrainingConfig, store: Store, varied: Collection[str] = ()) -> None:
    """Print which flags mind rare classes, if there are such classes and flags are left that do not.

    Args:
        config: of the training, or of many.
        store: the prepared photos.
        varied: flags that trainings differ in, which is left to them.
    """
    left = [flag for flag in FOR_RARE_CLASSES if getattr(config, flag.name) == flag.unset and flag.name not in varied]
    if left and (found := store.imbalance):
        blind = " and ".join(flag.blind for flag in left)
        flags = " ".join(f"--{flag.name}={flag.value}" for flag in left)
        print(f"{found}: {blind} hardly reflect{'' if len(left) > 1 else 's'} such a class (try {flags})", flush=True)
