"""One tracked training: what it logs it logs once, however often it is killed at its end."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import pytest
from mlflow import MlflowClient

from pipeline import tracking
from pipeline.config import TrainConfig
from pipeline.data.store import prepared_store
from pipeline.experiment import CHECKPOINTS, print_model, tracked_fit, training_key
from pipeline.tracking.registry import Version
from pipeline.training.checkpoint import Checkpoints

ONCE = ("best_epoch", "best_val_accuracy", "best_val_loss", "baseline_accuracy", "val_macro_f1", "train_loss")


@pytest.mark.usefixtures("small_net")
def test_what_is_killed_at_its_end_trains_nothing_again_and_logs_each_thing_once(
    photo_folder: Path,
    tracking_store: MlflowClient,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    monkeypatch.setattr(Checkpoints, "due", lambda _: True)
    config = TrainConfig(
        weights="none", data=str(photo_folder), image_size=32, val_fraction=0.3, epochs=3, batch_size=4, augment="none"
    )
    store = prepared_store(config)

    def run(then: Callable[[], None]) -> str:
        with tracking.run("train", "train", config, training=training_key(config)) as run_id:
            tracked_fit(config, store)
            then()
        return run_id

    def killed() -> None:
        raise KeyboardInterrupt

    for _ in range(2):
        with pytest.raises(KeyboardInterrupt):
            run(killed)
    assert list(CHECKPOINTS.rglob("*.npz"))
    capsys.readouterr()
    run_id = run(lambda: None)
    assert "continuing in epoch 3, after" in capsys.readouterr().out
    for name in ONCE:
        history = [(metric.step, metric.value) for metric in tracking_store.get_metric_history(run_id, name)]
        assert len(history) == len(set(history)), name
    assert len(tracking_store.get_metric_history(run_id, "best_val_accuracy")) == 1
    assert len(tracking_store.search_logged_models(["0"])) == 1
    assert not list(CHECKPOINTS.rglob("*.npz"))


def test_a_name_that_was_used_for_other_photos_is_noted(
    tracking_store: MlflowClient, capsys: pytest.CaptureFixture[str]
) -> None:
    tracking_store.create_registered_model("flowers")
    for data in ("my/daisies", "my/daisies", "my/birds"):
        run = tracking_store.create_run("0")
        tracking_store.log_param(run.info.run_id, "data", data)
        source = f"{run.info.artifact_uri}/model"
        version = tracking_store.create_model_version("flowers", source, run.info.run_id).version
        print_model(Version("flowers", str(version)))
        note, printed = capsys.readouterr().out.splitlines()[0], f"registered flowers version {version} as challenger"
        if data == "my/birds":
            printed = (
                "note: the version of flowers before was trained from other photos, my/daisies "
                "(--model_name=NAME keeps models of different photos apart)"
            )
        assert note == printed
