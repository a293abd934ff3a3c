"""The only package that talks to MLflow tracking: values come in, nothing but run ids and model addresses goes out."""

from pipeline.tracking.contents import (
    RUN_PICTURES,
    copy_artifacts,
    log_classifier,
    log_data,
    log_figure,
    log_metrics,
    log_table,
    log_text,
    set_tags,
)
from pipeline.tracking.runs import StoreGone, connect, last_epoch, run, training_states, ui_command

__all__ = [
    "RUN_PICTURES", "StoreGone", "connect", "copy_artifacts", "last_epoch", "log_classifier", "log_data", "log_figure",
    "log_metrics", "log_table", "log_text", "run", "set_tags", "training_states", "ui_command",
]  # fmt: skip
