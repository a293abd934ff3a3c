"""What every augmentation policy must keep, and what its changes do to photos whose answer is known."""

from __future__ import annotations

import hashlib
from typing import get_args

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from pipeline.config import Augment, TrainConfig
from pipeline.training import augmentation
from pipeline.training.augmentation import POLICIES, augment

every_policy = pytest.mark.parametrize("policy", POLICIES)
every_change = pytest.mark.parametrize("policy", [policy for policy in POLICIES if policy != "none"])
keys = st.tuples(st.integers(0, 9), st.integers(0, 2**63), st.integers(0, 10_000), st.integers(0, 10**6))


def _photo(side: int = 48) -> np.ndarray:
    return np.random.default_rng(0).integers(0, 256, (side, side, 3), dtype=np.uint8)


def _config(policy: str, **flags: object) -> TrainConfig:
    return TrainConfig(augment=policy, **flags)


def _rng(seed: int = 0) -> np.random.Generator:
    return np.random.default_rng(seed)


def test_every_policy_of_the_flag_exists() -> None:
    assert set(POLICIES) == set(get_args(Augment))


@every_policy
@given(key=keys, side=st.integers(32, 80))
@settings(max_examples=40, deadline=None)
def test_shape_type_and_layout_are_kept(policy: str, key: tuple[int, ...], side: int) -> None:
    photo = _photo(side)
    changed = augment(photo, _config(policy), key)
    assert (changed.shape, changed.dtype) == (photo.shape, np.uint8)
    assert changed.flags.c_contiguous
    np.testing.assert_array_equal(photo, _photo(side))


@every_policy
@given(key=keys, value=st.sampled_from([0, 255]))
@settings(max_examples=40, deadline=None)
def test_black_and_white_photos_stay_in_range(policy: str, key: tuple[int, ...], value: int) -> None:
    # A sum that ran over 255 or below 0 and wrapped round would turn white black.
    changed = augment(np.full((32, 32, 3), value, np.uint8), _config(policy), key)
    assert (np.abs(changed.astype(int) - value) < 160).all()


@every_policy
@given(key=keys)
@settings(max_examples=20, deadline=None)
def test_the_same_key_gives_the_same_bytes(policy: str, key: tuple[int, ...]) -> None:
    np.testing.assert_array_equal(augment(_photo(), _config(policy), key), augment(_photo(), _config(policy), key))


@every_change
@pytest.mark.parametrize("part", ["seed", "epoch", "index"])
def test_another_key_gives_other_bytes(policy: str, part: str) -> None:
    place = ("stream", "seed", "epoch", "index").index(part)
    keys = [(2, *(number if other == place else 5 for other in (1, 2, 3))) for number in range(20)]
    assert len({augment(_photo(), _config(policy), key).tobytes() for key in keys}) == 20


def test_none_is_the_identity() -> None:
    photo = _photo()
    np.testing.assert_array_equal(augment(photo, _config("none"), (2, 0, 1, 0)), photo)


@every_change
def test_a_photo_is_still_recognisable(policy: str) -> None:
    photo = np.zeros((64, 64, 3), np.uint8)
    photo[16:48, 16:48] = (200, 60, 60)
    means = [augment(photo, _config(policy), (2, 0, 1, index)).mean(axis=(0, 1)) for index in range(100)]
    red, green, blue = np.mean(means, axis=0)
    assert red > green + 10  # a red square stays red, so channels are neither swapped nor lost
    assert red > blue + 10


def _share_mirrored(axis: int, **flags: object) -> float:
    """Return in which share of epochs a photo whose one half is bright has its other half brighter."""
    photo = np.zeros((32, 32, 3), np.uint8)
    photo[:16] = photo[:, :16] = 100
    photo[:16, :16] = 200
    config = _config("light", **flags)
    changed = [augment(photo, config, (2, 0, epoch, 0)).astype(int) for epoch in range(200)]
    return float(np.mean([np.take(image, range(16), axis).sum() < image.sum() / 2 for image in changed]))


@pytest.mark.parametrize(("horizontal", "vertical"), [(True, False), (False, False), (False, True), (True, True)])
def test_half_of_the_photos_are_mirrored_by_each_flag_and_none_without(horizontal: bool, vertical: bool) -> None:
    flags = {"horizontal_flip": horizontal, "vertical_flip": vertical}
    for wanted, axis in ((horizontal, 1), (vertical, 0)):
        share = _share_mirrored(axis, **flags)
        assert 0.35 < share < 0.65 if wanted else share == 0  # four standard deviations of 200 throws


def test_a_training_of_before_the_flags_sees_the_same_photos() -> None:
    digest = hashlib.sha256()
    for policy in ("light", "medium", "strong"):
        for index in range(20):
            digest.update(augment(_photo(), _config(policy), (2, 0, 1, index)).tobytes())
    assert digest.hexdigest()[:16] == "cc62a90687052325"


def test_nothing_is_degraded_without_augmentation() -> None:
    with pytest.raises(ValueError, match=r"degrade=0\.5 needs an augmentation, got augment=none"):
        _config("none", degrade=0.5)


def test_nothing_is_mirrored_without_augmentation() -> None:
    with pytest.raises(ValueError, match="vertical_flip=true needs an augmentation, got augment=none"):
        _config("none", vertical_flip=True)


def test_a_share_of_the_photos_is_degraded_and_the_others_stay_as_they_were() -> None:
    photo = _photo()
    pairs = [
        [augment(photo, _config("light", degrade=share), (2, 0, 1, index)) for share in (0.0, 0.3)]
        for index in range(400)
    ]
    changed = [not np.array_equal(plain, degraded) for plain, degraded in pairs]
    assert 0.2 < np.mean(changed) < 0.4  # four standard deviations


@pytest.mark.parametrize("name", augmentation.DEGRADATIONS)
@given(seed=st.integers(0, 10**6), side=st.integers(32, 80))
@settings(max_examples=20, deadline=None)
def test_a_poor_photo_has_less_in_it_and_the_same_shape(name: str, seed: int, side: int) -> None:
    rows, columns = np.indices((side, side))
    photo = np.stack([(rows // 8 + columns // 8) % 2 * 200] * 3, axis=-1).astype(np.uint8)
    poor = augmentation.DEGRADATIONS[name](photo, _rng(seed))
    assert (poor.shape, poor.dtype) == (photo.shape, np.uint8)
    kept = np.corrcoef(poor[..., 0].ravel(), photo[..., 0].ravel())[0, 1] * poor.std() / photo.std()  # of the contrast
    assert 0 < kept < (1.05 if name == "noisy" else 0.95)


def test_noise_of_few_photons_is_as_strong_as_their_number_says() -> None:
    grey = np.full((100, 100, 3), 100, np.uint8)
    noisy = augmentation.shot_noise((50, 50.001))(grey, _rng())
    assert noisy.std() == pytest.approx((100 * 255 / 50) ** 0.5, rel=0.03)
    assert noisy.mean() == pytest.approx(100, abs=0.5)


def test_haze_leaves_the_share_of_contrast_that_comes_through() -> None:
    hazy = augmentation.haze((0.25, 0.25), (200, 200))(np.array([[[0, 100, 200]]], np.uint8), _rng())
    assert hazy.tolist() == [[[150, 175, 200]]]


def test_shift_moves_the_photo_and_stays_below_its_limit() -> None:
    photo = np.zeros((50, 50, 3), np.uint8)
    photo[25, 25] = 255
    change = augmentation.shift(0.1)
    for seed in range(50):
        moved = change(photo, _rng(seed))[:, :, 0].astype(float)
        rows, columns = np.indices(moved.shape)
        centre = (rows * moved).sum() / moved.sum(), (columns * moved).sum() / moved.sum()
        assert max(abs(centre[0] - 25), abs(centre[1] - 25)) < 5.5


def test_warp_without_anything_to_do_is_the_identity() -> None:
    np.testing.assert_array_equal(augmentation.warp((1.0, 1.0), 0.0, 0.0)(_photo(), _rng()), _photo())


def test_warp_fills_borders_from_the_photo_and_not_with_black() -> None:
    white = np.full((32, 32, 3), 255, np.uint8)
    change = augmentation.warp((0.5, 0.5), 45, 0.2)
    assert all((change(white, _rng(seed)) == 255).all() for seed in range(20))


def test_light_and_saturation_without_anything_to_do_are_the_identity() -> None:
    np.testing.assert_array_equal(augmentation.light(0.0, 0.0)(_photo(), _rng()), _photo())
    np.testing.assert_allclose(augmentation.saturation(0.0)(_photo(), _rng()), _photo(), atol=1)


def test_saturation_leaves_grey_alone_and_keeps_the_brightness_of_colours() -> None:
    grey = np.repeat(_photo()[:, :, :1], 3, axis=2)
    np.testing.assert_allclose(augmentation.saturation(0.6)(grey, _rng()).astype(int), grey, atol=1)
    colour = np.full((8, 8, 3), (150, 100, 100), np.uint8)
    luma = np.array([0.299, 0.587, 0.114])
    changed = [augmentation.saturation(0.6)(colour, _rng(seed)) for seed in range(20)]
    np.testing.assert_allclose([(pixels @ luma).mean() for pixels in changed], colour[0, 0] @ luma, atol=1.5)
    assert len({pixels.tobytes() for pixels in changed}) > 10


def test_erase_greys_one_rectangle_below_its_limit() -> None:
    white = np.full((40, 60, 3), 255, np.uint8)
    erased = 0
    for seed in range(100):
        holes = (augmentation.erase(0.5)(white, _rng(seed)) == 127).all(axis=2)
        rows, columns = np.flatnonzero(holes.any(axis=1)), np.flatnonzero(holes.any(axis=0))
        assert holes.sum() == len(rows) * len(columns)
        assert len(rows) <= 20
        assert len(columns) <= 30
        erased += bool(holes.any())
    assert 30 < erased < 70  # four standard deviations of 100 throws
