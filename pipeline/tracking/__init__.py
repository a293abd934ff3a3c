"""The only package that talks to MLflow: runs, their contents, the store and what waits for it, models, the registry.

Values come in; run ids, addresses and files go out. `runs` opens and closes runs, `contents` fills them, `store` and
`outbox` know whether the server answers, `moved_folder` follows a project that was moved, `model` and `served_code` log
a classifier, `registry` owns versions and aliases, `unreferenced` knows what can go. Does not own what is worth
logging.
"""

from pipeline.tracking.contents import (
    RUN_PICTURES,
    VAL_PREDICTIONS,
    artifact_place,
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
    log_val_answers,
    metrics_of,
    open_run,
    read_recipe_or_run,
    read_val_answers,
    read_val_predictions,
    rename,
    run_facts,
    save_figure,
    set_note,
    set_tags,
    tag_of_open_run,
)
from pipeline.tracking.runs import (
    STOPPED,
    STUDY,
    TRAINING,
    adopt_children,
    close_run,
    connect,
    end_children,
    environment,
    log_config,
    mark_dead_runs,
    open_elsewhere,
    run,
    runs_of_training,
    tags_of_stopped_run,
    when_finished,
)
from pipeline.tracking.store import (
    StoreGone,
    count_unsent_runs,
    runs_page,
    store_identity,
    ui_command,
)

__all__ = [
    "RUN_PICTURES", "STOPPED", "STUDY", "TRAINING", "VAL_PREDICTIONS", "StoreGone", "adopt_children", "artifact_place",
    "close_run", "connect", "copy_artifacts", "count_unsent_runs", "end_children", "environment", "last_epoch",
    "log_classifier", "log_config", "log_data", "log_figure", "log_file", "log_folder", "log_json", "log_metrics",
    "log_table", "log_text", "log_val_answers", "mark_dead_runs", "metrics_of", "open_elsewhere", "open_run",
    "read_recipe_or_run", "read_val_answers", "read_val_predictions", "rename", "run", "run_facts", "runs_of_training",
    "runs_page", "save_figure", "set_note", "set_tags", "store_identity", "tag_of_open_run", "tags_of_stopped_run",
    "ui_command", "when_finished",
]  # fmt: skip
