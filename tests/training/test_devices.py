"""A step that several devices share, on TensorFlow's logical CPUs, which it treats like as many GPUs."""

from __future__ import annotations

import json
import sys
from pathlib import Path

import pytest

from pipeline.config import TrainConfig, UserError
from pipeline.data.store.store import prepared_store
from pipeline.models.backend import strategy_for
from tests.conftest import ROOT, RunIn

# In a process of its own, because the number of logical devices is fixed once TensorFlow has used one.
ON_TWO = """
import json, sys
from pathlib import Path

import numpy as np
import tensorflow as tf

tf.config.set_logical_device_configuration(
    tf.config.list_physical_devices("CPU")[0], [tf.config.LogicalDeviceConfiguration()] * 2
)
from pipeline.training.checkpoint import Checkpoints
from pipeline.config import TrainConfig
from pipeline.training.batches import TrainingBatches
from pipeline.data.store import prepared_store
from pipeline.training import fit, trainer
from pipeline.models.variants import VARIANTS
from tests.small_net import small_variant

VARIANTS["resnet18"] = small_variant()
config, root = TrainConfig.model_validate_json(sys.argv[1]), Path(sys.argv[2])
store = prepared_store(config, root)


def changed(**changes):
    return TrainConfig(**config.model_dump() | changes)


def figures(result):
    return result.history.drop(columns="images_per_second").to_numpy().tolist()


def stopped_and_gone_on(config):
    checkpoints = Checkpoints(root / "checkpoints", {}, min_interval_s=0)
    draw = TrainingBatches.batch
    def stop(batches, epoch, step, order):
        if (epoch, step) == (2, 1):
            raise RuntimeError("stop")
        return draw(batches, epoch, step, order)
    TrainingBatches.batch = stop
    try:
        fit(config, store, checkpoints=checkpoints)
    except Exception:
        pass
    TrainingBatches.batch = draw
    assert list((root / "checkpoints").iterdir())
    return fit(config, store, checkpoints=checkpoints)


everything = {"devices": 2, "optimizer": "adamw", "learning_rate": 1e-3, "epochs": 4}
head = {"freeze_backbone": True, "dropout": 0.0}
batches = TrainingBatches(store, config)
ahead, plain = ([x.numpy().tolist() for x, _ in batches.epoch(1, device=where)] for where in ("/cpu:1", ""))
trainer.class_weights = lambda *_: np.array([0.2, 1, 3], np.float32)
weighted = [figures(fit(changed(**head, devices=devices), store)) for devices in (1, 2)]
trainer.class_weights = lambda *_: None
found = {
    "weighted": weighted,
    "head on one": figures(fit(changed(**head, devices=1), store)),
    "head on two": figures(fit(changed(**head, devices=2), store)),
    "all on two": figures(fit(changed(**everything), store)),
    "all on two, stopped": figures(stopped_and_gone_on(changed(**everything))),
    "drawn ahead": ahead == plain,
}
print(json.dumps(found))
"""


@pytest.mark.slow
def test_two_devices_train_as_one(photo_folder: Path, tmp_path: Path, run_in: RunIn) -> None:
    config = TrainConfig(
        weights="none",
        data=str(photo_folder), image_size=32, val_fraction=0.3, epochs=2, batch_size=6, augment="light", dropout=0.2,
        ema=0.9, learning_rate=0.02, optimizer="sgd",
    )  # fmt: skip
    prepared_store(config, tmp_path)
    done = run_in(ROOT, sys.executable, "-c", ON_TWO, config.model_dump_json(), tmp_path)
    found = json.loads(done.stdout.splitlines()[-1])
    for one, two in zip(found["head on one"], found["head on two"], strict=True):
        assert two == pytest.approx(one, rel=1e-4)
    for one, two, plain in zip(*found["weighted"], found["head on one"], strict=True):
        assert two == pytest.approx(one, rel=1e-4)
        assert two[1] != pytest.approx(plain[1], rel=0.01)
    losses = [row[1] for row in found["all on two"]]
    assert min(losses) < losses[0] / 1.5
    assert found["all on two, stopped"] == found["all on two"]
    assert found["drawn ahead"]


def test_more_devices_than_there_are_is_a_mistake() -> None:
    with pytest.raises(UserError, match="devices must be at most what TensorFlow finds, got 3 for 1 CPU"):
        strategy_for(3)
