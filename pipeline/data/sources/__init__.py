"""Resolves the flag ``data``: built-in photos, a folder, an archive, a table or an MLflow artifact -> files on disk.

Does not own which files are photos, nor their labels (`intake`).
"""

from pipeline.data.sources.resolve import Source, download_flower_photos, draw_synthetic, photo_source
from pipeline.data.sources.synthetic import write_synthetic

__all__ = ["Source", "download_flower_photos", "draw_synthetic", "photo_source", "write_synthetic"]
