"""The project's own folder of ImageNet weights, ``data/weights``: a folder per variant, found, filled and verified.

What ``weights=auto`` starts from is always here: what another cache of this machine holds is linked into it, the rest
is fetched once. So it stays the same whatever becomes of caches and networks. ``SHA256SUMS`` beside the files is
written when they come, and compared whenever they are found; files that somebody has put here are trusted when they
are first seen.
"""

from __future__ import annotations

import contextlib
import os
import shutil
from collections.abc import Iterator
from pathlib import Path
from typing import NamedTuple

from filelock import FileLock

from pipeline.config import DATA_FOLDER, UserError
from pipeline.files import SUMS_FILE, atomic_folder, read_sums, sha256_of_file, write_sums
from pipeline.models.weights.files import CONFIG_FILE, Weights, files_beside, open_weights
from pipeline.models.weights.hubs import HUGGING_FACE, KAGGLE, NotFetched, hugging_face_folder, kaggle_folder
from pipeline.models.weights.sources import SOURCES, Source

WEIGHTS_FOLDER = DATA_FOLDER / "weights"
ORIGIN_FILE = "origin.txt"  # holds the address that the files came from


def own_folder(variant: str) -> Path:
    """Return the folder of a variant's weights, which need not exist."""
    return WEIGHTS_FOLDER / variant


def find_weights(variant: str, fetch: bool = True) -> Weights:
    """Return a variant's ImageNet weights, brought into the project's folder if they are not there.

    Raises:
        NotFetched: they are neither on this machine nor within reach.
        UserError: the files are not those that were recorded.
    """
    folder = own_folder(variant)
    if not folder.is_dir():
        WEIGHTS_FOLDER.mkdir(parents=True, exist_ok=True)
        with FileLock(WEIGHTS_FOLDER / f".{variant}.lock"):
            if not folder.is_dir():
                _bring(variant, folder, fetch)
    return verified(folder)


def verified(folder: Path) -> Weights:
    """Return the weights in a folder, compared with the checksums beside them; the first time, these are written.

    Raises:
        UserError: the folder holds no weights, or others than were recorded.
    """
    weights = open_weights(folder)
    sums = _sums_of(folder)
    if not (folder / SUMS_FILE).exists():  # else nothing is written, and the folder may be a read-only one
        with FileLock(folder.with_name(f".{folder.name}.lock")):
            if not (folder / SUMS_FILE).exists():
                write_sums(folder, sums)
    recorded = read_sums(folder)
    if changed := sorted(name for name in recorded.keys() | sums.keys() if recorded.get(name) != sums.get(name)):
        raise UserError(
            f"weights must have the SHA-256 that was recorded, got another for {folder / changed[0]} (restore it, or "
            f"remove {folder}: it will be filled again)"
        )
    return weights


def _sums_of(folder: Path) -> dict[str, str]:
    """Return the SHA-256 of the files in a folder, without hidden ones, which systems leave, and the list itself."""
    files = (path for path in sorted(folder.glob("[!.]*")) if path.is_file() and path.name != SUMS_FILE)
    return {path.name: sha256_of_file(path) for path in files}


def origin_of(weights: Weights) -> str:
    """Return the recorded address that weights came from; empty for those that somebody has put there."""
    file = weights.file.with_name(ORIGIN_FILE)
    return file.read_text(encoding="utf-8").strip() if file.exists() else ""


def cached_folders(source: Source) -> Iterator[tuple[str, Path]]:
    """Yield the address and the folder of each copy of a source in the caches of Kaggle and Hugging Face."""
    with contextlib.suppress(NotFetched):
        if source.kaggle:
            yield f"{KAGGLE}{source.kaggle}", kaggle_folder(source.kaggle, fetch=False)
    with contextlib.suppress(NotFetched):
        yield f"{HUGGING_FACE}{source.repository}", hugging_face_folder(source.repository, fetch=False)


class State(NamedTuple):
    """Whether a variant's weights are on this machine, in a few words, and what is wrong with them, if anything is."""

    text: str
    damage: str = ""


def state_of(variant: str) -> State:
    """Return whether a variant's weights are on this machine; those in the project's folder are verified."""
    folder = own_folder(variant)
    if folder.is_dir():
        try:
            return State(f"yes, {verified(folder).sha256[:12]}")
        except UserError as error:
            return State("damaged", str(error))
    source = SOURCES.get(variant)
    for address, _ in cached_folders(source) if source else ():
        return State(f"in the cache of {address.partition(':')[0]}")
    return State("no")


def pack(target: str) -> list[str]:
    """Copy the folders of all weights that are in the project's folder to a new folder; return their variants.

    Raises:
        UserError: the target is not new or empty, or some weights are damaged.
    """
    folders = [folder for folder in sorted(WEIGHTS_FOLDER.glob("[!.]*")) if folder.is_dir()]
    for folder in folders:
        verified(folder)
    try:
        with atomic_folder(Path(target)) as draft:
            for folder in folders:
                shutil.copytree(folder, draft / folder.name)
    except FileExistsError as error:
        raise UserError(f"pack must be a new folder, got {target} ({error})") from None
    return [folder.name for folder in folders]


def _bring(variant: str, folder: Path, fetch: bool) -> None:
    source = SOURCES.get(variant)
    if not source:
        raise NotFetched(f"there are no published ImageNet weights of {variant} (put some into {folder})")
    for address, cached in cached_folders(source):
        with atomic_folder(folder) as draft:
            for name in (CONFIG_FILE, *files_beside(cached / CONFIG_FILE)):
                _link(cached / name, draft / name)
            _record(draft, address)
        print(f"ImageNet weights of {variant}: {address}, found on this machine", flush=True)
        return
    _fetch(variant, source, folder, fetch)


def _fetch(variant: str, source: Source, folder: Path, fetch: bool) -> None:
    """Fetch a source into a folder that gets its name when all is there; an interrupted transfer goes on."""
    draft = folder.with_name(f".{variant}.part")
    address = f"{HUGGING_FACE}{source.repository}"
    hugging_face_folder(source.repository, fetch, into=draft)
    shutil.rmtree(draft / ".cache", ignore_errors=True)
    try:
        _record(draft, address)
    except UserError as error:
        shutil.rmtree(draft)
        raise NotFetched(f"{address} must be weights with their scaling: {error}") from error
    draft.replace(folder)
    print(f"ImageNet weights of {variant}: {address}, fetched into {folder}", flush=True)


def _record(folder: Path, address: str) -> None:
    """Record where a folder's weights came from, and their checksums, if they say how pixels are scaled."""
    _ = open_weights(folder).scaling
    (folder / ORIGIN_FILE).write_text(f"{address}\n", encoding="utf-8")
    write_sums(folder, _sums_of(folder))


def _link(source: Path, target: Path) -> None:
    """Give a file a second name, or copy it to another file system; caches hold links to what they have."""
    try:
        os.link(source.resolve(), target)
    except OSError:
        shutil.copyfile(source, target)
