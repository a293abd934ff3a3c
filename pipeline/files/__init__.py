"""Atomic writes of files and folders, CSV, and SHA-256 checksums.

Does not own the content of files, nor what happens when one is damaged.
"""

from pipeline.files.atomic import atomic_file, atomic_folder, replace_durably
from pipeline.files.checksums import SUMS_FILE, read_sums, sha256_of_file, write_sums
from pipeline.files.csv_files import count_formulas, csv_text, write_csv

__all__ = [
    "SUMS_FILE", "atomic_file", "atomic_folder", "count_formulas", "csv_text", "read_sums", "replace_durably",
    "sha256_of_file", "write_csv", "write_sums",
]  # fmt: skip
