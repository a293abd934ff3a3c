"""What is done once and tracked in one run: a training, a data set and its review, label suspects, an export.

`retention` frees what all of these have left and nothing needs any more.

Every training of the project goes through `training_run.tracked_fit`, so that all runs leave the
same things under the same names. Does not own many trainings (`search`, `ablation`), nor the test split (`promotion`).
"""

from pipeline.experiment.chosen import with_epochs
from pipeline.experiment.expected_time import (
    MachineSpeed,
    estimated_speed,
    expected_seconds,
    machine_speed,
    trainings_end,
)
from pipeline.experiment.identity import training_key
from pipeline.experiment.imbalance import print_imbalance
from pipeline.experiment.label_suspects import can_find_suspects, missing_extra
from pipeline.experiment.lineage import LINEAGE, PHOTOS_FILE, check_start, known_photos
from pipeline.experiment.model_card import MODEL_MACROS, render_card
from pipeline.experiment.photos import (
    check_same_photos,
    data_config_of,
    log_store,
    open_model_photos,
    open_photos_of_today,
    open_store,
    run_preprocessing,
)
from pipeline.experiment.report_files import log_report
from pipeline.experiment.review import SUSPECTS_TABLE
from pipeline.experiment.starts import begun_tags, go_on_with, resolve_start, unusual_structure
from pipeline.experiment.training_run import (
    CHECKPOINTS,
    TrainingResult,
    describe,
    print_model,
    run_training,
    tracked_fit,
)

__all__ = [
    "CHECKPOINTS", "LINEAGE", "MODEL_MACROS", "PHOTOS_FILE", "SUSPECTS_TABLE", "MachineSpeed", "TrainingResult",
    "begun_tags", "can_find_suspects", "check_same_photos", "check_start", "data_config_of", "describe",
    "estimated_speed", "expected_seconds", "go_on_with", "known_photos", "log_report", "log_store", "machine_speed",
    "missing_extra", "open_model_photos", "open_photos_of_today", "open_store", "print_imbalance", "print_model",
    "render_card", "resolve_start", "run_preprocessing", "run_training", "tracked_fit", "training_key", "trainings_end",
    "unusual_structure", "with_epochs",
]  # fmt: skip
