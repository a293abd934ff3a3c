"""The report on a data set: what became of every file and by which rule, as a table and as a page with pictures.

The page is a Jinja2 template with everything in it, so that it can be kept, sent, and read without a network. Of
converted photos it shows what the network sees, those of the test split excepted.
"""

from __future__ import annotations

from pathlib import Path
from typing import NamedTuple

import jinja2
import pandas as pd

from pipeline.data.intake import name_in
from pipeline.data.pixels.thumbnails import thumbnail_of_pixels
from pipeline.data.rules import BETWEEN, RULES, Outcome, outcome_of, rule_of
from pipeline.data.store.store import Store

TABLE, PAGE = "data_report.csv", "data_report.html"
OUTCOMES: tuple[Outcome, ...] = ("accepted", "converted", "quarantined", "ignored")
PICTURES_PER_RULE = 24


class Picture(NamedTuple):
    """A file that the page shows: its path, its label, what is said of it, and base64 JPEG, or empty text."""

    path: str
    label: str
    reason: str
    jpeg: str


def report_table(store: Store) -> pd.DataFrame:
    """Return a row per file: path, label, outcome (of `OUTCOMES`), and reason, which is empty for most."""
    photos = store.manifest.sort_values("path")[["path", "label", "notes"]].rename(columns={"notes": "reason"})
    ignored = [(name_in(store.source, path), label, reason) for path, label, reason in store.ignored]
    columns = ["path", "label", "reason"]
    everything = pd.concat([photos, store.quarantined[columns], pd.DataFrame(ignored, columns=columns, dtype=object)])
    everything["outcome"] = [outcome_of(_texts(reason)) for reason in everything["reason"]]
    return everything[["path", "label", "outcome", "reason"]].reset_index(drop=True)


def count_rules(table: pd.DataFrame) -> pd.DataFrame:
    """Return how many files each rule concerns: outcome, rule, files; the gravest outcome and the most first."""
    rules = pd.Series([rule_of(text) for reason in table["reason"] for text in _texts(reason)], dtype=object)
    counts = rules.value_counts().rename_axis("rule").reset_index(name="files")
    counts["outcome"] = [RULES[rule].outcome for rule in counts["rule"]]
    order = counts["outcome"].map(["quarantined", "converted", "accepted", "ignored"].index)
    return counts.iloc[order.argsort(kind="stable")][["outcome", "rule", "files"]].reset_index(drop=True)


def write_report(store: Store, folder: Path) -> pd.DataFrame:
    """Write the table and the page into a folder; return what `count_rules` does."""
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
    """Return, per rule, the first files of an outcome with what can be seen of them."""
    found: dict[str, list[Picture]] = {}
    pixels_of = store.manifest.drop_duplicates("path").set_index("path")[["split", "row"]]
    jpeg_of = store.quarantined.drop_duplicates("path").set_index("path")["thumbnail"]
    for row in table[table["outcome"] == outcome].itertuples():
        for rule in {rule_of(text): None for text in _texts(row.reason)}:
            pictures = found.setdefault(rule, [])
            if RULES[rule].outcome != outcome or len(pictures) >= PICTURES_PER_RULE:
                continue
            if outcome == "quarantined":
                pictures.append(Picture(row.path, row.label, row.reason, str(jpeg_of.loc[row.path])))
            elif (place := pixels_of.loc[row.path])["split"] != "test":
                image = store.images(place["split"])[place["row"]]
                pictures.append(Picture(row.path, row.label, row.reason, thumbnail_of_pixels(image)))
    return {rule: pictures for rule, pictures in found.items() if pictures}


def _texts(reason: str) -> list[str]:
    return reason.split(BETWEEN) if reason else []
