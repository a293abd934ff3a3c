"""``export``: a registered model as ONNX and LiteRT, checked against the model itself."""

from __future__ import annotations

import tempfile
from pathlib import Path

from pipeline.config import ExportConfig as CONFIG

PHOTOS = 64  # on which model and export must agree


def run(config: CONFIG) -> None:
    """Write each format, compare, and log the files in a run that the model's version points at."""
    import pandas as pd
    from tqdm import tqdm

    from pipeline.tracking import registry
    from pipeline.serving import classifier as serving
    from pipeline import tracking
    from pipeline.serving.exports import check_formats, export
    from pipeline.experiment.own_photos import store_of

    check_formats(config.formats)
    tracking.connect()
    with tracking.run("export", f"export {config.model_uri}", config), tempfile.TemporaryDirectory() as scratch:
        source = registry.classifier_folder(config.model_uri)
        version = registry.version_of(config.model_uri)
        classifier = serving.Classifier(source)
        store = store_of(classifier.about, config.data)
        images = store.images("validation")[:PHOTOS]
        rows = []
        for name in tqdm(config.formats, unit="format", disable=None):
            file, difference = export(classifier, name, Path(scratch), images)
            address = tracking.log_file(file, "exports")
            rows.append((name, address, file.stat().st_size, difference))
            if version:
                registry.tag_version(version, {f"export_{name}": address})
        table = pd.DataFrame(rows, columns=["format", "address", "bytes", "greatest_difference"])
        tracking.log_table(table, "exports.json")
        tracking.log_file(source / serving.ABOUT_FILE, "exports")
        tracking.set_tags({"model_version": version.number, "model_name": version.name} if version else {})
    for row in table.itertuples():
        print(
            f"{row.format}: {row.bytes / 2**20:.1f} MiB, probabilities of {len(images)} photos differ by at most "
            f"{row.greatest_difference:.1g}: {row.address}"
        )
