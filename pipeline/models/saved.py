"""Networks on disk: read in Keras' safe mode, built-in layers only, no pickle, no KerasHub."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING

from pipeline.models.backend import load_backend

if TYPE_CHECKING:
    import keras


def load_classifier(file: Path) -> keras.Model:
    """Load a .keras file: a network from uint8 RGB (n, size, size, 3) to float32 logits (n, classes)."""
    load_backend()
    import keras

    return keras.models.load_model(file, compile=False, safe_mode=True)
