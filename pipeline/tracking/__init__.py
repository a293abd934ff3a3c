"""The only package that talks to MLflow tracking: values come in, nothing but run ids and model addresses goes out."""

from pipeline.tracking.children import adopt_children
from pipeline.tracking.contents import (
    RUN_PICTURES,
    VAL_PREDICTIONS,
    copy_artifacts,
    last_epoch,
    log_classifier,
    log_data,
    log_figure,
    log_file,
    log_folder,
    log_json,
    log_metrics,
    log_table,
    log_text,
    open_run,
    read_table,
    rename,
    run_facts,
    save_figure,
    set_note,
    set_tags,
)
from pipeline.tracking.runs import STOPPED, STUDY, close, connect, end_below, environment, heal, run, training_states
from pipeline.tracking.store import StoreGone, ui_command, unsent

__all__ = [
    "RUN_PICTURES", "STOPPED", "STUDY", "VAL_PREDICTIONS", "StoreGone", "adopt_children", "close", "connect",
    "copy_artifacts", "end_below", "environment", "heal", "last_epoch", "log_classifier", "log_data", "log_figure",
    "log_file", "log_folder", "log_json", "log_metrics", "log_table", "log_text", "open_run", "read_table", "rename",
    "run", "run_facts", "save_figure", "set_note", "set_tags", "training_states", "ui_command", "unsent",
]  # fmt: skip
