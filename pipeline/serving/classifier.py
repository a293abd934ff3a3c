"""The classifier: encoded photos, paths or pixels in, a table of labels and probabilities out.

Owns the folder that is logged as the model (``model.keras``, ``classifier.json``, the digests of both). Pixels come
from the same `decode` and `prepare` as in training. Does not own the forms in which photos come (`inputs`), and knows
nothing of MLflow.
"""

from __future__ import annotations

import json
import os
from collections.abc import Callable, Iterable, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import asdict, dataclass, field
from functools import cached_property, lru_cache
from itertools import islice
from pathlib import Path
from typing import TYPE_CHECKING, Any

import cv2
import numpy as np
import pandas as pd

from pipeline.config import MAX_PIXELS, DamagedModel, first_line
from pipeline.data.class_columns import class_columns
from pipeline.data.pixels import BadImage, decode, prepare
from pipeline.data.rule_versions import RuleVersions
from pipeline.data.rules import rule_text
from pipeline.models.backend import load_backend
from pipeline.models.saved import check_model_sums, load_classifier, write_model_sums
from pipeline.serving.inputs import read_photo

if TYPE_CHECKING:
    import keras

CHUNK = 64  # photos decoded before the network sees them: bounds memory for any number of photos
MODEL_FILE, ABOUT_FILE = "model.keras", "classifier.json"
NONE_OF_THESE = "none of these"  # the label of a photo that is less sure than those of known classes are
PERCENTS = np.linspace(0, 1, 101)  # of `About.sureness`


@dataclass(frozen=True)
class About:
    """The metadata of a saved classifier: all that it needs besides its network."""

    class_names: tuple[str, ...]
    image_size: int
    resize: str
    image_ops: tuple[str, ...]
    data_digest: str
    data_source: str
    config: Mapping[str, Any]
    temperature: float = 1.0  # divides the logits, so that probabilities mean what they say; no label depends on it
    rules: Mapping[str, int] = field(default_factory=dict)  # versions that are not the first (see `rule_versions`)
    start: Mapping[str, Any] = field(
        default_factory=dict
    )  # source, sha256 and scaling of its first weights, if not random
    sureness: tuple[float, ...] = ()  # see `sureness_of`, of validation photos; empty in a model of an earlier version

    @property
    def rule_versions(self) -> RuleVersions:
        """The versions of the rules by which its photos became pixels, groups and splits."""
        return RuleVersions.from_record(self.rules)


def sureness_of(probabilities: np.ndarray) -> tuple[float, ...]:
    """Return the 101 percentiles, from 0 to 100, of the likeliest class's probability in photos' (n, classes)."""
    return tuple(np.quantile(probabilities.max(axis=1), PERCENTS).tolist())


def save_classifier(folder: Path, model: keras.Model, about: About) -> None:
    """Write the folder that `Classifier` reads; the network as one .keras file without code or pickle."""
    folder.mkdir(parents=True, exist_ok=True)
    model.save(folder / MODEL_FILE)
    (folder / ABOUT_FILE).write_text(json.dumps(asdict(about), indent=2))
    write_model_sums(folder)


class Classifier:
    """A saved classifier; the network is loaded when first needed.

    Raises:
        DamagedModel: a file is not as it was saved, or cannot be read as a network.
    """

    def __init__(self, folder: Path) -> None:
        self._folder = folder
        check_model_sums(folder)
        try:
            stored = json.loads((folder / ABOUT_FILE).read_text())
            stored |= {name: tuple(stored[name]) for name in ("class_names", "image_ops")}
            stored["sureness"] = tuple(stored.get("sureness", ()))
            self.about = About(**stored)
        except (FileNotFoundError, ValueError, KeyError, TypeError) as error:
            raise DamagedModel(
                f"a model's description must be complete, got {type(error).__name__}: {first_line(error)} in "
                f"{folder / ABOUT_FILE} (restore the file, or name another model)"
            ) from error

    @cached_property
    def model(self) -> keras.Model:
        """uint8 RGB (n, image_size, image_size, 3) -> float32 logits (n, classes)."""
        load_backend()  # whose errors are not the model's
        try:
            return load_classifier(self._folder / MODEL_FILE)
        except (ImportError, MemoryError):
            raise
        except Exception as error:  # of the archive, of its JSON, of HDF5, or of Keras
            raise DamagedModel(
                f"a model must be a network that Keras can read, got {first_line(error)} from "
                f"{self._folder / MODEL_FILE}"
            ) from error

    def logits(self, images: np.ndarray) -> np.ndarray:
        """Return float32 (n, classes) for prepared uint8 RGB images (n, image_size, image_size, 3)."""
        from pipeline.models.predict import forward

        return forward(self._forward, images, len(self._names))

    @cached_property
    def _forward(self) -> Callable[[np.ndarray], np.ndarray]:
        from pipeline.models.predict import compiled_forward

        return compiled_forward(self.model)

    def probabilities(self, images: np.ndarray) -> np.ndarray:
        """Return float64 (n, classes) for prepared uint8 RGB images (n, image_size, image_size, 3)."""
        from pipeline.models.predict import probabilities_of

        return probabilities_of(self.logits(images), self.about.temperature)

    def least_probability(self, keep: float) -> float:
        """Return the probability below which a photo's likeliest class is not its label.

        Args:
            keep: the share of photos of known classes, in 0..1, that keep their label, by the validation photos.

        Raises:
            ValueError: ``keep`` is no such share, or the model is of a version that did not count.
        """
        if not 0 < keep <= 1:
            raise ValueError(f"keep must be a share above 0, at most 1, got {keep} (try 0.95; 1 keeps all labels)")
        if keep == 1:
            return 0.0
        if not self.about.sureness:
            raise ValueError(
                f"keep must be 1 for a model that has not stored its confidence on validation photos, got {keep} (an "
                "earlier version made it: train it again)"
            )
        return float(np.interp(1 - keep, PERCENTS, self.about.sureness))

    def predict(self, photos: Iterable[object], keep: float = 1.0) -> pd.DataFrame:
        """Classify photos, each in any form that `inputs.read_photo` takes.

        Args:
            photos: the photos.
            keep: see `least_probability`; a less sure photo has the label `NONE_OF_THESE`. 1 keeps all labels.

        Returns:
            One row per photo: label, probability, a column per class (see `class_columns`), and error, which is None
            unless the photo could not be used; then the row's other values are missing.
        """
        least = self.least_probability(keep)
        table = self._predict(photos)
        table.loc[table["probability"] < least, "label"] = NONE_OF_THESE
        return table

    def _predict(self, photos: Iterable[object]) -> pd.DataFrame:
        waiting = iter(photos)
        tables = []
        while chunk := list(islice(waiting, CHUNK)):
            tables.append(self._predict_chunk(chunk))
        return pd.concat(tables, ignore_index=True) if tables else self._table([], np.empty((0, len(self._names))))

    def decoded(self, data: bytes) -> np.ndarray:
        """Return the pixels of an encoded photo, as in training: uint8 RGB (height, width, 3), large ones reduced.

        Raises:
            BadImage: it cannot be used.
        """
        about = self.about
        return decode(data, about.config.get("max_pixels", MAX_PIXELS), self._pixel_version, about.image_size)

    def prepared(self, image: np.ndarray) -> np.ndarray:
        """Return the network's input for a decoded photo, uint8 RGB (height, width, 3)."""
        about = self.about
        return prepare(image, about.image_size, about.resize, about.image_ops, self._pixel_version)

    @cached_property
    def _pixel_version(self) -> int:
        return self.about.rule_versions.pixels

    @property
    def _names(self) -> tuple[str, ...]:
        return self.about.class_names

    def _predict_chunk(self, photos: Sequence[object]) -> pd.DataFrame:
        if len(photos) == 1:  # to hand it to a thread takes longer than to wait
            outcomes = [self._pixels(photos[0])]
        else:
            outcomes = list(_threads_of(os.getpid()).map(self._pixels, photos))
        good = [index for index, outcome in enumerate(outcomes) if not isinstance(outcome, str)]
        probabilities = np.full((len(photos), len(self._names)), np.nan)
        if good:
            probabilities[good] = self.probabilities(np.stack([outcomes[index] for index in good]))
        return self._table([outcome if isinstance(outcome, str) else None for outcome in outcomes], probabilities)

    def _pixels(self, photo: object) -> np.ndarray | str:
        """Return the prepared pixels, or the reason why there are none."""
        try:
            given = read_photo(photo)
            return self.prepared(self.decoded(given) if isinstance(given, bytes) else given)
        except BadImage as error:
            return str(error)
        except (MemoryError, cv2.error) as error:
            return rule_text("cannot be prepared", first_line(error))

    def _table(self, errors: Sequence[str | None], probabilities: np.ndarray) -> pd.DataFrame:
        usable = np.array([error is None for error in errors], dtype=bool)
        best = np.where(usable, np.nan_to_num(probabilities).argmax(axis=1) if len(errors) else 0, 0)
        labels = [self._names[index] if ok else None for index, ok in zip(best, usable, strict=True)]
        top = probabilities.max(axis=1) if len(errors) else np.empty(0)
        columns = {name: probabilities[:, index] for index, name in enumerate(class_columns(self._names))}
        texts = {"label": pd.Series(labels, dtype=object), "error": pd.Series(errors, dtype=object)}  # None stays None
        return pd.DataFrame({"label": texts["label"], "probability": top, **columns, "error": texts["error"]})


@lru_cache(maxsize=1)
def _threads_of(process: int) -> ThreadPoolExecutor:
    """Return the threads that decode photos, as decoders release Python's lock; a fork of the process starts its own.

    They stay: what OpenCV keeps of a thread it never frees, 0.8 kB of each.
    """
    return ThreadPoolExecutor(os.cpu_count() or 1, f"decode-{process}")


def keep_top(table: pd.DataFrame, class_names: Sequence[str], top_k: int) -> pd.DataFrame:
    """Return a table of `Classifier.predict` with the ``top_k`` likeliest classes in place of a column per class.

    The column ``top_k`` holds lists of ``{"label": ..., "probability": ...}``, likeliest first.
    """
    classes = table[class_columns(class_names)]
    order = np.argsort(-classes.to_numpy(np.float64), axis=1, kind="stable")[:, :top_k]
    usable = table["error"].isna()
    tops = [
        [{"label": class_names[place], "probability": float(row.iloc[place])} for place in places] if ok else []
        for places, (_, row), ok in zip(order, classes.iterrows(), usable, strict=True)
    ]
    return table[["label", "probability"]].assign(top_k=pd.Series(tops, dtype=object), error=table["error"])
