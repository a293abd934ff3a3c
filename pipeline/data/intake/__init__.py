"""A folder of class folders, or a table -> candidate photos with labels and digests, and everything that is ignored.

Does not own whether a file's bytes are a photo (`pixels`), nor which split it goes to (`splits`).
"""

from pipeline.data.intake.candidates import (
    HIDDEN,
    Candidate,
    Found,
    Ignored,
    find_photos,
    name_in,
    photos_in_table,
    printable,
)
from pipeline.data.intake.digest_cache import with_digests
from pipeline.data.intake.exclusion import without_excluded
from pipeline.data.intake.tables import TABLE_SUFFIXES, read_table

__all__ = [
    "HIDDEN", "TABLE_SUFFIXES", "Candidate", "Found", "Ignored", "find_photos", "name_in", "photos_in_table",
    "printable", "read_table", "with_digests", "without_excluded",
]  # fmt: skip
