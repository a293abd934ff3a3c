"""Where an address of weights leads: to a folder or file here, fetched into a library's cache if need be.

Both caches are looked into before the network, and honour their own variables: ``KAGGLEHUB_CACHE``, ``HF_HOME``,
``HF_HUB_CACHE``, ``HF_ENDPOINT``, ``HF_HUB_OFFLINE``. An address may end in ``#sha256=`` and the SHA-256 that the
numbers must have.
"""

from __future__ import annotations

import re
from collections.abc import Callable
from pathlib import Path
from typing import TYPE_CHECKING, NamedTuple, NoReturn

from pipeline.config import UserError, first_line
from pipeline.files import sha256_of_file
from pipeline.models.variants import VARIANTS
from pipeline.models.weights.files import CONFIG_FILE, KERAS_SUFFIX, Weights, files_beside, open_weights
from pipeline.models.weights.network import answers, wants_no_network

if TYPE_CHECKING:
    from pipeline.config import TrainConfig

HUGGING_FACE, KAGGLE, REGISTRY = "hf://", "kaggle://", "models:/"
BRING = "python -m pipeline weights says how to bring it"
_PIN = re.compile(r"(?P<address>.+)#sha256=(?P<sha256>[0-9a-f]{64})")


class Address(NamedTuple):
    """Where weights are, and the SHA-256 that they must have; empty for any."""

    place: str
    sha256: str

    def __str__(self) -> str:
        return f"{self.place}#sha256={self.sha256}" if self.sha256 else self.place


class NotFetched(UserError):
    """The weights are not on this machine, and could not be fetched."""


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
    if config.weights == "none" or is_classifier(config.weights):
        return None
    address = parse_address(_preset_of(config.variant) if config.weights == "imagenet" else config.weights)
    weights = open_weights(_folder_of(address.place))
    check_sha256(weights.file, address.sha256)
    return weights


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
    import keras_hub

    known = keras_hub.models.ResNetBackbone.presets
    return str(known[place]["kaggle_handle"]).removeprefix(KAGGLE) if place in known else ""


def kaggle_folder(handle: str, fetch: bool = True) -> Path:
    """Return the folder of a KerasHub preset in Kaggle's cache, fetched if it is not there.

    Raises:
        NotFetched: it is not there, and not to be fetched, or Kaggle does not give it.
    """
    import kagglehub
    from kagglehub.cache import Cache
    from kagglehub.handle import parse_model_handle
    from kagglesdk.kaggle_env import get_endpoint, get_env

    try:
        parsed = parse_model_handle(handle)
    except ValueError as error:
        raise UserError(f"weights must be {KAGGLE}owner/model/keras/variation, got {handle!r} ({error})") from None
    if parsed.is_versioned():
        if whole := Cache().load_from_cache(parsed):
            return Path(whole)
        if folder := _whole_folder(lambda name: _path(Cache().load_from_cache(parsed, name))):
            return folder
    found = _fetched(lambda name: Path(kagglehub.model_download(handle, name)), get_endpoint(get_env()), fetch)
    return found if isinstance(found, Path) else _not_there(f"{KAGGLE}{handle}", found)


def hugging_face_folder(repository: str, fetch: bool = True, into: Path | None = None) -> Path:
    """Return the folder of a model in Hugging Face's cache, fetched if it is not there.

    Args:
        repository: owner/name.
        fetch: False only looks into the cache.
        into: a folder to fetch it into instead of the cache; an interrupted transfer goes on there.

    Raises:
        NotFetched: it is not there, and not to be fetched, or Hugging Face does not give it.
    """
    import huggingface_hub
    from huggingface_hub import constants
    from huggingface_hub.errors import HFValidationError

    try:
        cached = _whole_folder(lambda name: _path(huggingface_hub.try_to_load_from_cache(repository, name)))
    except HFValidationError as error:
        raise UserError(f"weights must be {HUGGING_FACE}owner/name, got {repository!r} ({first_line(error)})") from None
    if cached and not into:
        return cached
    found = _fetched(
        lambda name: Path(huggingface_hub.hf_hub_download(repository, name, local_dir=into)), constants.ENDPOINT, fetch
    )
    return found if isinstance(found, Path) else _not_there(f"{HUGGING_FACE}{repository}", found)


def _fetched(get: Callable[[str], Path], server: str, fetch: bool) -> Path | str:
    """Return the folder that ``get`` fetches a model's files into, or why it could not be."""
    if not fetch:
        return "it is not on this machine"
    if wants_no_network():
        return "it is not on this machine, and HF_HUB_OFFLINE forbids to fetch it"
    if not answers(server):
        return f"it is not on this machine, and {server} does not answer"
    try:
        return _whole_folder(get) or f"{server} lacks a file of it"
    except UserError:
        raise
    except Exception as error:  # neither library wraps what its client, its readers and the disk raise
        return f"{server} does not give it: {first_line(error)}"


def _whole_folder(get: Callable[[str], Path | None]) -> Path | None:
    """Return the folder in which ``get`` finds all files of a KerasHub preset or a timm model."""
    config = get(CONFIG_FILE)
    if config is None or any(get(name) is None for name in files_beside(config)):
        return None
    return config.parent


def _path(found: object) -> Path | None:
    return Path(found) if isinstance(found, str) else None


def _not_there(address: str, reason: str) -> NoReturn:
    raise NotFetched(f"weights must be here or within reach, got {address}: {reason} ({BRING})")
