"""Kaggle and Hugging Face: folders of weights in the caches of their own libraries, fetched if they are not there.

The caches are looked into before the network, and honour their own variables: ``KAGGLEHUB_CACHE``, ``HF_HOME``,
``HF_HUB_CACHE``, ``HF_ENDPOINT``, ``HF_HUB_OFFLINE``. Whether a server answers is found out before its library is
asked, whose attempts would take half a minute to fail.
"""

from __future__ import annotations

import re
from collections.abc import Callable
from pathlib import Path
from typing import NoReturn

from pipeline.config import UserError, first_line
from pipeline.files import sha256_of_file
from pipeline.models.weights.files import CONFIG_FILE, files_beside
from pipeline.models.weights.network import answers, wants_no_network

HUGGING_FACE, KAGGLE = "hf://", "kaggle://"
BRING = "python -m pipeline weights says how to get it"
_SHA256 = re.compile(r"[0-9a-f]{64}")


class NotFetched(UserError):
    """The weights are not on this machine, and could not be fetched."""


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
    server = constants.ENDPOINT
    found = _fetched(lambda name: _download(server, repository, name, into), server, fetch)
    return found if isinstance(found, Path) else _not_there(f"{HUGGING_FACE}{repository}", found)


def _download(server: str, repository: str, name: str, into: Path | None) -> Path:
    """Download a file, or the rest of it; raise ValueError if it has not the SHA-256 that the server names."""
    import huggingface_hub

    file = Path(huggingface_hub.hf_hub_download(repository, name, local_dir=into, endpoint=server))
    url = huggingface_hub.hf_hub_url(repository, name, endpoint=server)
    named = huggingface_hub.get_hf_file_metadata(url, endpoint=server).etag or ""
    if _SHA256.fullmatch(named) and (received := sha256_of_file(file)) != named:
        file.resolve().unlink()
        raise ValueError(f"{name} must have the SHA-256 {named}, got {received}")
    return file


def _fetched(get: Callable[[str], Path], server: str, fetch: bool) -> Path | str:
    """Return the folder that ``get`` fetches a model's files into, or why it could not be."""
    if not fetch:
        return "it is not on this machine"
    if wants_no_network():
        return "it is not on this machine, and HF_HUB_OFFLINE forbids fetching it"
    if not answers(server):
        return f"it is not on this machine, and {server} does not answer"
    try:
        return _whole_folder(get) or f"{server} lacks one of its files"
    except Exception as error:  # neither library wraps what its client, its readers and the disk raise
        return f"{server} does not provide it: {first_line(error)}"


def _whole_folder(get: Callable[[str], Path | None]) -> Path | None:
    """Return the folder in which ``get`` finds all files of a KerasHub preset or a timm model."""
    config = get(CONFIG_FILE)
    if config is None or any(get(name) is None for name in files_beside(config)):
        return None
    return config.parent


def _path(found: object) -> Path | None:
    return Path(found) if isinstance(found, str) else None


def _not_there(address: str, reason: str) -> NoReturn:
    raise NotFetched(f"weights must be on this machine or available for download, got {address}: {reason} ({BRING})")
