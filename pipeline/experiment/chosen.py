"""What flags that choose for themselves come to, by the photos and by the weights that are here: printed and logged."""

from __future__ import annotations

from typing import TypeVar

from pipeline import tracking
from pipeline.config import (
    FROM_SCRATCH,
    PRETRAINED_SIZE_PX,
    Config,
    PreprocessConfig,
    TuneConfig,
    chosen_by_photos,
    open_flags,
)
from pipeline.config.text import make_config
from pipeline.data.store import Store
from pipeline.models.weights.library import state_of

C = TypeVar("C", bound=Config)

DEFAULT_VARIANTS = TuneConfig.model_fields["variants"].default


def with_epochs(config: C, store: Store) -> C:
    """Return the config of the open run with the flags that choose by the number of photos, printed in a line."""
    flags = config.model_dump()
    if not open_flags(flags):
        return config
    flags |= chosen_by_photos(flags, len(store.labels("train")))
    head = (
        f", of which the first {flags['head_epochs']} train the head alone, and the others all at "
        f"{flags['unfreeze_lr_factor']:g} of its rate"
    )
    print(f"epochs: {flags['epochs']}{head if flags['head_epochs'] else ''}", flush=True)
    chosen = make_config(type(config), flags)
    tracking.log_config(chosen)
    return chosen


def expected_size(config: PreprocessConfig) -> PreprocessConfig:
    """Return the config with the size that a training will choose, as far as this machine knows, where it is open."""
    if config.image_size:
        return config
    size, reason = FROM_SCRATCH["image_size"], "there are no ImageNet weights"
    if trained := next((variant for variant in DEFAULT_VARIANTS if state_of(variant).text != "no"), ""):
        size, reason = PRETRAINED_SIZE_PX, f"there are ImageNet weights of {trained}"
    print(f"image_size: {size} px, as {reason} on this machine", flush=True)
    return config.model_copy(update={"image_size": size})
