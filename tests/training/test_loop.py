"""The real loop on drawn photos and a net of one block: what it returns, when it stops, and that it learns."""

from __future__ import annotations

import json
import signal
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import get_args
from unittest.mock import patch

import numpy as np
import pandas as pd
import pytest
import tensorflow as tf

from pipeline.config import OptimizerName, TrainConfig
from pipeline.data.pixels.decode import decode, prepare
from pipeline.data.store.store import Store, prepared_store
from pipeline.evaluation import confusion_table
from pipeline.models import backend
from pipeline.models.builder import build_classifier
from pipeline.processes import raise_interrupts
from pipeline.training import loop, trainer
from pipeline.training.batches import TrainingBatches
from pipeline.training.checkpoint import Checkpoints, TrainingState
from pipeline.training.loop import FitResult, fit
from pipeline.training.optimizers import make_optimizer
from pipeline.training.trainer import Diverged, Epoch, NetworkTrainer, OutOfMemory

FIT_IN_A_PROCESS = """
import json, sys
from pathlib import Path

from pipeline.config import TrainConfig
from pipeline.data.store import prepared_store
from pipeline.training import fit

config = TrainConfig.model_validate_json(sys.argv[1])
result = fit(config, prepared_store(config, Path(sys.argv[2])))
history = result.history.drop(columns="images_per_second").to_numpy().tolist()
print(json.dumps([history, result.val_probabilities.tolist()]))
"""


@pytest.fixture(scope="module")
def data_root(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return tmp_path_factory.mktemp("data")


@pytest.fixture
def full_net(photo_folder: Path) -> TrainConfig:
    """18 photos for training and 9 for validation, and the real ResNet-18."""
    return TrainConfig(
        weights="none",
        data=str(photo_folder),
        image_size=32,
        val_fraction=0.3,
        epochs=1,
        batch_size=4,
        augment="none",
        seed=3,
    )


@pytest.fixture
def base(full_net: TrainConfig, small_net: None) -> TrainConfig:
    """The same with a net of one block, which learns these photos within a few epochs."""
    return full_net


def _changed(config: TrainConfig, **changes: object) -> TrainConfig:
    return TrainConfig(**config.model_dump() | changes)


def _fit(config: TrainConfig, data_root: Path) -> FitResult:
    return fit(config, prepared_store(config, data_root))


def _losses(result: FitResult) -> list[float]:
    return result.history["train_loss"].tolist()


def test_an_interrupt_between_two_epochs_loses_nothing(
    base: TrainConfig, data_root: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    config, checkpoints = _changed(base, epochs=3, ema=0.9), Checkpoints(tmp_path, {})
    store, told = prepared_store(config, data_root), []

    def interrupt(epoch: Epoch) -> None:
        told.append(epoch.epoch)
        if epoch.epoch == 2:
            signal.raise_signal(signal.SIGTERM)

    with pytest.raises(KeyboardInterrupt), raise_interrupts(signal.SIGTERM):
        fit(config, store, interrupt, checkpoints=checkpoints)
    assert told == [1, 2]
    went_on, uninterrupted = fit(config, store, checkpoints=checkpoints), fit(config, store)
    assert "continuing in epoch 2, after 3 of 3 steps" in capsys.readouterr().out
    timed = ["images_per_second"]
    pd.testing.assert_frame_equal(went_on.history.drop(columns=timed), uninterrupted.history.drop(columns=timed))
    np.testing.assert_array_equal(went_on.val_probabilities, uninterrupted.val_probabilities)
    np.testing.assert_array_equal(went_on.val_answers, uninterrupted.val_answers)
    right = (went_on.val_answers == store.labels("validation")).mean(axis=1)
    assert right.tolist() == pytest.approx(went_on.history["val_accuracy"].tolist())


def test_a_checkpoint_of_a_version_that_kept_no_answers_goes_on_without(
    base: TrainConfig, data_root: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    config, checkpoints = _changed(base, epochs=3), Checkpoints(tmp_path, {})
    store, save = prepared_store(config, data_root), Checkpoints.save

    def save_as_before(own: Checkpoints, epoch: int, step: int, state: TrainingState) -> None:
        arrays = {name: array for name, array in state.arrays.items() if not name.startswith("answers")}
        save(own, epoch, step, TrainingState(arrays, state.progress))

    monkeypatch.setattr(Checkpoints, "save", save_as_before)
    with pytest.raises(KeyboardInterrupt), raise_interrupts(signal.SIGTERM):
        fit(
            config,
            store,
            lambda epoch: epoch.epoch == 2 and signal.raise_signal(signal.SIGTERM),
            checkpoints=checkpoints,
        )
    assert fit(config, store, checkpoints=checkpoints).val_answers.shape == (0, len(store.labels("validation")))


def test_an_interrupt_before_an_epoch_loses_nothing(
    base: TrainConfig,
    data_root: Path,
    tmp_path: Path,
    capsys: pytest.CaptureFixture[str],
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    config, checkpoints = _changed(base, epochs=3), Checkpoints(tmp_path, {})
    store, prepare_epoch = prepared_store(config, data_root), NetworkTrainer.prepare

    def interrupted(trainer: NetworkTrainer, epoch: int) -> None:
        prepare_epoch(trainer, epoch)
        if epoch == 3:
            signal.raise_signal(signal.SIGTERM)

    with (
        pytest.raises(KeyboardInterrupt),
        raise_interrupts(signal.SIGTERM),
        patch.object(NetworkTrainer, "prepare", interrupted),
    ):
        fit(config, store, checkpoints=checkpoints)
    went_on, uninterrupted = fit(config, store, checkpoints=checkpoints), fit(config, store)
    assert "continuing in epoch 3, after 0 of 3 steps" in capsys.readouterr().out
    assert _losses(went_on) == _losses(uninterrupted)
    np.testing.assert_array_equal(went_on.val_probabilities, uninterrupted.val_probabilities)


def test_a_training_goes_on_with_the_threads_that_it_was_begun_with(
    base: TrainConfig, data_root: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    config, checkpoints, store = _changed(base, epochs=2), Checkpoints(tmp_path, {}), prepared_store(base, data_root)

    def interrupt(epoch: Epoch) -> None:
        signal.raise_signal(signal.SIGTERM)

    own = backend.threads()
    with (
        pytest.raises(KeyboardInterrupt),
        raise_interrupts(signal.SIGTERM),
        patch.object(loop, "threads", lambda: own + 1),
    ):
        fit(config, store, interrupt, checkpoints=checkpoints)
    fit(config, store, checkpoints=checkpoints)  # this process has computed something
    said = f"with {own + 1} threads, and continues with {own}: its results will not be the same to the last bit"
    assert said in capsys.readouterr().out


def test_threads_are_set_where_nothing_has_been_computed() -> None:
    script = (
        "from pipeline.models import backend; backend.load_backend(); backend.keep_threads(3); "
        "import tensorflow as tf; tf.ones(3) + 1; backend.keep_threads(3); print(backend.threads())"
    )
    done = subprocess.run(
        [sys.executable, "-c", script], cwd=Path(__file__).parents[2], capture_output=True, text=True, check=True
    )
    assert done.stdout.splitlines()[1:] == ["3"]
    assert done.stdout.startswith("threads: 3, as when this was started, instead of ")


def test_the_best_epoch_comes_back(base: TrainConfig, data_root: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    batch = TrainingBatches.batch

    def wrong_from_the_third_epoch_on(
        batches: TrainingBatches, epoch: int, step: int, order: np.ndarray
    ) -> tuple[np.ndarray, np.ndarray]:
        images, targets = batch(batches, epoch, step, order)
        return images, np.roll(targets, epoch > 2, axis=1)

    monkeypatch.setattr(TrainingBatches, "batch", wrong_from_the_third_epoch_on)
    config = _changed(base, learning_rate=3e-3, lr_schedule="constant", epochs=4)
    store = prepared_store(config, data_root)
    seen: list[Epoch] = []
    result = fit(config, store, seen.append)
    assert [epoch.epoch for epoch in seen] == result.history["epoch"].tolist() == [1, 2, 3, 4]
    best = max(seen, key=lambda epoch: (epoch.val_accuracy, -epoch.val_loss))
    assert result.best == best
    assert best.epoch <= 2
    labels = store.labels("validation")
    assert (result.val_probabilities.argmax(axis=1) == labels).mean() == best.val_accuracy
    assert -np.log(result.val_probabilities[np.arange(len(labels)), labels]).mean() == pytest.approx(best.val_loss)


def test_matrix_accuracy_and_model_agree_on_every_single_photo(base: TrainConfig, data_root: Path) -> None:
    """Labels and predictions of a data set that was reshuffled in between would agree by chance only."""
    config = _changed(base, split_seed=5, batch_size=18, augment="medium")  # one step
    store = prepared_store(config, data_root)
    result = fit(config, store)
    table = confusion_table(store.labels("validation"), result.val_probabilities.argmax(axis=1), store.class_names)
    assert np.trace(table) / table.to_numpy().sum() == result.best.val_accuracy

    hits = 0
    rows = store.rows("validation")
    for row in np.random.default_rng(7).permutation(len(rows)):
        path = store.source / rows.loc[row, "path"]
        pixels = prepare(decode(path.read_bytes()), config.image_size, config.resize)
        logits = np.asarray(result.model(pixels[np.newaxis]))[0]
        assert np.exp(logits) / np.exp(logits).sum() == pytest.approx(result.val_probabilities[row], abs=1e-5)
        hits += store.class_names[logits.argmax()] == path.parent.name
    assert hits / len(rows) == result.best.val_accuracy


def test_float16_scales_its_loss_and_keeps_the_weight_decay_off_biases(base: TrainConfig) -> None:
    import keras

    optimizer = make_optimizer(base, 4, "float16")
    assert isinstance(optimizer, keras.optimizers.LossScaleOptimizer)
    excluded = optimizer.inner_optimizer._exclude_from_weight_decay_pattern.pattern
    assert set(excluded.split("|")) == {"bias", "gamma", "beta"}
    assert not isinstance(make_optimizer(base, 4, "bfloat16"), keras.optimizers.LossScaleOptimizer)


@pytest.mark.parametrize("precision", ["bfloat16", "float16"])
def test_the_returned_model_is_the_one_that_was_measured(base: TrainConfig, data_root: Path, precision: str) -> None:
    config = _changed(base, precision=precision, dropout=0.3, head_units=8)
    store = prepared_store(config, data_root)
    result = fit(config, store)
    assert result.precision == precision
    assert {weight.dtype for weight in result.model.weights} == {"float32"}
    assert {layer.compute_dtype for layer in result.model.layers[1:]} == {"float32"}
    logits = result.model.predict(np.asarray(store.images("validation")), batch_size=2, verbose=0).astype(np.float64)
    probabilities = np.exp(logits) / np.exp(logits).sum(axis=1, keepdims=True)
    np.testing.assert_allclose(probabilities, result.val_probabilities, atol=1e-6)


def test_coloured_photos_are_learned(base: TrainConfig, data_root: Path) -> None:
    result = _fit(_changed(base, epochs=5, learning_rate=3e-3, augment="medium"), data_root)
    assert result.best.val_accuracy > 0.9
    assert result.best.val_loss < 0.2
    first, *later = _losses(result)
    assert np.median(later) < first / 2  # a single epoch of few augmented photos may be off


@pytest.mark.parametrize("optimizer", get_args(OptimizerName))
def test_every_optimizer_trains(base: TrainConfig, data_root: Path, optimizer: str) -> None:
    result = _fit(_changed(base, optimizer=optimizer, learning_rate=1e-3), data_root)
    assert np.isfinite(result.history.to_numpy()).all()


def test_every_option_trains_and_does_something(base: TrainConfig, data_root: Path) -> None:
    options: list[dict[str, object]] = [{}, {"mixup": 0.4}, {"label_smoothing": 0.2}, {"ema": 0.9}]
    results = [_fit(_changed(base, **option), data_root) for option in options]
    assert all(np.isfinite(result.history.to_numpy()).all() for result in results)
    assert len({result.best.val_loss for result in results}) == len(options)


def test_averaging_the_weights_leaves_the_training_alone(base: TrainConfig, data_root: Path) -> None:
    config = _changed(base, epochs=3)
    assert _losses(_fit(_changed(config, ema=0.999), data_root)) == _losses(_fit(config, data_root))


def test_a_rate_that_is_far_too_high_diverges(base: TrainConfig, data_root: Path) -> None:
    with pytest.raises(Diverged, match="learning_rate=1e") as caught:
        _fit(_changed(base, optimizer="sgd", learning_rate=1e30, epochs=3), data_root)
    assert "\n" not in str(caught.value)


def test_the_loss_is_read_every_few_steps_and_before_it_is_saved(
    base: TrainConfig, data_root: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    read: list[tuple[int, int]] = []
    check_loss = NetworkTrainer.check_loss

    def reading(own: NetworkTrainer, epoch: int, step: int) -> None:
        read.append((epoch, step))
        check_loss(own, epoch, step)

    monkeypatch.setattr(NetworkTrainer, "check_loss", reading)
    monkeypatch.setattr(trainer, "CHECKED_STEPS", 2)
    config = _changed(base, epochs=2)  # of three steps
    _fit(config, data_root)
    assert read == [(1, 2), (1, 3), (2, 2), (2, 3)]
    read.clear()
    monkeypatch.setattr(Checkpoints, "due", lambda _: True)
    fit(config, prepared_store(config, data_root), checkpoints=Checkpoints(tmp_path, {}))
    assert {(1, 1), (2, 1)} < set(read)


def test_divergence_in_the_last_step_is_seen_too(base: TrainConfig, data_root: Path) -> None:
    """The loss is measured before the step that ruins the weights."""
    config = _changed(base, optimizer="sgd", learning_rate=1e30, warmup_epochs=0, batch_size=18)
    with pytest.raises(Diverged, match="learning_rate=1e"):
        _fit(config, data_root)


def test_patience_counts_epochs_without_a_better_val_accuracy(base: TrainConfig, data_root: Path) -> None:
    config = _changed(base, epochs=12, learning_rate=3e-3, patience=2)
    accuracies = _fit(config, data_root).history["val_accuracy"].tolist()
    assert len(accuracies) < config.epochs
    assert len(accuracies) == accuracies.index(max(accuracies)) + 1 + config.patience


SCORES = {  # of six epochs
    "val_accuracy": [0.5, 0.7, 0.6, 0.7, 0.6, 0.6],
    "val_balanced_accuracy": [0.6, 0.5, 0.5, 0.5, 0.5, 0.5],
    "val_macro_f1": [0.1, 0.2, 0.3, 0.2, 0.1, 0.1],
    "val_loss": [0.9, 0.8, 0.7, 0.75, 0.4, 0.6],
}


@pytest.mark.parametrize(
    ("objective", "best", "epochs_with_patience"),
    [("val_accuracy", 4, 4), ("val_balanced_accuracy", 1, 3), ("val_macro_f1", 3, 5), ("val_loss", 5, 6)],
)
def test_the_objective_says_which_epoch_is_best_and_when_patience_ends(
    base: TrainConfig,
    data_root: Path,
    monkeypatch: pytest.MonkeyPatch,
    objective: str,
    best: int,
    epochs_with_patience: int,
) -> None:
    """Of two equal epochs, the one with the lower loss is the best, and the first is the one that patience knows."""
    config = _changed(base, epochs=6, objective=objective, freeze_backbone=True)
    store = prepared_store(config, data_root)
    for patience, epochs in ((0, 6), (2, epochs_with_patience)):
        numbers = iter(range(6))

        def scores(*_: object, numbers: Iterator[int] = numbers) -> dict[str, float]:
            number = next(numbers)
            return {name: values[number] for name, values in SCORES.items()}

        monkeypatch.setattr(trainer, "validation_scores", scores)
        result = fit(_changed(config, patience=patience), store)
        assert len(result.history) == epochs
        assert result.best.epoch == best
        assert result.history[[*SCORES]].to_dict("list") == {name: of[:epochs] for name, of in SCORES.items()}


def test_a_checkpoint_of_an_earlier_version_goes_on(base: TrainConfig, data_root: Path, tmp_path: Path) -> None:
    """Its epochs know nothing of two metrics, which came later."""
    config, checkpoints = _changed(base, epochs=3, freeze_backbone=True), Checkpoints(tmp_path, {}, min_interval_s=0)
    store = prepared_store(config, data_root)
    with pytest.raises(KeyboardInterrupt), raise_interrupts(signal.SIGTERM):
        fit(config, store, lambda epoch: signal.raise_signal(signal.SIGTERM) if epoch.epoch == 3 else None,
            checkpoints=checkpoints)  # fmt: skip
    saved = checkpoints.load()
    assert saved
    later = ("val_balanced_accuracy", "val_macro_f1")
    for epoch in saved.progress["epochs"]:
        assert all(epoch.pop(name) is not None for name in later)
    checkpoints.save(9, 9, saved)
    result = fit(config, store, checkpoints=checkpoints)
    assert result.history["epoch"].tolist() == [1, 2, 3]
    assert result.history[[*later]].isna().to_numpy().tolist() == [[True, True]] * 2 + [[False, False]]


@pytest.mark.parametrize("flags", [{"head_epochs": 1, "mixup": 0.2}, {"head_epochs": 1}, {"start_size": 32}], ids=str)
def test_every_phase_weighs_the_classes_by_the_training_photos_alone(
    base: TrainConfig, data_root: Path, monkeypatch: pytest.MonkeyPatch, flags: dict[str, object]
) -> None:
    config = _changed(base, epochs=2, image_size=64, class_weights="balanced", **flags)
    store = prepared_store(config, data_root)
    photos = np.bincount(store.labels("train"))
    assert len(set(photos)) > 1
    assert photos.tolist() != np.bincount(store.labels("validation")).tolist()
    given: list[np.ndarray] = []
    step = trainer.compiled_step
    monkeypatch.setattr(
        trainer, "compiled_step", lambda *values, **more: given.append(values[5]) or step(*values, **more)
    )
    result = fit(config, store)
    assert len(given) == 2
    assert all(weights == pytest.approx(photos.sum() / (3 * photos)) for weights in given)
    labels = store.labels("validation")
    own = result.val_probabilities[np.arange(len(labels)), labels]
    assert result.best.val_loss == pytest.approx(-np.log(own).mean())  # of which no photo is weighted


def test_the_caller_can_end_the_training(base: TrainConfig, data_root: Path) -> None:
    config = _changed(base, epochs=4)
    result = fit(config, prepared_store(config, data_root), lambda epoch: epoch.epoch == 2)
    assert result.history["epoch"].tolist() == [1, 2]


def test_a_frozen_backbone_stays_as_it_was(base: TrainConfig, data_root: Path) -> None:
    config = _changed(base, freeze_backbone=True, epochs=2, weight_decay=0.5, learning_rate=0.01)
    trained, untrained = _fit(config, data_root).model, build_classifier(config, 3)
    for layer, changes in (("backbone", False), ("logits", True)):
        pairs = zip(trained.get_layer(layer).get_weights(), untrained.get_layer(layer).get_weights(), strict=True)
        assert [np.array_equal(after, before) for after, before in pairs].count(changes) == 0


def test_the_test_split_is_not_read(base: TrainConfig, data_root: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    read: set[str] = set()
    images, labels = Store.images, Store.labels
    monkeypatch.setattr(Store, "images", lambda store, split: read.add(split) or images(store, split))
    monkeypatch.setattr(Store, "labels", lambda store, split: read.add(split) or labels(store, split))
    _fit(base, data_root)
    assert read == {"train", "validation"}


@pytest.mark.slow
def test_two_processes_get_the_same_numbers(
    full_net: TrainConfig, data_root: Path, environment: dict[str, str]
) -> None:
    """Exact floats with everything random switched on, also where one process has trained other nets before."""
    config = _changed(full_net, epochs=2, augment="strong", mixup=0.2, dropout=0.2)
    store = prepared_store(config, data_root)
    other = subprocess.Popen(
        [sys.executable, "-c", FIT_IN_A_PROCESS, config.model_dump_json(), str(data_root)],
        cwd=Path(__file__).parents[2],
        env=environment,
        stdout=subprocess.PIPE,
        text=True,
    )
    result = fit(config, store)
    printed, _ = other.communicate(timeout=300)
    history, probabilities = json.loads(printed.splitlines()[-1])
    assert history == result.history.drop(columns="images_per_second").to_numpy().tolist()
    assert probabilities == result.val_probabilities.tolist()


def test_memory_that_is_short_is_named_with_a_batch_that_may_fit(
    base: TrainConfig, data_root: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def exhausted(*_: object) -> None:
        tf.tile(tf.ones([2**20]), [2**24])  # 64 terabytes

    monkeypatch.setattr(NetworkTrainer, "prepare", exhausted)
    with pytest.raises(
        OutOfMemory, match=r"must fit into memory, got batch_size=4 of 32 px.*try batch_size=2"
    ) as caught:
        _fit(_changed(base, batch_size=4), data_root)
    assert caught.value.state == "out of memory"
