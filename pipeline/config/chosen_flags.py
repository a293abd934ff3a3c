"""Flags that choose for themselves, such as ``image_size`` and ``epochs``, by what a training starts from.

Random weights want many epochs, and small photos to afford them; pre-trained ones want photos as large as those that
they know, and a few epochs: the head alone first, then all. What a flag has chosen is written into the config once, at
the start of a command, so that everything after it sees numbers. What a user typed is never replaced.
"""

from __future__ import annotations

import math
from collections.abc import Mapping
from typing import Any

OPEN: Mapping[str, Any] = {  # its value while a flag is to choose
    "image_size": 0, "epochs": 0, "head_epochs": -1, "unfreeze_lr_factor": 0, "head_trials": -1,
}  # fmt: skip
FROM_SCRATCH: Mapping[str, Any] = {  # as ever
    "image_size": 64, "epochs": 16, "head_epochs": 0, "unfreeze_lr_factor": 0.1, "head_trials": 0,
}  # fmt: skip

# ImageNet's weights know photos of 224 px. A ResNet-50 that is trained and fine-tuned at 128 px loses 2.7 points of
# ImageNet's top-1 by it, for a third of the work (Touvron et al. 2019, arXiv 1906.06423); 160 px are half the work.
PRETRAINED_SIZE_PX = 160

# About 8 epochs of Flower Photos (docs/log.md, "Few epochs from pre-trained weights"). The ends are chosen, not
# measured: steps enough for a head of few photos, a first and a second phase for many.
STEPS, LEAST_EPOCHS, MOST_EPOCHS = 350, 3, 30
# The rate of all layers, in that of the head. Weak weights want more, up to 1; 0.1 was worst for them (docs/log.md, as
# above); weights that know photos like one's own want less (Li et al. 2020, arXiv 2002.11770). A search tries both.
UNFREEZE_LR_FACTOR = 0.3
HEAD_SHARE = 0.25  # of the epochs, on features that are computed once: they cost next to nothing
HEAD_TRIALS_SHARE = 0.5  # of a search's trials
USUAL_TRIALS = 12  # of a search without a number or a time of its own
# Of a training alone that has the time: from random weights 100 were better than 64 (docs/results.md).
MOST_EPOCHS_FROM_SCRATCH = 100


def open_flags(values: Mapping[str, Any]) -> set[str]:
    """Return the names of the flags, given as numbers or text, that are still to choose."""
    return {name for name, value in OPEN.items() if name in values and _is(values[name], value)}


def _is(given: object, value: float) -> bool:
    try:
        return float(str(given)) == value
    except ValueError:  # its config says what is wrong with it
        return False


def chosen_from_scratch(values: Mapping[str, Any]) -> dict[str, Any]:
    """Return what the open flags among ``values`` choose where the weights are random.

    With a ``timeout_s``, ``epochs`` stays open until the photos are known.
    """
    waits = set() if _is(values.get("timeout_s", 0), 0) else {"epochs"}
    return {name: FROM_SCRATCH[name] for name in open_flags(values) - waits}


def least_epochs(values: Mapping[str, Any]) -> int:
    """Return the least number of epochs that may be chosen beside these flags."""
    return max(LEAST_EPOCHS, values["head_epochs"] + 1, math.floor(values["warmup_epochs"]) + 1)


def most_epochs(values: Mapping[str, Any]) -> int:
    """Return the largest number of epochs that may be chosen for a training alone that has the time."""
    return MOST_EPOCHS_FROM_SCRATCH if values["weights"] == "none" else MOST_EPOCHS


def chosen_by_photos(values: Mapping[str, Any], train_photos: int) -> dict[str, Any]:
    """Return what the open flags of a training or a search choose by the number of photos.

    Args:
        values: of its flags; ``image_size`` has been chosen.
        train_photos: number of photos to train on.
    """
    is_open, chosen = open_flags(values), dict[str, Any]()
    epochs, head_epochs = values["epochs"], values["head_epochs"]
    if "epochs" in is_open:
        from_scratch, steps = values["weights"] == "none", math.ceil(train_photos / values["batch_size"])
        epochs = FROM_SCRATCH["epochs"] if from_scratch else min(math.ceil(STEPS / steps), MOST_EPOCHS)
        chosen["epochs"] = epochs = max(epochs, least_epochs(values))
    if "head_epochs" in is_open:
        chosen["head_epochs"] = 0 if values["freeze_backbone"] else min(max(1, round(HEAD_SHARE * epochs)), epochs - 1)
    if "unfreeze_lr_factor" in is_open:
        chosen["unfreeze_lr_factor"] = UNFREEZE_LR_FACTOR
    if "head_trials" in is_open:
        two_phases = bool(chosen.get("head_epochs", head_epochs))
        chosen["head_trials"] = (
            math.floor(HEAD_TRIALS_SHARE * (values["n_trials"] or USUAL_TRIALS)) if two_phases else 0
        )
    return chosen
