"""The prepared store: photos decoded once into arrays on disk, a manifest, and a report on every file.

Does not own logging (`experiment`), nor batches (`training`).
"""

from pipeline.data.store.kept_photos import DRAFT_SUFFIX
from pipeline.data.store.known_photos import KnownPhotos
from pipeline.data.store.stages import stages_of_photos
from pipeline.data.store.store import HeldOutPhotos, Store, is_undamaged, prepared_store, recorded_manifest
from pipeline.data.store.too_few import TooFewPhotos

__all__ = [
    "DRAFT_SUFFIX", "HeldOutPhotos", "KnownPhotos", "Store", "TooFewPhotos", "is_undamaged", "prepared_store",
    "recorded_manifest", "stages_of_photos",
]  # fmt: skip
