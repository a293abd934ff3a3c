"""The folders below the working folder in which everything that commands leave is kept."""

from __future__ import annotations

from pathlib import Path

DATA_FOLDER = Path("data")
"""Raw and prepared photos, and what is known of them."""

RUNS_FOLDER = Path("mlruns")
"""Artifacts, the Optuna study, checkpoints, and what waits for the MLflow server."""

EXPORTS_FOLDER = Path("exports")
"""Models in other formats, a folder for each."""

REPORTS_FOLDER = Path("reports")
"""Copies of the reports of searches and evaluations, to be opened in a browser."""
