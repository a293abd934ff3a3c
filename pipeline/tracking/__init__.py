"""The only package that talks to MLflow tracking: values come in, nothing but run ids and model addresses goes out."""

from pipeline.tracking.children import adopt_children
from pipeline.tracking.contents import (
    RUN_PICTURES,
    VAL_PREDICTIONS,
    copy_artifacts,
    log_classifier,
    log_data,
    log_figure,
    log_file,
    log_folder,
    log_json,
    log_metrics,
    log_table,
    log_text,
    read_table,
    rename,
    run_facts,
    set_note,
    set_tags,
)
from pipeline.tracking.runs import connect, end_below, environment, last_epoch, open_run, run, training_states
from pipeline.tracking.store import StoreGone, ui_command, unsent

__all__ = [
    "RUN_PICTURES", "VAL_PREDICTIONS", "StoreGone", "adopt_children", "connect", "copy_artifacts", "end_below",
    "environment", "last_epoch", "log_classifier", "log_data", "log_figure", "log_file", "log_folder", "log_json",
    "log_metrics", "log_table", "log_text", "open_run", "read_table", "rename", "run", "run_facts", "set_note",
    "set_tags", "training_states", "ui_command", "unsent",
]  # fmt: skip
