"""Photos of classes that a model does not know, and whether it says "none of these" of them.

They are those that its flag ``classes`` leaves out of the folder, and test photos of classes that came later.
"""

from __future__ import annotations

from pathlib import Path
from typing import NamedTuple

import numpy as np

from pipeline import evaluation
from pipeline.data.rules import rule_of
from pipeline.data.store import HeldOutPhotos
from pipeline.serving import NONE_OF_THESE, Classifier

KEEP = 0.95  # of validation photos keep their label
MOST_PHOTOS = 500
MOST_NAMED = 5  # classes, in a sentence


class OtherClasses(NamedTuple):
    """What a model says of ``photos`` of ``names``, which it does not know."""

    photos: int
    names: tuple[str, ...]
    rejection: evaluation.Rejection

    @property
    def metrics(self) -> dict[str, float]:
        """The figures, by their names in MLflow without the prefix ``test_``."""
        found = self.rejection
        return {"unknown_auroc": found.auroc, "unknown_rejected_at_95": found.rejected, "known_kept_at_95": found.kept}

    @property
    def description(self) -> str:
        """The figures as sentences."""
        names = ", ".join(self.names[:MOST_NAMED])
        more = f" and {len(self.names) - MOST_NAMED} more" if len(self.names) > MOST_NAMED else ""
        found = self.rejection
        return (
            f"With keep={KEEP} it answers {NONE_OF_THESE!r} for {100 * found.rejected:.0f} % of {self.photos} photos "
            f"of classes that it does not know ({names}{more}), and for {100 * (1 - found.kept):.0f} % of the test "
            f"photos. It is more confident on a test photo than on such a photo in {100 * found.auroc:.0f} % of pairs "
            "(AUROC)."
        )


def ask_about_other_classes(
    classifier: Classifier, photos: HeldOutPhotos, probabilities: np.ndarray
) -> OtherClasses | None:
    """Ask a model about photos of classes that it does not know, `MOST_PHOTOS` at most.

    Args:
        classifier: the model.
        photos: all of the test split, also of classes that it does not know.
        probabilities: its answers (n, classes) to those that it is judged by.

    Returns:
        What it says; None where there are no such photos, or the model is of a version without "none of these".
    """
    known = set(classifier.about.class_names)
    files: list[tuple[Path, str]] = [
        (entry.path, entry.label)
        for entry in photos.store.ignored
        if rule_of(entry.reason) == "class not wanted" and entry.label not in known
    ]
    labels = photos.rows["label"].tolist()
    files += [(file, label) for file, label in zip(photos.files, labels, strict=True) if label not in known]
    if not files or not classifier.about.sureness:
        return None
    files.sort()
    chosen = np.sort(np.random.default_rng(0).permutation(len(files))[:MOST_PHOTOS])
    table = classifier.predict([files[place][0] for place in chosen])
    usable = table["error"].isna().to_numpy()
    if not usable.any():
        return None
    others = table.loc[usable, "probability"].to_numpy(np.float64)
    names = sorted({files[place][1] for place, is_usable in zip(chosen, usable, strict=True) if is_usable})
    found = evaluation.rejection_at(classifier.least_probability(KEEP), probabilities.max(axis=1), others)
    return OtherClasses(len(others), tuple(names), found)
