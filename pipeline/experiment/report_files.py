"""Reports where people find them: with their run in MLflow, and as a file in the working folder."""

from __future__ import annotations

import re

from pipeline import tracking
from pipeline.config import REPORTS_FOLDER
from pipeline.files import atomic_file


def log_report(html: str, name: str) -> str:
    """Log the open run's ``report.html``, copy it to ``reports/NAME.html``, and return the address to open."""
    tracking.log_text(html, "report.html")
    file = REPORTS_FOLDER / (re.sub(r"[^-.\w]+", "-", name) + ".html")
    try:
        file.parent.mkdir(exist_ok=True)
        with atomic_file(file) as draft:
            draft.write_text(html, encoding="utf-8")
    except OSError:  # such as in a folder of which only parts can be written: the run has it
        return tracking.artifact_place("report.html")
    return file.absolute().as_uri()
