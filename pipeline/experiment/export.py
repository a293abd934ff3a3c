"""The command ``export``: a registered model in other formats, in a run that the model's version points at."""

from __future__ import annotations

import tempfile
from pathlib import Path

import pandas as pd
from tqdm import tqdm

from pipeline import tracking
from pipeline.config import ExportConfig
from pipeline.experiment.photos import open_photos_of_today
from pipeline.experiment.report_files import copy_export
from pipeline.serving import ABOUT_FILE, Classifier
from pipeline.serving.exports import check_formats, export
from pipeline.tracking import registry

COMPARED_PHOTOS = 64  # on which model and export must agree


def run_export(config: ExportConfig) -> None:
    """Write each format, compare, log the files in a run that the model's version points at, and copy them here."""
    check_formats(config.formats)
    tracking.connect()
    with tracking.run("export", f"export {config.model_uri}", config), tempfile.TemporaryDirectory() as scratch:
        model = registry.fetch_model(config.model_uri)
        folder, version = model.folder, model.version
        name_here = f"{version.name}-{version.number}" if version else model.name
        classifier = Classifier(folder)
        store = open_photos_of_today(classifier.about, {"data": config.data})
        images = store.images("validation")[:COMPARED_PHOTOS]
        rows, places = [], []
        for name in tqdm(config.formats, unit="format", disable=None):
            file, difference = export(classifier, name, Path(scratch), images)
            address = tracking.log_file(file, "exports")
            rows.append((name, address, file.stat().st_size, difference))
            places.append(copy_export(file, name_here))
            if version:
                registry.tag_version(version, {f"export_{name}": address})
        table = pd.DataFrame(rows, columns=["format", "address", "bytes", "greatest_difference"])
        tracking.log_table(table, "exports.json")
        tracking.log_file(folder / ABOUT_FILE, "exports")
        copy_export(folder / ABOUT_FILE, name_here)
        tracking.set_tags({"model_version": version.number, "model_name": version.name} if version else {})
    print(f"exported: {model.name}")
    for row, place in zip(table.itertuples(), places, strict=True):
        print(
            f"{row.format}: {row.bytes / 2**20:.1f} MiB, probabilities of {len(images)} photos differ by at most "
            f"{row.greatest_difference:.1g}: {place}"
        )
