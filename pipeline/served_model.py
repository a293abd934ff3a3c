"""What MLflow loads: the adapter between its pyfunc interface and `serving.Classifier`. Logged as code, not pickled."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import mlflow
import pandas as pd
from mlflow.pyfunc.model import PythonModel, PythonModelContext

from pipeline.serving import Classifier, is_served, photos_of


class PhotoClassifier(PythonModel):
    """Photos in any form that `serving.photos_of` takes -> label, probability, one column per class, error."""

    def load_context(self, context: PythonModelContext) -> None:
        """Read the classifier's folder; MLflow calls this once."""
        self.classifier = Classifier(Path(context.artifacts["classifier"]))

    # A DataFrame is what MLflow's server hands over. Any other form arrives here too: of all types, this is one that
    # MLflow does not turn into a schema, which would refuse arrays or bytes.
    def predict(
        self, context: PythonModelContext, model_input: pd.DataFrame, params: dict[str, Any] | None = None
    ) -> pd.DataFrame:
        """Classify; see `Classifier.predict`."""
        table = self.classifier.predict(photos_of(model_input))
        if is_served():  # MLflow's server would write the numbers that are missing as NaN, which is no JSON
            table = table.astype(object).where(table.notna(), None)
        return table


mlflow.models.set_model(PhotoClassifier())
