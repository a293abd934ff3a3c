"""The page of the data report: what there is of each class, and pictures of what was left out, converted or doubtful.

It is self-contained (a Jinja2 template), so that it can be kept, sent, and read without a network. Photos are shown as
the network sees them; those of the test split are counted and never shown.
"""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import TYPE_CHECKING, Any, NamedTuple

import numpy as np
import pandas as pd

from pipeline.data.pixels.thumbnails import thumbnail_of_pixels
from pipeline.data.rules import REASON_SEPARATOR, RULES, Outcome, rule_of
from pipeline.pages import render_page

if TYPE_CHECKING:
    from pipeline.data.store.report import Report
    from pipeline.data.store.store import Store

TEMPLATE = "data_report.html"
OUTCOMES: tuple[Outcome, ...] = ("accepted", "converted", "quarantined", "ignored")
TITLES: dict[Outcome, str] = {
    "quarantined": "Left out", "accepted": "Worth a look", "converted": "Converted",
}  # fmt: skip
SHOWN_SPLITS = ("train", "validation")
PICTURES_PER_RULE = 24
SAMPLED_CLASSES, PHOTOS_PER_CLASS = 24, 6
GROUPS, PHOTOS_PER_GROUP = 24, 6
FOLDED_CLASSES = 40  # a table of more classes begins with the smallest, the others folded


class Picture(NamedTuple):
    """A file shown on the page: path, label, reason, and a base64 JPEG, or an empty string."""

    path: str
    label: str
    reason: str
    jpeg: str


class Section(NamedTuple):
    """The pictures of one rule, and of how many files they are the first."""

    rule: str
    pictures: list[Picture]
    files: int


def report_page(report: Report, counts: pd.DataFrame, table_name: str) -> str:
    """Return the page as HTML.

    Args:
        report: what is reported.
        counts: of `report.count_rules`.
        table_name: the file that has every file.
    """
    totals = report.files["outcome"].value_counts()
    files_per_rule = counts.set_index("rule")["files"]
    classes = _class_table(report)
    store = report.store
    return render_page(
        Path(__file__).with_name(TEMPLATE),
        source=report.source,
        digest=report.digest,
        refusal=report.refusal,
        totals={outcome: int(totals.get(outcome, 0)) for outcome in OUTCOMES},
        usable=int(totals.get("accepted", 0) + totals.get("converted", 0)),
        counts=counts.to_dict(orient="records"),
        rules=RULES,
        sections={
            title: sections
            for outcome, title in TITLES.items()
            if (sections := _sections(report, outcome, files_per_rule))
        },
        table=table_name,
        classes=classes.to_dict(orient="records"),
        columns=[name for name in classes.columns if name != "label"],
        folded=FOLDED_CLASSES,
        imbalance=str(store.imbalance or "") if store else "",
        sizes=_size_table(store) if store else [],
        samples=dict(_samples(store)) if store else {},
        groups=list(_groups(store)) if store else [],
        all_groups=store.duplicates["group"].nunique() if store else 0,
        pairs=store.duplicates["kind"].value_counts().to_dict() if store else {},
    )


def _class_table(report: Report) -> pd.DataFrame:
    """Return label, photos per split (or in all, where there is no store), and left out, smallest class first."""
    left_out = report.files[report.files["outcome"] == "quarantined"]["label"].value_counts()
    if report.store:
        table = report.store.class_counts()
    else:
        usable = report.files[report.files["outcome"].isin(["accepted", "converted"])]
        table = usable["label"].value_counts().rename("can be used").to_frame()
    table = table.reindex(sorted({*table.index, *left_out.index} - {""}), fill_value=0)
    table = table.assign(photos=table.sum(axis=1)) if len(table.columns) > 1 else table
    table["left out"] = left_out.reindex(table.index, fill_value=0)
    smallest_first = table.iloc[:, :-1].max(axis=1).argsort(kind="stable")
    table = table.iloc[smallest_first] if len(table) > FOLDED_CLASSES else table
    return table.rename_axis("label").reset_index()


def _size_table(store: Store) -> list[dict[str, Any]]:
    """Return the smallest, the middle and the largest of what describes the photos' sizes."""
    sides = store.manifest[["width", "height"]].to_numpy()
    side = store.images("train").shape[1]
    about = {
        "shorter side (px)": (sides.min(axis=1), "{:,.0f}"),
        "longer side (px)": (sides.max(axis=1), "{:,.0f}"),
        "longer to shorter side": (sides.max(axis=1) / sides.min(axis=1), "{:.2f}"),
        "megapixels": (sides.prod(axis=1) / 1e6, "{:.2f}"),
    }
    rows = [
        {"what": what, "values": [form.format(value) for value in np.quantile(values, [0, 0.05, 0.5, 0.95, 1])]}
        for what, (values, form) in about.items()
    ]
    enlarged = int((sides.min(axis=1) < side).sum())
    return [*rows, {"what": f"smaller than the network's {side} px, enlarged", "values": [f"{enlarged:,} photos"]}]


def _samples(store: Store) -> Iterator[tuple[str, list[str]]]:
    """Yield class -> base64 JPEGs, evenly from its photos of `SHOWN_SPLITS`."""
    rows = store.manifest[store.manifest["split"].isin(SHOWN_SPLITS)]
    for name in store.class_names[:SAMPLED_CLASSES]:
        own = rows[rows["label"] == name]
        places = np.unique(np.linspace(0, len(own) - 1, PHOTOS_PER_CLASS).round().astype(int))
        yield name, [_jpeg(store, photo) for photo in own.iloc[places].itertuples()]


def _groups(store: Store) -> Iterator[tuple[str, list[Picture]]]:
    """Yield the largest groups of photos that show one picture: a caption, and the photos, without the test split's."""
    pairs = store.duplicates
    shown = pairs[pairs["split"].isin([*SHOWN_SPLITS, ""]) & pairs["other_split"].isin([*SHOWN_SPLITS, ""])]
    photos = _photos_by_path(store, "label", "split", "row")
    for key in shown["group"].value_counts(sort=True).index[:GROUPS]:
        own = shown[shown["group"] == key]
        paths = sorted({*own["path"], *own["other_path"]})
        pictures = [
            Picture(path, photo["label"], "", _jpeg(store, photo))
            for path in paths[:PHOTOS_PER_GROUP]
            if path in photos.index
            for photo in [photos.loc[path]]
        ]
        kinds = ", ".join(own["kind"].unique())
        if len(pictures) > 1:
            yield f"{len(paths)} photos, {kinds}", pictures


def _photos_by_path(store: Store, *columns: str) -> pd.DataFrame:
    return store.manifest[["path", *columns]].drop_duplicates("path").set_index("path")


def _jpeg(store: Store, photo: Any) -> str:
    split, row = (photo["split"], photo["row"]) if isinstance(photo, pd.Series) else (photo.split, photo.row)
    return thumbnail_of_pixels(store.images(split)[row])


def _sections(report: Report, outcome: Outcome, files_per_rule: pd.Series) -> list[Section]:
    """Return, per rule of an outcome, the first files with their thumbnails."""
    store = report.store
    pixels_of = _photos_by_path(store, "split", "row") if store else None
    pictures_by_rule: dict[str, list[Picture]] = {}
    for file in report.files[report.files["reason"] != ""].itertuples():
        for rule in {rule_of(text): None for text in file.reason.split(REASON_SEPARATOR)}:
            pictures = pictures_by_rule.setdefault(rule, [])
            if RULES[rule].outcome != outcome or len(pictures) >= PICTURES_PER_RULE:
                continue
            if file.path in report.thumbnails.index:
                pictures.append(Picture(file.path, file.label, file.reason, str(report.thumbnails.loc[file.path])))
            elif store and pixels_of is not None and pixels_of.loc[file.path, "split"] in SHOWN_SPLITS:
                jpeg = _jpeg(store, pixels_of.loc[file.path])
                pictures.append(Picture(file.path, file.label, file.reason, jpeg))
    return [
        Section(rule, pictures, int(files_per_rule[rule])) for rule, pictures in pictures_by_rule.items() if pictures
    ]
