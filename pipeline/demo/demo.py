"""What the page of ``demo`` shows of a photo, without the page: prediction, heat map, similar training photos."""

from __future__ import annotations

from dataclasses import dataclass
from typing import NamedTuple

import numpy as np

from pipeline import plots, tracking
from pipeline.tracking import registry
from pipeline.config import UserError
from pipeline.data.pixels.decode import prepare
from pipeline.experiment.own_photos import store_of
from pipeline.serving.classifier import Classifier
from pipeline.demo.similar import SimilarPhotos


class Answer(NamedTuple):
    """The likeliest class, its probability, and those of all classes, likeliest first."""

    label: str
    probability: float
    probabilities: list[tuple[str, float]]


@dataclass(frozen=True)
class Demo:
    """A model, and its training photos or the reason why there are none."""

    name: str
    classifier: Classifier
    similar: SimilarPhotos | str

    @classmethod
    def load(cls, model_uri: str, data: str = "") -> Demo:
        """Load a registered model and look for its photos, at ``data`` if that is given.

        Raises:
            UserError: there is no such model.
        """
        tracking.connect()
        classifier = Classifier(registry.classifier_folder(model_uri))
        version = registry.version_of(model_uri)
        try:
            similar: SimilarPhotos | str = SimilarPhotos(classifier, store_of(classifier.about, data or None))
        except UserError as error:
            similar = str(error)
        return cls(f"{version.name} version {version.number}" if version else model_uri, classifier, similar)

    @property
    def class_names(self) -> tuple[str, ...]:
        """The model's classes."""
        return self.classifier.about.class_names

    def prepared(self, image: np.ndarray) -> np.ndarray:
        """Return the network's input for a decoded photo, uint8 RGB (height, width, 3)."""
        about = self.classifier.about
        return prepare(image, about.image_size, about.resize, about.image_ops)

    def answer(self, prepared: np.ndarray) -> Answer:
        """Classify a prepared photo."""
        probabilities = self.classifier.probabilities(prepared[None])[0]
        ranked = [(self.class_names[index], float(probabilities[index])) for index in np.argsort(-probabilities)]
        return Answer(*ranked[0], ranked)

    def overlay(self, prepared: np.ndarray) -> np.ndarray:
        """Return a prepared photo under the heat map of its likeliest class."""
        from pipeline.models.grad_cam import grad_cam

        best = self.classifier.probabilities(prepared[None]).argmax(axis=1)
        return plots.overlay(prepared, grad_cam(self.classifier.model, prepared[None], best)[0])
