"""The classifier as its users meet it: what a saved model is, what MLflow loads, the server, predictions, exports.

Does not own which version is served (`tracking.registry`), nor how good it is (`promotion`). `served_model` is run by
MLflow alone, out of the copy that a model carries of the code it needs (`tracking.served_code`).

Registered models of version 0.1 import their names from this package where it is already loaded; see `__all__`.
"""

from pipeline.serving.classifier import (
    ABOUT_FILE,
    MODEL_FILE,
    NONE_OF_THESE,
    About,
    Classifier,
    keep_top,
    save_classifier,
    sureness_of,
)
from pipeline.serving.inputs import MAX_PHOTOS, at_most, is_served, photos_of

__all__ = [
    "ABOUT_FILE", "MAX_PHOTOS", "MODEL_FILE", "NONE_OF_THESE", "About", "Classifier", "at_most", "is_served",
    "keep_top", "photos_of", "save_classifier", "sureness_of",
]  # fmt: skip
