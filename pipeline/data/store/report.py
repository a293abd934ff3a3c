"""The data report: the outcome of every file and the rule behind it, as a table and as a page with pictures.

Owns the table and what is reported of a data set that was refused. The page is `report_page`'s.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import pandas as pd

from pipeline.config import UserError
from pipeline.data.intake import Ignored, photo_name
from pipeline.data.rules import REASON_SEPARATOR, RULES, outcome_of, rule_of
from pipeline.data.store.report_page import report_page
from pipeline.data.store.store import Store
from pipeline.data.store.too_few import TooFewPhotos
from pipeline.files import write_csv

TABLE, PAGE = "data_report.csv", "data_report.html"
COLUMNS = ["path", "label", "reason"]


@dataclass(frozen=True)
class Report:
    """What is reported.

    Attributes:
        source: the folder that names are relative to.
        digest: of the store, or of the one that was refused.
        files: a row per file: path, label, outcome (see `rules`), and reason, empty for most.
        thumbnails: base64 JPEG, or empty, by the path of a quarantined file.
        refusal: why there is no store, or empty.
        store: the photos that can be used, None where there is no store.
    """

    source: Path
    digest: str
    files: pd.DataFrame
    thumbnails: pd.Series
    refusal: str = ""
    store: Store | None = None


def report_on(store: Store) -> Report:
    """Return the report on a prepared store."""
    files = _outcomes(store.manifest, store.quarantined, store.ignored, store.source)
    return Report(store.source, store.digest, files, _thumbnails(store.quarantined), store=store)


def report_on_refusal(error: TooFewPhotos) -> Report:
    """Return the report on a data set whose classes have too few photos."""
    files = _outcomes(error.usable, error.quarantined, error.ignored, error.source)
    return Report(error.source, error.digest, files, _thumbnails(error.quarantined), refusal=str(error))


def count_rules(files: pd.DataFrame) -> pd.DataFrame:
    """Return the number of files per rule: outcome, rule, files; most severe outcome and largest number first."""
    rules = pd.Series([rule_of(text) for reason in files["reason"] for text in texts_of(reason)], dtype=object)
    counts = rules.value_counts().rename_axis("rule").reset_index(name="files")
    counts["outcome"] = [RULES[rule].outcome for rule in counts["rule"]]
    severity = counts["outcome"].map(["quarantined", "converted", "accepted", "ignored"].index)
    return counts.iloc[severity.argsort(kind="stable")][["outcome", "rule", "files"]].reset_index(drop=True)


def write_report(report: Report, folder: Path) -> pd.DataFrame:
    """Write the table and the page into a folder; return the table of `count_rules`.

    Raises:
        UserError: the folder cannot be written.
    """
    counts = count_rules(report.files)
    try:
        folder.mkdir(parents=True, exist_ok=True)
        write_csv(report.files, folder / TABLE)
        (folder / PAGE).write_text(report_page(report, counts, TABLE), encoding="utf-8")
    except OSError as error:
        raise UserError(
            f"the data report must fit into {folder}, got {error.strerror or error} (free up space or allow writing)"
        ) from error
    return counts


def texts_of(reason: str) -> list[str]:
    """Return the texts of the rules that a reason joins."""
    return reason.split(REASON_SEPARATOR) if reason else []


def _outcomes(
    photos: pd.DataFrame, quarantined: pd.DataFrame, ignored: Sequence[Ignored], source: Path
) -> pd.DataFrame:
    photos = photos.sort_values("path")[["path", "label", "notes"]].set_axis(COLUMNS, axis=1)
    names = [(photo_name(source, path), label, reason) for path, label, reason in ignored]
    files = pd.concat([photos, quarantined[COLUMNS], pd.DataFrame(names, columns=COLUMNS, dtype=object)])
    files["outcome"] = [outcome_of(texts_of(reason)) for reason in files["reason"]]
    return files[["path", "label", "outcome", "reason"]].reset_index(drop=True)


def _thumbnails(quarantined: pd.DataFrame) -> pd.Series:
    return quarantined.drop_duplicates("path").set_index("path")["thumbnail"]
