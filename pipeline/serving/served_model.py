"""What MLflow loads: the adapter between its pyfunc interface and `Classifier`. Logged as code, not pickled.

A model carries a copy of this file and of all that it imports (`tracking.served_code`). All of it is imported at once,
because the folder that it was loaded from may be gone when a photo comes.
"""

from __future__ import annotations

from pathlib import Path
from typing import Any

import mlflow
import pandas as pd
from mlflow.exceptions import MlflowException
from mlflow.pyfunc.model import PythonModel, PythonModelContext

import pipeline.models.folding
import pipeline.models.predict  # noqa: F401
from pipeline.serving import MAX_PHOTOS, Classifier, at_most, is_served, keep_top, photos_of


class PhotoClassifier(PythonModel):
    """Photos in any form that `photos_of` takes -> label, probability, one column per class, error."""

    def load_context(self, context: PythonModelContext) -> None:
        """Read the classifier's folder; MLflow calls this once."""
        self.classifier = Classifier(Path(context.artifacts["classifier"]))

    # A DataFrame is what MLflow's server hands over. Any other form arrives here too: of all types, this is one that
    # MLflow does not turn into a schema, which would refuse arrays or bytes.
    def predict(
        self, context: PythonModelContext, model_input: pd.DataFrame, params: dict[str, Any] | None = None
    ) -> pd.DataFrame:
        """Classify with ``params["keep"]``; see `Classifier.predict`. With ``params["top_k"]``, see `keep_top`."""
        top_k, keep = int((params or {}).get("top_k", 0)), float((params or {}).get("keep", 1.0))
        if is_served():
            return self._serve(model_input, top_k, keep)
        table = self.classifier.predict(photos_of(model_input), keep)
        return self._kept(table, top_k) if top_k > 0 else table

    def _serve(self, model_input: pd.DataFrame, top_k: int, keep: float) -> pd.DataFrame:
        """Classify what came over HTTP; what is wrong with all of it is the caller's error, not the server's."""
        try:
            if top_k < 0:
                raise ValueError(f"top_k must be at least 0, got {top_k}")
            table = self.classifier.predict(at_most(photos_of(model_input), MAX_PHOTOS), keep)
        except ValueError as error:
            raise MlflowException.invalid_parameter_value(str(error)) from None
        table = self._kept(table, top_k) if top_k else table
        return table.astype(object).where(table.notna(), None)  # MLflow would write missing numbers as NaN: no JSON

    def _kept(self, table: pd.DataFrame, top_k: int) -> pd.DataFrame:
        return keep_top(table, self.classifier.about.class_names, top_k)


mlflow.models.set_model(PhotoClassifier())
