"""``train``: one config, one model, registered as challenger."""

from __future__ import annotations

from pipeline.config import TrainConfig as CONFIG


def run(config: CONFIG) -> None:
    """Train, log, and register the best epoch's model."""
    from pipeline.tracking import registry
    from pipeline import tracking
    from pipeline.experiment.training_run import describe, print_epoch, print_model, tracked_fit, training_key
    from pipeline.experiment.photos import log_store, open_store

    tracking.connect()
    with tracking.run("train", f"train {describe(config)}", config, training=training_key(config)):
        store = open_store(config)
        log_store(store, sample_splits=("train", "validation"))
        trained = tracked_fit(config, store, print_epoch)
        version = registry.register(trained.model_uri, config.model_name)
    print(f"best epoch {trained.best.epoch}: val_accuracy {trained.best.val_accuracy:.4f}\n{trained.suspects}")
    print_model(version)
