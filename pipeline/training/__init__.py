"""One config and one prepared store -> one trained network, exactly resumable. Knows no MLflow and no Optuna.

`loop` owns the epochs, the best epoch, and resuming; `trainer` owns one network and its state between two steps; the
other modules are the parts: `phases`, `step`, `batches`, `augmentation`, `mixing`, `features`, `class_weights`,
`optimizers`, `schedules`, `precision`, `scores`, `checkpoint`. Does not own the networks (`models`), nor logging
(`experiment`).
"""

from pipeline.training.batches import seen_photos
from pipeline.training.checkpoint import Checkpoints
from pipeline.training.features import FeatureCache
from pipeline.training.loop import FitResult, fit
from pipeline.training.phases import phases_of
from pipeline.training.precision import cpu_features
from pipeline.training.scores import score_of_one_answer, step_of_one_photo
from pipeline.training.trainer import Diverged, Epoch, Untrainable, measure_speed

__all__ = [
    "Checkpoints", "Diverged", "Epoch", "FeatureCache", "FitResult", "Untrainable", "cpu_features", "fit",
    "measure_speed", "phases_of", "score_of_one_answer", "seen_photos", "step_of_one_photo",
]  # fmt: skip
