"""A folder of class folders, or a table -> candidate photos with labels and digests, and the ignored files.

Does not own whether a file's bytes are a photo (`pixels`), nor its split (`splits`).
"""

from pipeline.data.intake.candidates import Ignored, ScanResult, find_photos, photos_in_table
from pipeline.data.intake.digest_cache import add_digests
from pipeline.data.intake.exclusion import exclude_photos
from pipeline.data.intake.folders import candidate_files
from pipeline.data.intake.layout import beside, class_root
from pipeline.data.intake.photos import Candidate, Photos, photo_name, printable
from pipeline.data.intake.tables import TABLE_SUFFIXES, read_table

__all__ = [
    "TABLE_SUFFIXES", "Candidate", "Ignored", "Photos", "ScanResult", "add_digests", "beside", "candidate_files",
    "class_root", "exclude_photos", "find_photos", "photo_name", "photos_in_table", "printable", "read_table",
]  # fmt: skip
