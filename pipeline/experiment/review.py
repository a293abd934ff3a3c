"""What a person should review before trusting the data: duplicate photos and doubtful labels, logged in the open run.

Owns which photos are shown, and their captions. Nothing is dropped here: a group is in one split
(`data.splits.grouping`), and the reviewer decides what to leave out (the flag ``exclude``).
"""

from __future__ import annotations

import base64
import io
from collections.abc import Sequence
from typing import TYPE_CHECKING

import numpy as np
import pandas as pd
from PIL import Image

from pipeline import plots, tracking
from pipeline.config import first_line
from pipeline.data.store import Store
from pipeline.evaluation import compare_with_baseline
from pipeline.experiment import label_suspects

if TYPE_CHECKING:
    from matplotlib.figure import Figure

SUSPECTS_TABLE = "label_suspects.csv"
MOST_GROUPS, MOST_SUSPECTS = 40, 48  # on a contact sheet


def duplicates_line(store: Store) -> str:
    """Return in one line what was found of pictures that several photos show; empty for none."""
    pairs = store.duplicates
    if pairs.empty:
        return ""
    counts = ", ".join(f"{count} {kind}" for kind, count in pairs["kind"].value_counts().items())
    across = int((pairs["label"] != pairs["other_label"]).sum())
    return (
        f"{len(pairs)} pairs of one picture ({counts}; {across} under two labels), "
        f"the largest group has {_sizes(pairs).max()} photos"
    )


def duplicates_sheet(store: Store, splits: Sequence[str]) -> Figure | None:
    """Return a contact sheet of the groups in ``splits`` or quarantine, None where there are none."""
    pairs, seen = store.duplicates, [*splits, ""]
    shown = pairs[pairs["split"].isin(seen) & pairs["other_split"].isin(seen)]
    if shown.empty:
        return None
    largest_first = _sizes(shown).sort_values(ascending=False, kind="stable").index[:MOST_GROUPS]
    groups = {key: shown[shown["group"] == key] for key in largest_first}
    photos = [[_picture(store, path) for path in _paths(group)] for group in groups.values()]
    title = f"{shown['group'].nunique()} groups of photos that show the same picture"
    if len(groups) < shown["group"].nunique():
        title += f", the largest {len(groups)}"
    return plots.draw_groups(photos, [_caption(group) for group in groups.values()], title)


def log_suspects(store: Store, splits: Sequence[str], probabilities: np.ndarray) -> str:
    """Log which labels of some splits are probably wrong, as a table and as a contact sheet; return a line on them.

    Args:
        store: the photos.
        splits: train or validation, or both.
        probabilities: (n, classes), of a model that was not trained on these labels.
    """
    if not label_suspects.can_find_suspects():
        return label_suspects.missing_extra()
    paths = [path for split in splits for path in store.rows(split)["path"]]
    labels = np.concatenate([store.labels(split) for split in splits])
    baseline = compare_with_baseline(labels, probabilities, store.class_names)
    if not baseline.is_beaten:  # who knows nothing doubts at random
        return (
            "no label suspects: the model is not proven better than always giving the same answer: "
            f"{baseline.description}"
        )
    try:
        suspects = label_suspects.suspect_table(paths, labels, probabilities, store.class_names)
    except Exception as error:  # of an extra; what took hours to train is not lost for its sake
        return f"no label suspects: cleanlab failed with {first_line(error)}"
    judged = f"{len(paths)} {' and '.join(splits)} photos"
    _log_table_and_sheet(store, suspects, judged)
    where = f": see {tracking.artifact_place(SUSPECTS_TABLE)}" if len(suspects) else ""
    return f"{len(suspects)} of {judged} have doubtful labels{where}"


def _log_table_and_sheet(store: Store, suspects: pd.DataFrame, judged: str) -> None:
    tracking.log_table(suspects, SUSPECTS_TABLE)
    shown = suspects.head(MOST_SUSPECTS)
    captions = [f"{row.label}; or {row.suggested}, {row.suggested_probability:.2f}?" for row in shown.itertuples()]
    title = f"{len(suspects)} doubtful labels of {judged}"
    if len(shown) < len(suspects):
        title += f", the first {len(shown)}"
    photos = [[_picture(store, path)] for path in shown["path"]]
    tracking.log_figure(plots.draw_groups(photos, captions, title), "label_suspects.png")


def _paths(pairs: pd.DataFrame) -> list[str]:
    return sorted({*pairs["path"], *pairs["other_path"]})


def _sizes(pairs: pd.DataFrame) -> pd.Series:
    """Return the number of photos by group."""
    both = pd.concat([pairs[["group", "path"]], pairs[["group", "other_path"]].set_axis(["group", "path"], axis=1)])
    return both.groupby("group", sort=False)["path"].nunique()


def _caption(group: pd.DataFrame) -> str:
    first = group.iloc[0]
    what = first["kind"] if first["kind"] == "same pixels" else f"{first['kind']}, {group['distance'].max()} bits apart"
    labels = " and ".join(sorted({*group["label"], *group["other_label"]}))
    return f"{what} ({first['split'] or 'quarantined'}): {labels}"


def _picture(store: Store, path: str) -> np.ndarray:
    """Return the prepared pixels of a photo, also of one that is quarantined."""
    found = store.manifest[store.manifest["path"] == path]
    if len(found):
        return np.asarray(store.images(found["split"].iloc[0])[found["row"].iloc[0]])
    jpeg = store.quarantined.set_index("path").loc[[path], "thumbnail"].iloc[0]  # a table may name a file twice
    side = store.images("train").shape[1]
    return np.asarray(Image.open(io.BytesIO(base64.b64decode(str(jpeg)))).convert("RGB").resize((side, side)))
