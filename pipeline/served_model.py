"""What MLflow loads: the adapter between its pyfunc interface and `serving.Classifier`. Logged as code, not pickled."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import mlflow
import pandas as pd
from mlflow.pyfunc.model import PythonModel, PythonModelContext

from pipeline.serving import Classifier, photos_of


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
        return self.classifier.predict(photos_of(model_input))


mlflow.models.set_model(PhotoClassifier())
