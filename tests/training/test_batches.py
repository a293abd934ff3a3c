"""Training batches: what an epoch takes, in which order, and that nothing depends on what was drawn before."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from pipeline.config import TrainConfig, TrainingConfig
from pipeline.training.batches import TrainingBatches, augment_rows, seen_photos

CLASSES, SIDE = 3, 32


class PhotosInMemory:
    """As much of a prepared store as training batches read: photo n has the value n everywhere, and class n % 3."""

    class_names = ("blue", "green", "red")

    def __init__(self, count: int) -> None:
        self._count = count

    def images(self, split: str) -> np.ndarray:
        assert split == "train", "training reads no other split"
        return (
            np.ones((self._count, SIDE, SIDE, 3), np.uint8)
            * np.arange(self._count, dtype=np.uint8)[:, None, None, None]
        )

    def labels(self, split: str) -> np.ndarray:
        assert split == "train"
        return np.arange(self._count) % CLASSES


def _batches(count: int = 23, **flags: object) -> TrainingBatches:
    config = TrainingConfig(**{"augment": "none", "batch_size": 5} | flags)
    return TrainingBatches(PhotosInMemory(count), config)  # type: ignore[arg-type]


def _batch(step: int, **flags: object) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Return images and targets of a batch of the first epoch, and the rows that it is of."""
    batches = _batches(**flags)
    order = batches.order(1)
    return *batches.batch(1, step, order), order[5 * step : 5 * step + 5]


def _epoch(batches: TrainingBatches, epoch: int) -> tuple[np.ndarray, np.ndarray]:
    order = batches.order(epoch)
    drawn = [batches.batch(epoch, step, order) for step in range(batches.steps)]
    return np.stack([images for images, _ in drawn]), np.stack([targets for _, targets in drawn])


@given(
    count=st.integers(1, 80), batch_size=st.integers(1, 100), seed=st.integers(0, 2**32 - 1), epoch=st.integers(1, 500)
)
@settings(deadline=None, max_examples=50)
def test_an_epoch_takes_every_photo_at_most_once_and_leaves_less_than_a_batch(
    count: int, batch_size: int, seed: int, epoch: int
) -> None:
    batches = _batches(count, batch_size=batch_size, seed=seed)
    assert sorted(batches.order(epoch)) == list(range(count))
    images, targets = _epoch(batches, epoch)
    assert images.shape == (batches.steps, batches.batch_size, SIDE, SIDE, 3)
    taken = images[..., 0, 0, 0].ravel()
    assert len(set(taken)) == len(taken) > count - min(batch_size, count)
    np.testing.assert_array_equal(targets.reshape(-1, CLASSES), np.eye(CLASSES)[taken % CLASSES])
    assert (images.dtype, targets.dtype) == (np.uint8, np.float32)


def test_orders_differ_between_epochs_and_between_seeds() -> None:
    orders = [_batches(seed=seed).order(epoch).tolist() for seed in (0, 1) for epoch in (1, 2, 3)]
    assert len({tuple(order) for order in orders}) == 6


@pytest.mark.parametrize(
    "flags",
    [{}, {"augment": "strong"}, {"mixup": 0.4}, {"cutmix": 1.0}, {"augment": "medium", "mixup": 0.2, "cutmix": 1.0}],
    ids=repr,
)
def test_a_batch_depends_on_seed_epoch_and_step_alone(flags: dict[str, object]) -> None:
    first = _batches(seed=3, **flags)
    _epoch(first, 1)
    images, targets = _epoch(first, 2)
    later = _batches(seed=3, **flags)  # as after a restart: epoch 1 is not drawn, and the steps come backwards
    order = later.order(2)
    for step in reversed(range(later.steps)):
        again = later.batch(2, step, order)
        np.testing.assert_array_equal(again[0], images[step])
        np.testing.assert_array_equal(again[1], targets[step])


@pytest.mark.parametrize("other", [{"seed": 4}, {"epoch": 3}], ids=repr)
def test_another_seed_or_epoch_changes_a_photo_in_another_way(other: dict[str, int]) -> None:
    def changed(seed: int = 3, epoch: int = 2) -> np.ndarray:
        batches = _batches(seed=seed, augment="strong")
        return batches.batch(epoch, 0, np.arange(23))[0]  # the same five photos whatever the epoch's order

    np.testing.assert_array_equal(changed(), changed())
    assert (changed() != changed(**other)).any(axis=(1, 2, 3)).sum() >= 4


def test_a_photo_is_changed_in_its_own_way_wherever_it_stands_in_the_batch() -> None:
    batches = _batches(augment="strong")
    forwards, _ = batches.batch(1, 0, np.arange(5))
    backwards, _ = batches.batch(1, 0, np.arange(5)[::-1])
    np.testing.assert_array_equal(forwards, backwards[::-1])


def test_equal_photos_of_a_batch_are_changed_in_different_ways() -> None:
    class Equal(PhotosInMemory):
        def images(self, split: str) -> np.ndarray:
            return np.full_like(super().images(split), 120)

    batches = TrainingBatches(Equal(8), TrainingConfig(augment="strong", batch_size=8))  # type: ignore[arg-type]
    images, _ = batches.batch(1, 0, np.arange(8))
    assert len({photo.tobytes() for photo in images}) == 8


@given(alpha=st.floats(0.01, 10), seed=st.integers(0, 2**32 - 1), step=st.integers(0, 3))
@settings(deadline=None, max_examples=50)
def test_mixup_blends_photos_and_targets_in_the_same_shares(alpha: float, seed: int, step: int) -> None:
    images, targets, rows = _batch(step, mixup=alpha, seed=seed)
    np.testing.assert_allclose(targets.sum(axis=1), 1, rtol=1e-5)
    assert (targets >= 0).all()
    assert (images.dtype, targets.dtype) == (np.uint8, np.float32)
    own, others = np.eye(CLASSES)[rows % CLASSES], np.eye(CLASSES)[rows[::-1] % CLASSES]
    differ = (own != others).any(axis=1)
    if not differ.any():
        return
    share = (targets * own).sum(axis=1)[differ][0]
    np.testing.assert_allclose(targets, share * own + (1 - share) * others, atol=1e-5)
    np.testing.assert_allclose(images[:, 0, 0, 0], share * rows + (1 - share) * rows[::-1], atol=0.51)


@given(alpha=st.floats(0.1, 10), seed=st.integers(0, 2**32 - 1), step=st.integers(0, 3))
@settings(deadline=None, max_examples=50)
def test_cutmix_pastes_a_rectangle_and_shares_targets_by_area(alpha: float, seed: int, step: int) -> None:
    images, targets, rows = _batch(step, cutmix=alpha, seed=seed)
    others = rows[::-1]
    mine = images == rows[:, None, None, None]
    assert (mine | (images == others[:, None, None, None])).all()
    place = mine[rows != others][0, :, :, 0]  # the same in every photo
    assert (mine[rows != others] == place[..., None]).all()
    share = place.mean()
    pasted = ~place
    assert pasted.sum() == pasted.any(axis=0).sum() * pasted.any(axis=1).sum()  # a rectangle
    wanted = share * np.eye(CLASSES)[rows % CLASSES] + (1 - share) * np.eye(CLASSES)[others % CLASSES]
    np.testing.assert_allclose(targets, wanted, atol=1e-6)
    assert (images.dtype, targets.dtype) == (np.uint8, np.float32)


def test_of_two_mixes_every_batch_draws_one() -> None:
    batches = _batches(count=80, mixup=0.4, cutmix=1.0)
    images = np.concatenate([_epoch(batches, epoch)[0] for epoch in range(1, 6)])
    even = (images == images[:, :, :1, :1]).all(axis=(1, 2, 3, 4))  # photos are of one colour, until one is cut
    assert 20 < even.sum() < 60  # of 80 batches


def test_mixup_draws_another_share_for_every_batch() -> None:
    targets = _epoch(_batches(count=80, mixup=0.4), 1)[1]
    assert len({share for share in targets.ravel().round(4) if 0 < share < 0.5}) > 10  # of 16 batches


def test_a_store_smaller_than_a_batch_makes_one_batch_of_all() -> None:
    batches = _batches(count=3, batch_size=32)
    assert (batches.batch_size, batches.steps) == (3, 1)


def test_augmented_photos_are_copies_and_the_store_stays_as_it_is(tmp_path: Path) -> None:
    class OnDisk(PhotosInMemory):
        def images(self, split: str) -> np.ndarray:
            np.save(tmp_path / "train.npy", super().images(split))
            return np.load(tmp_path / "train.npy", mmap_mode="r")

    batches = TrainingBatches(OnDisk(10), TrainingConfig(augment="none", batch_size=5))  # type: ignore[arg-type]
    images, _ = batches.batch(1, 0, batches.order(1))
    images[:] = 0
    np.testing.assert_array_equal(np.load(tmp_path / "train.npy"), PhotosInMemory(10).images("train"))


@pytest.mark.parametrize("first_step", [0, 1, 3, 4])
@pytest.mark.parametrize("flags", [{}, {"augment": "medium", "mixup": 0.2}], ids=repr)
def test_the_data_set_of_an_epoch_yields_the_same_batches_from_any_step_on(
    flags: dict[str, object], first_step: int
) -> None:
    batches = _batches(**flags)
    assert batches.steps == 4
    drawn = [(images.numpy(), targets.numpy()) for images, targets in batches.epoch(2, first_step)]
    order = batches.order(2)
    wanted = [batches.batch(2, step, order) for step in range(first_step, batches.steps)]
    assert len(drawn) == len(wanted)
    for (images, targets), (wanted_images, wanted_targets) in zip(drawn, wanted, strict=True):
        np.testing.assert_array_equal(images, wanted_images)
        np.testing.assert_array_equal(targets, wanted_targets)


def test_features_stand_in_for_photos() -> None:
    config = TrainingConfig(augment="medium", batch_size=5, freeze_backbone=True)
    features = {epoch: np.random.default_rng(epoch).normal(size=(10, 7)).astype(np.float32) for epoch in (1, 2)}
    batches = TrainingBatches(PhotosInMemory(10), config, features=features.__getitem__)  # type: ignore[arg-type]
    drawn = np.concatenate([inputs.numpy() for inputs, _ in batches.epoch(2)])
    np.testing.assert_array_equal(drawn, features[2][batches.order(2)])


def _seen(rows: tuple[int, ...] = (0, 1, 2), **flags: object) -> dict[str, np.ndarray]:
    config = TrainConfig(**{"weights": "none", "epochs": 8, "image_size": SIDE} | flags)
    return seen_photos(PhotosInMemory(23), config, np.array(rows), most_epochs=4)  # type: ignore[arg-type]


def test_photos_are_shown_as_the_network_sees_them() -> None:
    store, rows = PhotosInMemory(23), np.arange(3)
    config = TrainConfig(epochs=8, image_size=SIDE, augment="strong")
    seen = _seen(augment="strong")
    assert list(seen) == ["photo", "epoch 1", "epoch 2", "epoch 3", "epoch 4"]
    np.testing.assert_array_equal(seen["photo"], store.images("train")[:3])
    np.testing.assert_array_equal(seen["epoch 3"], augment_rows(store.images("train"), rows, config, epoch=3))


def test_photos_that_never_change_are_shown_once() -> None:
    assert list(_seen(augment="none")) == ["photo", "epoch 1"]
    assert list(_seen(augment="none", mixup=0.2)) == ["photo", "epoch 1", "epoch 2", "epoch 3", "epoch 4"]


def test_mixed_photos_are_shown_mixed_and_features_are_of_no_mix() -> None:
    rows = (0, 10, 20)
    assert len({photo.tobytes() for photo in _seen(rows, augment="none", cutmix=1.0)["epoch 1"]}) == 3
    mixed = [set(np.unique(images[0])) for images in _seen(rows, augment="none", cutmix=1.0).values()]
    assert {0, 20} in mixed
    frozen = _seen(rows, augment="none", cutmix=1.0, freeze_backbone=True, warmup_epochs=0)
    np.testing.assert_array_equal(frozen["epoch 1"], frozen["photo"])


def test_of_a_frozen_backbone_and_of_the_last_phase_the_epochs_are_theirs() -> None:
    assert list(_seen(freeze_backbone=True, feature_views=2)) == ["photo", "epoch 1", "epoch 2"]
    assert list(_seen(head_epochs=6)) == ["photo", "epoch 7", "epoch 8"]
