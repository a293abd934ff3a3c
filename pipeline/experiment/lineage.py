"""Where a model's weights come from, and so which photos it has learned from: its own, and those of its ancestors.

Every model has the table of its photos beside its description (`data.store.KnownPhotos`), with what the models that it
started from have learned from. Models of before have none: theirs is made from their prepared photos, if these are
still there or can be made again.
"""

from __future__ import annotations

from pathlib import Path
from typing import NamedTuple

import pandas as pd

from pipeline.config import AblateConfig, DataConfig, TrainConfig, TuneConfig, UserError
from pipeline.config.recipes import read_recipe
from pipeline.data.store import KnownPhotos, Store, recorded_manifest
from pipeline.experiment.photos import data_config_of, open_store
from pipeline.files import sha256_of_file
from pipeline.models.weights.places import REGISTRY, check_sha256, is_classifier, parse_address
from pipeline.serving import ABOUT_FILE, MODEL_FILE, About, Classifier
from pipeline.tracking import registry

PHOTOS_FILE = "photos.parquet"  # beside the description of a classifier
LINEAGE, UNKNOWN = "lineage", "unknown"  # keys of `About.start`: addresses of all ancestors; one without known photos
SPLIT_FLAGS = ("data", "split_seed", "val_fraction", "test_fraction")


class Start(NamedTuple):
    """The saved classifier that a training starts from.

    Attributes:
        file: its network.
        lineage: addresses, its own first, then those of its ancestors.
        photos: what it knows; None if nobody can tell.
        unknown: the address in the lineage of which nobody can tell; empty if there is none.
        about: what its classifier remembers, if there is more than a network.
    """

    file: Path
    lineage: tuple[str, ...]
    photos: KnownPhotos | None
    unknown: str
    about: About | None = None


def saved_start(weights: str) -> Start | None:
    """Return the saved classifier that the flag ``weights`` names, if it does: of the registry, or its own file.

    Raises:
        UserError: it is not there, or not the one that is asked for.
    """
    if not is_classifier(weights):
        return None
    place, sha256 = parse_address(weights)
    if place.startswith(REGISTRY):
        model = registry.fetch_model(place)
        file, address, folder = model.folder / MODEL_FILE, model.uri, model.folder
        check_sha256(file, sha256)
    else:
        file = Path(place)
        if not file.is_file():
            raise UserError(f"weights must be an existing file, got {place}")
        check_sha256(file, sha256)
        version = registry.version_with_file(sha256_of_file(file))
        address = version.uri if version else place
        folder = registry.fetch_model(address).folder if version else file.parent
    return _start(file, address, folder)


def _start(file: Path, address: str, folder: Path) -> Start:
    if not (folder / ABOUT_FILE).is_file():
        return Start(file, (address,), None, address)
    about = Classifier(folder).about
    photos, unknown = known_photos(about, folder)
    ancestors = about.start.get(LINEAGE, ())
    unknown = unknown or ("" if photos else address)
    return Start(file, (address, *ancestors), photos, unknown, about)


def known_photos(about: About, folder: Path, data: str = "") -> tuple[KnownPhotos | None, str]:
    """Return what a model knows, None if nobody can tell, and the address of an ancestor of which nobody can.

    Args:
        about: what its classifier remembers.
        folder: the classifier's.
        data: where its photos may be now; where they were, if empty.

    Raises:
        UserError: a model of before, and its photos are not there.
    """
    if (folder / PHOTOS_FILE).is_file():
        return KnownPhotos.read(folder / PHOTOS_FILE), str(about.start.get(UNKNOWN, ""))
    manifest = _manifest_of(about, data)
    if manifest is None:
        return None, ""
    weights = str(about.config.get("weights", "none"))
    if not is_classifier(weights):
        return KnownPhotos.of(manifest), ""
    start = _start_of_before(about, weights)
    return KnownPhotos.of(manifest, start and start.photos), weights if start is None else start.unknown


def _manifest_of(about: About, data: str) -> pd.DataFrame | None:
    """Return the manifest of the photos of a model of before, prepared then or again."""
    if (found := recorded_manifest(about.data_digest)) is not None:
        return found
    flags = data_config_of(about)
    store = open_store(flags.model_copy(update={"data": data or flags.data}), rules=about.rule_versions)
    return store.manifest if store.digest == about.data_digest else None


def _start_of_before(about: About, weights: str) -> Start | None:
    """Return what a model of before started from, if its checksum or address is that of one registered version."""
    version = registry.version_with_file(str(about.start.get("sha256", "")))
    place = parse_address(weights).place
    address = version.uri if version else place if registry.is_version(place) else ""
    if not address:
        return None
    try:
        folder = registry.fetch_model(address).folder
    except UserError:  # deleted
        return None
    return _start(folder / MODEL_FILE, address, folder)


def check_start(config: TrainConfig | TuneConfig | AblateConfig, store: Store) -> None:
    """Print a warning if a training starts from weights that have seen test photos.

    Raises:
        UserError: they have, and the recipe promises a test on new photos.
    """
    start = saved_start(config.weights)
    if start is None or not (line := _seen_line(start, config, store)):
        return
    if config.recipe and read_recipe(config.recipe).unseen_test:
        raise UserError(
            f"recipe={config.recipe} needs weights that have seen no test photo, got weights={config.weights}: {line}"
        )
    print(f"WARNING: {line}", flush=True)


def _seen_line(start: Start, config: DataConfig, store: Store) -> str:
    """Return a sentence on the test photos that the start has seen; empty if there are none."""
    if start.photos is None or start.unknown:
        return (
            f"it is unknown which photos {start.unknown} was trained on, so test photos may be among them: a model "
            "that starts from it becomes champion only with promotion=always (better use other weights)"
        )
    test = store.manifest[store.manifest["split"] == "test"]
    seen = int(start.photos.has_seen(test, store.manifest).sum())
    if not seen:
        return ""
    theirs = start.about and data_config_of(start.about)
    other = [
        f"{name}={getattr(theirs, name)}" for name in SPLIT_FLAGS if getattr(theirs, name) != getattr(config, name)
    ]
    remedy = f"{' '.join(other)}, as in its training," if other else "other weights"
    return (
        f"{start.lineage[0]}, or what it started from, has seen {seen} of the {len(test)} test photos: "
        f"evaluate will leave them out ({remedy} may keep them all)"
    )
