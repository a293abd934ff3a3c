"""Challenger and champion on the same test photos, new to both, each in its own pixels, whatever classes each knows."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import pandas as pd

from pipeline import evaluation
from pipeline.config import UserError
from pipeline.data.class_columns import class_columns
from pipeline.data.store import HeldOutPhotos
from pipeline.experiment import data_config_of, known_photos
from pipeline.serving import About, Classifier
from pipeline.tracking import registry
from pipeline.tracking.registry import Version

OTHER_CLASSES = "(other classes)"  # of the champion, which the challenger does not know
SPLIT_FLAGS = ("split_seed", "val_fraction", "test_fraction")


@dataclass(frozen=True)
class Contest:
    """Both models' answers on test photos that are new to both.

    Attributes:
        photos: with the labels of the challenger's classes.
        challenger: its probabilities (n, classes).
        champion: the champion's, of the same classes.
        class_names: the challenger's, and perhaps `OTHER_CLASSES`.
        champion_classes: those that the champion knows.
        seen: how many more test photos the champion, or what it started from, has learned from.
        added: how many of the photos have come since the champion was trained.
        remedy: how to get more photos that are new to both.
        champion_seed: the champion's split_seed.
    """

    photos: HeldOutPhotos
    challenger: np.ndarray
    champion: np.ndarray
    class_names: tuple[str, ...]
    champion_classes: tuple[str, ...]
    seen: int
    added: int
    remedy: str
    champion_seed: int

    @property
    def is_shared(self) -> np.ndarray:
        """Whether both know the class of a photo, bool (n,)."""
        return self.photos.rows["label"].isin(self.champion_classes).to_numpy(bool)

    @property
    def gained(self) -> tuple[str, ...]:
        """The classes that the challenger alone knows."""
        return tuple(name for name in self.class_names if name not in (*self.champion_classes, OTHER_CLASSES))

    @property
    def lost(self) -> tuple[str, ...]:
        """The classes that the champion alone knows."""
        return tuple(name for name in self.champion_classes if name not in self.class_names)

    def compare(self, kept: np.ndarray, place: int = 1, metric: str = "accuracy") -> evaluation.Comparison:
        """Compare on the photos that are ``kept``, bool (n,), the ``place``-th time on this test split."""
        models = self.challenger[kept], self.champion[kept]
        labels, groups = self.photos.labels[kept], self.photos.groups[kept]
        return evaluation.compare(labels, *models, groups, self.class_names, place, metric)

    def confusion_difference(self, kept: np.ndarray) -> pd.DataFrame:
        """Return the challenger's confusion table minus the champion's, of the photos that are ``kept``."""
        challenger, champion = (
            evaluation.confusion_table(self.photos.labels[kept], model[kept].argmax(axis=1), self.class_names)
            for model in (self.challenger, self.champion)
        )
        return evaluation.confusion_difference(challenger, champion)


def open_contest(
    champion: Version, about: About, photos: HeldOutPhotos, probabilities: np.ndarray, data: str
) -> Contest:
    """Ask the champion about a challenger's test photos, as far as they are new to it, too.

    Args:
        champion: the champion.
        about: what the challenger remembers.
        photos: the test photos that are new to the challenger.
        probabilities: its answers (n, classes).
        data: where the photos are.

    Raises:
        UserError: the comparison would prove nothing; the message says of the champion why.
    """
    model = registry.fetch_model(champion.uri)
    classifier = Classifier(model.folder)
    known, unknown = known_photos(classifier.about, model.folder, data)
    if known is None:
        raise UserError(f"its split cannot be reproduced from the photos in {data}, which have changed since")
    if unknown:
        raise UserError(f"it started from {unknown}, and it is unknown which photos that was trained on")
    seen, remedy = known.has_seen(photos.rows, photos.store.manifest), _remedy(about, classifier.about)
    if seen.all():
        raise UserError(f"it was trained or selected on all {len(seen)} test photos ({remedy})")
    kept = photos.only(~seen)
    theirs = classifier.about.class_names
    answers, names = _in_classes(_answers(classifier, about, kept), theirs, about.class_names)
    own, _ = _in_classes(probabilities[~seen], about.class_names, names)
    added, seed = int((~known.knows(kept.rows)).sum()), data_config_of(classifier.about).split_seed
    return Contest(kept, own, answers, names, theirs, int(seen.sum()), added, remedy, seed)


def _remedy(about: About, champion: About) -> str:
    own, theirs = data_config_of(about), data_config_of(champion)
    flags = [f"{name}={getattr(theirs, name)}" for name in SPLIT_FLAGS if getattr(theirs, name) != getattr(own, name)]
    return f"add photos, or train with the champion's {' '.join(flags)}" if flags else "add photos"


def _answers(classifier: Classifier, about: About, photos: HeldOutPhotos) -> np.ndarray:
    """Return the champion's probabilities (n, classes), in its own pixels."""
    if _pixels_of(classifier.about) == _pixels_of(about):
        return classifier.probabilities(photos.images)
    table = classifier.predict(photos.files)
    if unread := int(table["error"].notna().sum()):
        raise UserError(f"it cannot read {unread} test photos")
    return table[class_columns(classifier.about.class_names)].to_numpy(np.float64)


def _pixels_of(about: About) -> tuple[object, ...]:
    """Return all that says how a photo becomes a network's input."""
    most = data_config_of(about).max_pixels
    return about.image_size, about.resize, tuple(about.image_ops), most, about.rule_versions.pixels


def _in_classes(
    probabilities: np.ndarray, own: tuple[str, ...], wanted: tuple[str, ...]
) -> tuple[np.ndarray, tuple[str, ...]]:
    """Return probabilities (n, own classes) as those of the ``wanted`` classes, and the names of these.

    Of a class that the model does not know it is 0. The classes that it alone knows become `OTHER_CLASSES`, with the
    probability of the likeliest of them: so what was its answer stays its answer.
    """
    if own == wanted:
        return probabilities, wanted
    columns = dict(zip(own, probabilities.T, strict=True))
    nothing = np.zeros(len(probabilities))
    found = [columns.get(name, nothing) for name in wanted]
    others = [column for name, column in columns.items() if name not in wanted]
    if others:
        found, wanted = [*found, np.max(others, axis=0)], (*wanted, OTHER_CLASSES)
    return np.stack(found, axis=1), wanted
