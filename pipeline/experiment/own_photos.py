"""The photos that a model was trained from, found again by what the model remembers of them."""

from __future__ import annotations

from pipeline.config import UserError
from pipeline.data.store.store import Store
from pipeline.experiment.photos import open_store
from pipeline.promotion.decision import data_config_of
from pipeline.serving.classifier import About


def store_of(about: About, data: str | None = None) -> Store:
    """Return the prepared photos of a model.

    Args:
        about: the model's own.
        data: where the photos are now; None: where they were.

    Raises:
        UserError: they cannot be found, or are others by now.
    """
    own = data_config_of(about)
    store = open_store(own.model_copy(update={"data": data or own.data}))
    if store.digest != about.data_digest:
        raise UserError(
            f"the photos must be those that the model was trained from, got digest {store.digest[:12]} in "
            f"{store.source}, the model has {about.data_digest[:12]} (give their place with data=...)"
        )
    return store
