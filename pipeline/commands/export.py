"""``export``: a registered model as ONNX and LiteRT, checked against the model itself."""

from __future__ import annotations

from pipeline.config import ExportConfig as CONFIG


def run(config: CONFIG) -> None:
    """Write each format, compare, and log the files in a run that the model's version points at."""
    from pipeline.experiment.export import run_export

    run_export(config)
