"""Which test photos a model is judged on: those of a class that it knows, and that are new to it.

New means that neither the model nor one that it started from has learned from them, nor been chosen on them, whatever
has become of the data set since (`data.store.KnownPhotos`).
"""

from __future__ import annotations

from pathlib import Path
from typing import NamedTuple

from pipeline.config import UserError
from pipeline.data.store import HeldOutPhotos
from pipeline.experiment import LINEAGE, check_same_photos, known_photos
from pipeline.serving import About


class JudgedPhotos(NamedTuple):
    """The photos that a model is judged on.

    Attributes:
        photos: with the labels of the model's classes.
        unknown: what it started from, if nobody can tell which photos that has learned from; else empty.
        claim: what is true of the photos, as a relative clause.
        notes: sentences on what is left out, and on what has changed.
    """

    photos: HeldOutPhotos
    unknown: str = ""
    claim: str = ""
    notes: tuple[str, ...] = ()


def judged_photos(about: About, folder: Path, photos: HeldOutPhotos) -> JudgedPhotos:
    """Return the photos of today's test split that a model, read from ``folder``, can be judged on.

    Raises:
        UserError: there are none, or the photos have changed since a model was trained that remembers none.
    """
    known, unknown = known_photos(about, folder)
    if known is None:
        check_same_photos(photos.store, about)
        raise AssertionError("photos that are as they were are known")
    has_class = photos.rows["label"].isin(about.class_names).to_numpy()
    seen = known.has_seen(photos.rows, photos.store.manifest)
    ancestors = ", ".join(about.start.get(LINEAGE, ()))
    source = f"the model, or what it started from ({ancestors})," if ancestors else "the model"
    kept = has_class & ~seen
    if not kept.any():
        raise UserError(
            f"a model must be judged by photos that are new to it, got {len(kept)} test photos of which {source} has "
            f"seen {int(seen.sum())} (add photos, or train from other weights or on the same split)"
        )
    notes = []
    if photos.store.digest != about.data_digest:
        new = int((~known.knows(photos.rows[kept])).sum())
        notes.append(
            f"the photos have changed since it was trained: {new} of its {int(kept.sum())} test photos are new"
        )
    if not has_class.all():
        names = ", ".join(sorted(set(photos.rows.loc[~has_class, "label"])))
        notes.append(f"left out: {int((~has_class).sum())} test photos of classes that it does not know ({names})")
    if (has_class & seen).any():
        notes.append(f"left out: {int((has_class & seen).sum())} test photos that {source} has seen")
    claim = "that were never used to train or select it" + (f", or {ancestors}" if ancestors else "")
    if unknown:
        claim = f"of which {unknown}, from which it started, may have seen some: this is unknown"
    return JudgedPhotos(photos.only(kept, about.class_names), unknown, claim, tuple(notes))
