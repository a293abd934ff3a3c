"""Phases of a training: which epochs they take, what they hand on, and that they do what they say."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from pipeline.config import TrainConfig, UserError
from pipeline.data.store.store import Store, prepared_store
from pipeline.models.builder import build_classifier
from pipeline.training import trainer
from pipeline.training.batches import TrainingBatches
from pipeline.training.checkpoint import Checkpoints
from pipeline.training.loop import FitResult, fit
from pipeline.training.phases import phases_of


@pytest.fixture
def base(photo_folder: Path, small_net: None) -> TrainConfig:
    return TrainConfig(
        weights="none",
        data=str(photo_folder), image_size=64, val_fraction=0.3, epochs=4, batch_size=4, augment="light",
        precision="float32",
    )  # fmt: skip


@pytest.fixture
def store(base: TrainConfig, tmp_path: Path) -> Store:
    return prepared_store(base, tmp_path)


def _changed(config: TrainConfig, **changes: object) -> TrainConfig:
    return TrainConfig(**config.model_dump() | changes)


def _rates(result: FitResult) -> list[float]:
    return result.history["learning_rate"].tolist()


def test_most_trainings_have_one_phase() -> None:
    config = TrainConfig(weights="none", epochs=7)
    (phase,) = phases_of(config)
    assert (phase.config, phase.pixels, phase.first, phase.last) == (config, config.image_size, 1, 7)


@given(
    epochs=st.integers(2, 60),
    head_epochs=st.integers(0, 59),
    sizes=st.tuples(st.integers(0, 8), st.integers(1, 8)).filter(lambda sizes: sizes[0] <= sizes[1]),
)
def test_phases_take_every_epoch_once_and_sizes_grow(epochs: int, head_epochs: int, sizes: tuple[int, int]) -> None:
    head_epochs = min(head_epochs, epochs - 1)
    start, full = (32 * size for size in sizes)
    phases = phases_of(
        TrainConfig(weights="none", epochs=epochs, head_epochs=head_epochs, start_size=start, image_size=full)
    )
    assert [epoch for phase in phases for epoch in range(phase.first, phase.last + 1)] == list(range(1, epochs + 1))
    of_all = [phase for phase in phases if not phase.config.freeze_backbone]
    assert sum(phase.last - phase.first + 1 for phase in phases if phase.config.freeze_backbone) == head_epochs
    assert [phase.pixels for phase in of_all] == sorted({phase.pixels for phase in of_all})
    assert of_all[-1].pixels == full
    assert all(phase.config == of_all[0].config for phase in of_all)
    assert of_all[0].config.epochs == epochs - head_epochs


def test_growing_photos_share_one_schedule(base: TrainConfig, store: Store, monkeypatch: pytest.MonkeyPatch) -> None:
    sides: list[int] = []
    draw = TrainingBatches.batch

    def noted(batches: TrainingBatches, epoch: int, step: int, order: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
        images, targets = draw(batches, epoch, step, order)
        sides.append(images.shape[1])
        return images, targets

    monkeypatch.setattr(TrainingBatches, "batch", noted)
    grown = fit(_changed(base, start_size=32), store)
    assert sides == sorted(sides)
    assert set(sides) == {32, 64}
    assert grown.model.input_shape == (None, 64, 64, 3)
    assert _rates(grown) == _rates(fit(base, store))
    assert grown.history["train_loss"].iloc[-1] < grown.history["train_loss"].iloc[0]


def test_the_head_begins_and_the_rest_goes_on_from_it(base: TrainConfig, store: Store) -> None:
    config = _changed(base, head_epochs=2, unfreeze_from="stage1", unfreeze_lr_factor=0.2, lr_schedule="constant")
    result = fit(config, store)
    head_only = fit(_changed(base, epochs=2, freeze_backbone=True, lr_schedule="constant", warmup_epochs=1), store)
    columns = ["train_loss", "val_loss", "val_accuracy"]
    np.testing.assert_array_equal(result.history[columns][:2], head_only.history[columns])
    assert (store.folder / "features").is_dir()
    assert _rates(result)[1] == pytest.approx(base.learning_rate)
    assert _rates(result)[-1] == pytest.approx(0.2 * base.learning_rate)
    assert result.history["val_loss"].iloc[2] < 1.5 * result.history["val_loss"].iloc[1]


def test_stages_before_the_named_one_stay_as_they_were(base: TrainConfig, store: Store) -> None:
    config = _changed(base, unfreeze_from="stage1", learning_rate=0.01)
    trained, untrained = fit(config, store).model, build_classifier(config, 3)
    layers = zip(untrained.get_layer("backbone").layers, trained.get_layer("backbone").layers, strict=True)
    pairs = [
        (left.name, before, after)
        for left, right in layers
        for before, after in zip(left.get_weights(), right.get_weights(), strict=True)
    ]
    changed = {name for name, before, after in pairs if not np.array_equal(before, after)}
    unchanged = {name for name, before, after in pairs if np.array_equal(before, after)}
    assert unchanged
    assert not any(name.startswith("stack") for name in unchanged)
    assert changed
    assert all(name.startswith("stack") for name in changed)


@pytest.mark.parametrize(("stage", "share"), [("stem", 1.0), ("stage2", 0.98), ("stage4", 0.76)])
def test_a_later_stage_leaves_less_to_train(stage: str, share: float) -> None:
    model = build_classifier(TrainConfig(weights="none", unfreeze_from=stage), 5)
    trainable = sum(weight.shape.num_elements() for weight in model.trainable_weights)
    everything = sum(
        weight.shape.num_elements() for weight in build_classifier(TrainConfig(weights="none"), 5).trainable_weights
    )
    assert trainable / everything == pytest.approx(share, abs=0.02)


def _stop(config: TrainConfig, store: Store, checkpoints: Checkpoints, epoch: int) -> None:
    """Stop the training after two steps of the epoch."""
    draw = TrainingBatches.batch

    def interrupted(batches: TrainingBatches, drawn_epoch: int, step: int, order: np.ndarray) -> object:
        if drawn_epoch == epoch and step == 2:
            raise RuntimeError("stop")
        return draw(batches, drawn_epoch, step, order)

    with pytest.MonkeyPatch.context() as patched:
        patched.setattr(TrainingBatches, "batch", interrupted)
        with pytest.raises(Exception, match="stop"):
            fit(config, store, checkpoints=checkpoints)


@pytest.mark.slow
@pytest.mark.parametrize("changes", [{"head_epochs": 2}, {"start_size": 32, "ema": 0.9}], ids=str)
@pytest.mark.parametrize("stopped_in", [2, 3])  # the last epoch of the first phase, the first of the last
def test_a_stop_in_any_phase_changes_nothing(
    base: TrainConfig, store: Store, tmp_path: Path, changes: dict[str, object], stopped_in: int
) -> None:
    config = _changed(base, **changes)
    checkpoints = Checkpoints(tmp_path / "checkpoints", {}, min_interval_s=0)
    _stop(config, store, checkpoints, stopped_in)
    gone_on, whole = fit(config, store, checkpoints=checkpoints), fit(config, store)
    columns = [name for name in whole.history if name != "images_per_second"]
    np.testing.assert_array_equal(gone_on.history[columns], whole.history[columns])
    for left, right in zip(gone_on.model.get_weights(), whole.model.get_weights(), strict=True):
        np.testing.assert_array_equal(left, right)


def test_a_training_does_not_go_on_in_another_number_format(
    base: TrainConfig, store: Store, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """As when the remembered measurement of which is faster is lost, and comes out otherwise."""
    checkpoints = Checkpoints(tmp_path / "checkpoints", {}, min_interval_s=0)
    _stop(base, store, checkpoints, 1)
    monkeypatch.setattr(trainer, "choose_precision", lambda *_: "bfloat16")
    with pytest.raises(UserError, match="got bfloat16 instead of float32"):
        fit(base, store, checkpoints=checkpoints)


@pytest.mark.parametrize("changes", [{"head_epochs": 4}, {"start_size": 32}], ids=str)
def test_patience_is_for_the_last_phase(base: TrainConfig, store: Store, changes: dict[str, object]) -> None:
    """A head, or small photos, that stop improving are no reason not to go on to what comes after."""
    config = _changed(base, epochs=8, patience=1, learning_rate=1e-9, **changes)
    assert len(fit(config, store).history) == 6
