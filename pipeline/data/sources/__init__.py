"""What the flag ``data`` means: built-in photos, a folder, an archive, a table, an MLflow artifact -> files on disk.

Does not own what in a folder is a photo, or its label (`intake`).
"""

from pipeline.data.sources.resolve import Source, download_flower_photos, draw_synthetic, photo_source
from pipeline.data.sources.synthetic import write_synthetic

__all__ = ["Source", "download_flower_photos", "draw_synthetic", "photo_source", "write_synthetic"]
