"""The refusal of a data set in which classes have too few photos, with all that a report needs to say why."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

import pandas as pd

from pipeline.config import UserError
from pipeline.data.intake import Ignored
from pipeline.data.rules import rule_of
from pipeline.data.splits import SPLITS

MOST_NAMED = 5  # classes in the line; the report has all


class TooFewPhotos(UserError):
    """Classes have too few photos for three splits.

    Attributes:
        usable: a row per photo that can be used: path, label, group, split, notes.
        quarantined: a row per photo that cannot: path, label, reason, thumbnail.
        source, digest, ignored: of the store that could not be made; set by `store.prepared_store`.
    """

    def __init__(self, rule: str, labels: Sequence[str], usable: pd.DataFrame, quarantined: pd.DataFrame) -> None:
        self.usable, self.quarantined = usable, quarantined
        self.source, self.digest, self.ignored = Path(), "", tuple[Ignored, ...]()
        named = "; ".join(_about(label, usable, quarantined) for label in labels[:MOST_NAMED])
        more = f"; and {len(labels) - MOST_NAMED} other classes" if len(labels) > MOST_NAMED else ""
        remedy = "add photos, repair those left out, or choose classes=..."
        if any(_pictures(usable, label) < (usable["label"] == label).sum() for label in labels):
            remedy += "; if photos that look alike are not of one picture, near_duplicates=false"
        super().__init__(f"{rule}, got {named}{more} ({remedy})")


def _about(label: str, usable: pd.DataFrame, quarantined: pd.DataFrame) -> str:
    """Return what is there of a class: ``'good': 2 of 30 files can be used, 20 not an image, 8 cannot be read``."""
    own = usable[usable["label"] == label]
    left_out = quarantined[quarantined["label"] == label]
    text = f"{label!r}: {len(own)} of {len(own) + len(left_out)} photos can be used"
    pictures = _pictures(usable, label)
    if pictures < len(own):
        text += f", which count as {pictures} (photos that look alike, or are of one group, share a split)"
    for rule, count in left_out["reason"].map(rule_of).value_counts().items():
        details = {reason.partition(" (")[2].rstrip(")") for reason in left_out["reason"] if rule_of(reason) == rule}
        detail = next(iter(details)) if len(details) == 1 else ""
        text += f", {count} {rule}" + (f" ({detail})" if detail else "")
    if own["split"].ne("").any():
        splits = own["split"].value_counts().reindex(list(SPLITS), fill_value=0)
        text += f" ({', '.join(f'{count} {split}' for split, count in splits.items())})"
    return text


def _pictures(usable: pd.DataFrame, label: str) -> int:
    return int(usable.loc[usable["label"] == label, "group"].nunique())
