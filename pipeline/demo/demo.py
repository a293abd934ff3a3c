"""What the page shows of a photo, without the page: prediction, heat map, similar training photos; and its server."""

from __future__ import annotations

import importlib.util
import subprocess
import sys
from dataclasses import dataclass
from pathlib import Path
from typing import NamedTuple

import numpy as np

from pipeline import plots, tracking
from pipeline.config import DemoConfig, UserError, install_command
from pipeline.demo.similar import SimilarPhotos
from pipeline.evaluation import metric_name
from pipeline.experiment import open_model_photos
from pipeline.serving import NONE_OF_THESE, About, Classifier
from pipeline.serving.server import check_address_is_free
from pipeline.tracking import registry
from pipeline.tracking.registry import FetchedModel

STREAMLIT_OPTIONS = {
    "server.headless": "true",  # asks for no e-mail address and opens no browser
    "server.fileWatcherType": "none",
    "server.maxUploadSize": 32,  # MiB
    "browser.gatherUsageStats": "false",
    "client.toolbarMode": "minimal",
    "logger.level": "warning",
    "theme.light.textColor": "#000000",  # captions are a pale shade of it: of the default one, too pale to read
}


def serve_page(config: DemoConfig) -> None:
    """Serve the page until interrupted.

    Raises:
        UserError: Streamlit is not installed, the address is taken, or there is no such model.
    """
    if not importlib.util.find_spec("streamlit"):
        raise UserError(f"demo needs Streamlit, got none ({install_command('demo')})")
    tracking.connect()
    model = registry.fetch_model(config.model_uri)  # a missing one is better reported here than on the page
    check_address_is_free(config.host, config.port)
    options = {"server.address": config.host, "server.port": config.port, **STREAMLIT_OPTIONS}
    flags = [f"--{name}={value}" for name, value in options.items()]
    page = Path(__file__).with_name("page.py")
    print(f"try {model.name} on http://{config.host}:{config.port}", flush=True)
    command = [sys.executable, "-m", "streamlit", "run", str(page), *flags, "--", config.model_uri, config.data or ""]
    subprocess.run(command, check=False)


class Answer(NamedTuple):
    """The likeliest class or `NONE_OF_THESE`, the probability of the former, and those of all, likeliest first."""

    label: str
    probability: float
    probabilities: list[tuple[str, float]]


@dataclass(frozen=True)
class Demo:
    """A model, what there is to know of it, its recalls on validation photos by class, and its training photos.

    ``similar`` is why there are none, where there are none.
    """

    facts: dict[str, str]
    classifier: Classifier
    recalls: dict[str, float]
    similar: SimilarPhotos | str

    @classmethod
    def load(cls, model_uri: str, data: str = "") -> Demo:
        """Load a registered model and look for its photos, at ``data`` if that is given.

        Raises:
            UserError: there is no such model.
        """
        tracking.connect()
        model = registry.fetch_model(model_uri)
        classifier = Classifier(model.folder)
        try:
            store = open_model_photos(classifier.about, {"data": data})
            similar: SimilarPhotos | str = SimilarPhotos(classifier, store)
        except UserError as error:
            similar = str(error)
        metrics = registry.training_metrics(model.version) if model.version else {}
        known = {name: metrics.get(f"val_recall_{metric_name(name)}") for name in classifier.about.class_names}
        recalls = {name: recall for name, recall in known.items() if recall is not None}
        return cls(_facts(model, classifier.about), classifier, recalls, similar)

    @property
    def class_names(self) -> tuple[str, ...]:
        """The model's classes."""
        return self.classifier.about.class_names

    def decoded(self, data: bytes) -> np.ndarray:
        """Return the pixels of an encoded photo, uint8 RGB (height, width, 3); raise BadImage if it cannot be used."""
        return self.classifier.decoded(data)

    def prepared(self, image: np.ndarray) -> np.ndarray:
        """Return the network's input for a decoded photo, uint8 RGB (height, width, 3)."""
        return self.classifier.prepared(image)

    @property
    def can_doubt(self) -> bool:
        """Whether the model knows how sure it is of photos of its classes."""
        return bool(self.classifier.about.sureness)

    def answer(self, prepared: np.ndarray, keep: float = 1.0) -> Answer:
        """Classify a prepared photo; see `Classifier.predict` for ``keep``."""
        probabilities = self.classifier.probabilities(prepared[None])[0]
        ranked = [(self.class_names[index], float(probabilities[index])) for index in np.argsort(-probabilities)]
        label, probability = ranked[0]
        if probability < self.classifier.least_probability(keep):
            label = NONE_OF_THESE
        return Answer(label, probability, ranked)

    def evidence(self, prepared: np.ndarray) -> tuple[np.ndarray, bool]:
        """Return a prepared photo under the heat map of its likeliest class, and whether there is any heat."""
        from pipeline.models.grad_cam import grad_cam

        best = self.classifier.probabilities(prepared[None]).argmax(axis=1)
        heat = grad_cam(self.classifier.model, prepared[None], best)[0]
        return plots.overlay(prepared, heat), bool(heat.any())


def _facts(model: FetchedModel, about: About) -> dict[str, str]:
    accuracy = registry.test_accuracy(model.version) if model.version else None
    return {
        "Model": model.name,
        "Test photos": f"{100 * accuracy:.1f} % right" if accuracy is not None else "not evaluated yet",
        "Network": f"{about.config.get('variant', '')}, {about.image_size} × {about.image_size} pixels",
        "Trained on": f"{Path(about.data_source).name}, digest {about.data_digest[:12]}",
    }
