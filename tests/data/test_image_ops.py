"""The image operations: what each does to a picture whose answer is known, and which spellings are refused."""

from __future__ import annotations

import numpy as np
import pytest

from pipeline.config import UserError
from pipeline.data.image_ops import DEFAULT_KERNEL, IMAGE_OPS, MAX_KERNEL, apply_ops, check_ops

every_op = pytest.mark.parametrize("name", IMAGE_OPS)


def _noise(height: int = 40, width: int = 30) -> np.ndarray:
    return np.random.default_rng(0).integers(0, 256, (height, width, 3), dtype=np.uint8)


def _dot(dot: int, ground: int) -> np.ndarray:
    """A single pixel of value ``dot`` on even ground."""
    image = np.full((15, 15, 3), ground, np.uint8)
    image[7, 7] = dot
    return image


@every_op
@pytest.mark.parametrize("size", [1, 3, MAX_KERNEL])
def test_shape_type_and_input_are_kept(name: str, size: int) -> None:
    for height, width in [(40, 30), (1, 1), (1, 50)]:
        image = _noise(height, width)
        changed = apply_ops(image, [f"{name}:{size}"])
        assert (changed.shape, changed.dtype) == (image.shape, np.uint8)
        np.testing.assert_array_equal(image, _noise(height, width))


@every_op
def test_every_operation_changes_a_photo_and_says_so_by_its_default_kernel(name: str) -> None:
    changed = apply_ops(_noise(), [name])
    assert (changed != _noise()).any()
    np.testing.assert_array_equal(changed, apply_ops(_noise(), [f"{name}:{DEFAULT_KERNEL}"]))


def test_no_operations_change_nothing() -> None:
    np.testing.assert_array_equal(apply_ops(_noise(), ()), _noise())


@pytest.mark.parametrize(
    ("name", "dot", "ground", "expected"),
    [
        ("erosion", 200, 50, 50),
        ("erosion", 50, 200, 50),
        ("dilation", 200, 50, 200),
        ("dilation", 50, 200, 200),
        ("opening", 200, 50, 50),  # a bright dot goes
        ("opening", 50, 200, 50),  # a dark one stays
        ("closing", 200, 50, 200),
        ("closing", 50, 200, 200),
        ("gradient", 200, 50, 150),
        ("top_hat", 200, 50, 150),
        ("top_hat", 50, 200, 0),
        ("black_hat", 200, 50, 0),
        ("black_hat", 50, 200, 150),
        ("median_blur", 200, 50, 50),
        ("grey", 200, 50, 200),
    ],
)
def test_what_becomes_of_a_dot(name: str, dot: int, ground: int, expected: int) -> None:
    assert apply_ops(_dot(dot, ground), [name])[7, 7].tolist() == [expected] * 3


def test_the_kernel_size_is_the_size_of_what_disappears() -> None:
    square = np.zeros((31, 31, 3), np.uint8)
    square[13:18, 13:18] = 255  # 5 x 5
    assert apply_ops(square, ["opening:3"]).any()
    assert not apply_ops(square, ["opening:7"]).any()


def test_blur_keeps_the_sum_and_spreads_it() -> None:
    blurred = apply_ops(_dot(255, 0), ["gaussian_blur:5"])[:, :, 0]
    assert float(blurred.sum()) == pytest.approx(255, abs=12)  # rounding of 25 pixels
    assert np.count_nonzero(blurred) > 9
    assert blurred.max() == blurred[7, 7] < 255


def test_grey_weighs_red_green_and_blue_in_this_order() -> None:
    colours = np.array([[[255, 0, 0], [0, 255, 0], [0, 0, 255]]], np.uint8)
    assert apply_ops(colours, ["grey"])[0].tolist() == [[76] * 3, [150] * 3, [29] * 3]  # ITU-R BT.601


def test_equalize_stretches_a_dull_photo_over_the_whole_range_and_keeps_grey_grey() -> None:
    ramp = np.repeat(np.linspace(100, 140, 64).astype(np.uint8)[None, :, None], 3, axis=2).repeat(8, axis=0)
    equalized = apply_ops(ramp, ["equalize"])
    assert (equalized.min(), equalized.max()) == (0, 255)
    assert (np.ptp(equalized.astype(int), axis=2) <= 2).all()


def test_operations_are_applied_in_order() -> None:
    dot = _dot(255, 0)
    assert not apply_ops(dot, ["erosion", "dilation"]).any()
    assert apply_ops(dot, ["dilation", "erosion"]).any()


@pytest.mark.parametrize(
    "ops", [[], ["opening"], ["opening:5", "gradient"], ["grey"], ["erosion:1"], [f"closing:{MAX_KERNEL}"]]
)
def test_good_spellings_pass(ops: list[str]) -> None:
    check_ops(ops)
    apply_ops(_noise(), ops)


@pytest.mark.parametrize(
    "op",
    [
        *["", "sharpen", "Opening", "opening 5", "opening:4", "opening:0", "opening:-3", f"opening:{MAX_KERNEL + 2}"],
        *["opening:3.0", "opening:x", "opening:5:5", "opening:²", "opening: 5"],
    ],
)
def test_bad_spellings_are_the_users_mistake(op: str) -> None:
    with pytest.raises(UserError, match="image_ops") as error:
        check_ops(["grey", op])
    assert len(str(error.value).splitlines()) == 1
    assert repr(op) in str(error.value)
