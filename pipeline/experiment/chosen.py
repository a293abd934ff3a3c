"""What flags that choose for themselves come to, by the photos, the weights that are here, and the time there is.

It is printed and logged.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import TypeVar

from pipeline import tracking
from pipeline.config import (
    FROM_SCRATCH,
    PRETRAINED_SIZE_PX,
    Config,
    PreprocessConfig,
    TuneConfig,
    chosen_by_photos,
    least_epochs,
    most_epochs,
    open_flags,
)
from pipeline.config.text import make_config
from pipeline.data.store import Store
from pipeline.models.weights.library import state_of

C = TypeVar("C", bound=Config)

DEFAULT_VARIANTS = TuneConfig.model_fields["variants"].default
EPOCHS_BY_TIME = "epochs_by_time"  # tag of a run: what the time that there was has come to


def with_epochs(
    config: C,
    store: Store,
    fits: Callable[[C], bool] = lambda _: True,
    may_be_longer: bool = False,
    begun_with: int = 0,
) -> C:
    """Return the config of the open run with the flags that choose by photos and time, printed in a line.

    Args:
        config: of a command.
        store: its photos.
        fits: whether the command with so many epochs is expected to end in its time.
        may_be_longer: whether time is worth more epochs than those by the number of photos.
        begun_with: the epochs of an earlier call that is gone on with; 0 if there was none.
    """
    flags = config.model_dump()
    if not open_flags(flags):
        return config
    chosen, reason = _with_epochs(config, store, flags["epochs"]), ""
    if "epochs" in open_flags(flags) and flags["timeout_s"]:
        begun_with = begun_with or int(tracking.tag_of_open_run(EPOCHS_BY_TIME) or 0)
        usual: int = chosen.model_dump()["epochs"]
        most = max(most_epochs(flags), usual) if may_be_longer else usual
        candidates = [begun_with] if begun_with else range(most, least_epochs(flags) - 1, -1)
        tried = (_with_epochs(config, store, epochs) for epochs in candidates)
        chosen = next((each for each in tried if begun_with or fits(each)), _with_epochs(config, store, candidates[-1]))
        tracking.set_tags({EPOCHS_BY_TIME: str(chosen.model_dump()["epochs"])})
        reason = " (as when it was started)" if begun_with else f" (with timeout_s={flags['timeout_s']:g})"
    _print_epochs(chosen, reason)
    tracking.log_config(chosen)
    return chosen


def _with_epochs(config: C, store: Store, epochs: int) -> C:
    flags = config.model_dump() | {"epochs": epochs}
    return make_config(type(config), flags | chosen_by_photos(flags, len(store.labels("train"))))


def _print_epochs(config: Config, reason: str) -> None:
    flags = config.model_dump()
    head = (
        f", of which the first {flags['head_epochs']} train only the head, and the others all layers at "
        f"{flags['unfreeze_lr_factor']:g} times its rate"
    )
    print(f"epochs: {flags['epochs']}{head if flags['head_epochs'] else ''}{reason}", flush=True)


def expected_size(config: PreprocessConfig) -> PreprocessConfig:
    """Return the config with the size that a training will choose, as far as this machine knows, where it is open."""
    if config.image_size:
        return config
    size, reason = FROM_SCRATCH["image_size"], "there are no ImageNet weights"
    if trained := next((variant for variant in DEFAULT_VARIANTS if state_of(variant).text != "no"), ""):
        size, reason = PRETRAINED_SIZE_PX, f"there are ImageNet weights of {trained}"
    print(f"image_size: {size} px, as {reason} on this machine", flush=True)
    return config.model_copy(update={"image_size": size})
