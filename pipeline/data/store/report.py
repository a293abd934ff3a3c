"""The data report: the outcome of every file and the rule behind it, as a table and as a page with pictures.

The page is self-contained (a Jinja2 template), so that it can be kept, sent, and read without a network. It shows
converted photos as the network sees them, except those of the test split.
"""

from __future__ import annotations

from pathlib import Path
from typing import NamedTuple

import jinja2
import pandas as pd

from pipeline.data.intake import photo_name
from pipeline.data.pixels.thumbnails import thumbnail_of_pixels
from pipeline.data.rules import REASON_SEPARATOR, RULES, Outcome, outcome_of, rule_of
from pipeline.data.store.store import Store

TABLE, PAGE = "data_report.csv", "data_report.html"
OUTCOMES: tuple[Outcome, ...] = ("accepted", "converted", "quarantined", "ignored")
PICTURES_PER_RULE = 24


class Picture(NamedTuple):
    """A file shown on the page: path, label, reason, and a base64 JPEG, or an empty string."""

    path: str
    label: str
    reason: str
    jpeg: str


def report_table(store: Store) -> pd.DataFrame:
    """Return a row per file: path, label, outcome (of `OUTCOMES`), and reason, empty for most."""
    photos = store.manifest.sort_values("path")[["path", "label", "notes"]].rename(columns={"notes": "reason"})
    ignored = [(photo_name(store.source, path), label, reason) for path, label, reason in store.ignored]
    columns = ["path", "label", "reason"]
    files = pd.concat([photos, store.quarantined[columns], pd.DataFrame(ignored, columns=columns, dtype=object)])
    files["outcome"] = [outcome_of(_texts(reason)) for reason in files["reason"]]
    return files[["path", "label", "outcome", "reason"]].reset_index(drop=True)


def count_rules(table: pd.DataFrame) -> pd.DataFrame:
    """Return the number of files per rule: outcome, rule, files; most severe outcome and largest number first."""
    rules = pd.Series([rule_of(text) for reason in table["reason"] for text in _texts(reason)], dtype=object)
    counts = rules.value_counts().rename_axis("rule").reset_index(name="files")
    counts["outcome"] = [RULES[rule].outcome for rule in counts["rule"]]
    severity = counts["outcome"].map(["quarantined", "converted", "accepted", "ignored"].index)
    return counts.iloc[severity.argsort(kind="stable")][["outcome", "rule", "files"]].reset_index(drop=True)


def write_report(store: Store, folder: Path) -> pd.DataFrame:
    """Write the table and the page into a folder; return the table of `count_rules`."""
    folder.mkdir(parents=True, exist_ok=True)
    table = report_table(store)
    table.to_csv(folder / TABLE, index=False)
    counts = count_rules(table)
    (folder / PAGE).write_text(_page(store, table, counts), encoding="utf-8")
    return counts


def _page(store: Store, table: pd.DataFrame, counts: pd.DataFrame) -> str:
    loader = jinja2.FileSystemLoader(Path(__file__).parent)
    environment = jinja2.Environment(loader=loader, autoescape=True, trim_blocks=True, lstrip_blocks=True)
    totals = table["outcome"].value_counts()
    sections = {outcome: _pictures(store, table, outcome) for outcome in ("quarantined", "converted")}
    return environment.get_template(PAGE).render(
        source=store.source,
        digest=store.digest,
        totals={outcome: int(totals.get(outcome, 0)) for outcome in OUTCOMES},
        counts=counts.to_dict(orient="records"),
        rules=RULES,
        sections=sections,
        table=TABLE,
    )


def _pictures(store: Store, table: pd.DataFrame, outcome: Outcome) -> dict[str, list[Picture]]:
    """Return, per rule, the first files of an outcome with their thumbnails."""
    pictures_by_rule: dict[str, list[Picture]] = {}
    pixels_of = store.manifest.drop_duplicates("path").set_index("path")[["split", "row"]]
    jpeg_of = store.quarantined.drop_duplicates("path").set_index("path")["thumbnail"]
    for row in table[table["outcome"] == outcome].itertuples():
        for rule in {rule_of(text): None for text in _texts(row.reason)}:
            pictures = pictures_by_rule.setdefault(rule, [])
            if RULES[rule].outcome != outcome or len(pictures) >= PICTURES_PER_RULE:
                continue
            if outcome == "quarantined":
                pictures.append(Picture(row.path, row.label, row.reason, str(jpeg_of.loc[row.path])))
            elif (photo := pixels_of.loc[row.path])["split"] != "test":
                image = store.images(photo["split"])[photo["row"]]
                pictures.append(Picture(row.path, row.label, row.reason, thumbnail_of_pixels(image)))
    return {rule: pictures for rule, pictures in pictures_by_rule.items() if pictures}


def _texts(reason: str) -> list[str]:
    return reason.split(REASON_SEPARATOR) if reason else []
