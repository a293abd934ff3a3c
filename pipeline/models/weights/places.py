"""Where an address of weights leads: the value of the flag ``weights`` -> weights on this machine.

An address may end in ``#sha256=`` and the SHA-256 that the numbers must have. Addresses of the project's own folder are
found on any machine: where it is missing it is filled as on the first one, and must come out the same.
"""

from __future__ import annotations

import re
from pathlib import Path
from typing import TYPE_CHECKING, NamedTuple

from pipeline.config import UserError, weights_by_variant
from pipeline.files import sha256_of_file
from pipeline.models.backend import import_backend
from pipeline.models.variants import VARIANTS
from pipeline.models.weights.files import KERAS_SUFFIX, Weights, open_weights
from pipeline.models.weights.hubs import HUGGING_FACE, KAGGLE, NotFetched, hugging_face_folder, kaggle_folder
from pipeline.models.weights.library import WEIGHTS_FOLDER, find_weights, own_folder

if TYPE_CHECKING:
    from pipeline.config import TrainConfig

REGISTRY = "models:/"
_PIN = re.compile(r"(?P<address>.+)#sha256=(?P<sha256>[0-9a-f]{64})")


class Address(NamedTuple):
    """Where weights are, and the SHA-256 that they must have; empty for any."""

    place: str
    sha256: str

    def __str__(self) -> str:
        return f"{self.place}#sha256={self.sha256}" if self.sha256 else self.place


def parse_address(weights: str) -> Address:
    """Split the value of the flag ``weights`` into a place and the SHA-256 that it asks for."""
    pinned = _PIN.fullmatch(weights)
    return Address(pinned["address"], pinned["sha256"]) if pinned else Address(weights, "")


def is_classifier(weights: str) -> bool:
    """Return whether the flag names a saved classifier: of the registry, or a ``.keras`` file."""
    return weights.startswith(REGISTRY) or parse_address(weights).place.endswith(KERAS_SUFFIX)


def weights_of(config: TrainConfig) -> Weights | None:
    """Return the weights that a training's backbone starts from; None for random ones and for a saved classifier's.

    Raises:
        UserError: there are none, or others than the address asks for.
    """
    if config.weights == "auto":
        raise ValueError("weights=auto is resolved at the start of a command, and never reaches a network")
    if config.weights == "none" or is_classifier(config.weights):
        return None
    if config.weights == "imagenet":
        return _imagenet_weights(config.variant)
    address = parse_address(config.weights)
    own = address.place == str(own_folder(config.variant))
    weights = find_weights(config.variant) if own else open_weights(_folder_of(address.place))
    check_sha256(weights.file, address.sha256)
    return weights


def check_place(weights: str) -> None:
    """Look for what the flag ``weights`` names, before any work begins, without fetching or loading it.

    Raises:
        UserError: it is no name of weights, or a folder or file on this machine that holds none, or no scaling.
    """
    place = parse_address(weights).place
    named = {"auto", "none", "imagenet", *(variant.imagenet_preset for variant in VARIANTS.values())}
    if is_classifier(weights) or weights_by_variant(weights) or Path(place).parent == WEIGHTS_FOLDER:
        return
    if place in named or place.startswith((HUGGING_FACE, KAGGLE)) or kaggle_handle(place):
        return
    _ = open_weights(Path(place)).scaling


def _imagenet_weights(variant: str) -> Weights:
    """Return the weights of KerasHub's preset, or those that somebody has put into the project's folder instead."""
    handle = kaggle_handle(_preset_of(variant))
    try:
        return open_weights(kaggle_folder(handle, fetch=not own_folder(variant).is_dir()))
    except NotFetched:
        if not own_folder(variant).is_dir():
            raise
        return find_weights(variant)


def check_sha256(file: Path, wanted: str) -> None:
    """Raise UserError if a file has another SHA-256 than an address asks for; an empty one asks for none."""
    if wanted and (received := sha256_of_file(file)) != wanted:
        raise UserError(f"weights must have the SHA-256 {wanted}, got {received} in {file} (restore the file)")


def _preset_of(variant: str) -> str:
    if preset := VARIANTS[variant].imagenet_preset:
        return preset
    variants_with_weights = ", ".join(name for name, known in VARIANTS.items() if known.imagenet_preset)
    raise UserError(f"weights=imagenet needs a variant that has them ({variants_with_weights}), got variant={variant}")


def _folder_of(place: str) -> Path:
    if place.startswith(HUGGING_FACE):
        return hugging_face_folder(place.removeprefix(HUGGING_FACE))
    if handle := kaggle_handle(place):
        return kaggle_folder(handle)
    return Path(place)


def kaggle_handle(place: str) -> str:
    """Return Kaggle's handle of a KerasHub preset, without the scheme; empty if the place is no preset's name."""
    if place.startswith(KAGGLE):
        return place.removeprefix(KAGGLE)
    if "/" in place or "." in place:
        return ""
    import_backend()
    import keras_hub

    known = keras_hub.models.ResNetBackbone.presets
    return str(known[place]["kaggle_handle"]).removeprefix(KAGGLE) if place in known else ""
