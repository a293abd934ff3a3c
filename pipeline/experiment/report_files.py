"""Files where people find them: with their run in MLflow, and in the working folder."""

from __future__ import annotations

import re
import shutil
from pathlib import Path

from pipeline import tracking
from pipeline.config import EXPORTS_FOLDER, REPORTS_FOLDER
from pipeline.files import atomic_file


def log_report(html: str, name: str) -> str:
    """Log the open run's ``report.html``, copy it to ``reports/NAME.html``, and return the address to open."""
    tracking.log_text(html, "report.html")
    file = REPORTS_FOLDER / f"{_file_name(name)}.html"
    try:
        file.parent.mkdir(exist_ok=True)
        with atomic_file(file) as draft:
            draft.write_text(html, encoding="utf-8")
    except OSError:  # such as in a folder of which only parts can be written: the run has it
        return tracking.artifact_place("report.html")
    return file.absolute().as_uri()


def copy_export(file: Path, model: str) -> str:
    """Copy a file that was logged to ``exports/MODEL`` and return where it is."""
    copy = EXPORTS_FOLDER / _file_name(model) / file.name
    try:
        copy.parent.mkdir(parents=True, exist_ok=True)
        with atomic_file(copy) as draft:
            shutil.copyfile(file, draft)
    except OSError:
        return tracking.artifact_place(f"exports/{file.name}")
    return str(copy)


def _file_name(name: str) -> str:
    return re.sub(r"[^-.\w]+", "-", name)
