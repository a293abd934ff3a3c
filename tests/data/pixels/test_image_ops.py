"""The image operations: what each does to a picture whose answer is known, and which spellings are refused."""

from __future__ import annotations

import json
import shutil
from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import asdict
from pathlib import Path

import cv2
import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from pipeline.config import DataConfig, UserError
from pipeline.data.pixels.image_ops import IMAGE_OPS, SIZE, Parameter, apply_ops, check_ops, stages
from pipeline.data.splits.assignment import SPLITS
from pipeline.data.store.stages import stages_of_photos
from pipeline.data.store.store import prepared_store
from pipeline.plots import draw_stages
from pipeline.serving.classifier import ABOUT_FILE, About, Classifier
from tests.conftest import images_of, rows_of

every_op = pytest.mark.parametrize("name", IMAGE_OPS)
PROMISED = (
    *("opening", "closing", "erosion", "dilation", "gradient", "top_hat", "black_hat", "clahe", "equalize", "grey"),
    *("gaussian_blur", "median_blur", "bilateral_blur", "unsharp", "canny", "grabcut", "hsv_mask"),
)


def _noise(height: int = 40, width: int = 30) -> np.ndarray:
    return np.random.default_rng(0).integers(0, 256, (height, width, 3), dtype=np.uint8)


def _flower(side: int = 48, noise: int = 12) -> np.ndarray:
    """A red disc with a yellow heart on uneven green."""
    rng = np.random.default_rng(0)
    image = np.empty((side, side, 3), np.uint8)
    image[:] = (40, 140, 50)
    cv2.circle(image, (side // 2, side // 2), side // 3, (210, 60, 70), -1)
    cv2.circle(image, (side // 2, side // 2), side // 8, (230, 210, 60), -1)
    return np.clip(image + rng.integers(-noise, noise + 1, image.shape), 0, 255).astype(np.uint8)


def _dot(dot: int, ground: int) -> np.ndarray:
    """A single pixel of value ``dot`` on even ground."""
    image = np.full((15, 15, 3), ground, np.uint8)
    image[7, 7] = dot
    return image


def _values(parameter: Parameter) -> st.SearchStrategy[int]:
    inside = st.integers(parameter.lowest, parameter.highest)
    return inside.map(lambda value: value - (value % 2 == 0)) if parameter.odd else inside


def _spelled(name: str, values: Sequence[int]) -> str:
    return ":".join([name, *map(str, values)])


@st.composite
def _images(draw: st.DrawFn) -> np.ndarray:
    """Any size, from one pixel on, and from noise to one even colour."""
    height, width, levels = draw(st.integers(1, 40)), draw(st.integers(1, 40)), draw(st.sampled_from([1, 2, 4, 256]))
    rng = np.random.default_rng(draw(st.integers(0, 9)))
    return (rng.integers(0, levels, (height, width, 3)) * (255 // max(levels - 1, 1))).astype(np.uint8)


@every_op
@given(data=st.data())
@settings(max_examples=15, deadline=None)
def test_any_picture_keeps_shape_and_type_and_is_not_written_to(name: str, data: st.DataObject) -> None:
    image = data.draw(_images())
    op = _spelled(name, [data.draw(_values(parameter)) for parameter in IMAGE_OPS[name].parameters])
    check_ops([op])
    before = image.copy()
    image.setflags(write=False)
    changed = apply_ops(image, [op])
    assert (changed.shape, changed.dtype) == (image.shape, np.uint8)
    np.testing.assert_array_equal(image, before)
    np.testing.assert_array_equal(changed, apply_ops(image, [op]))


def test_every_promised_operation_is_there() -> None:
    assert set(IMAGE_OPS) == set(PROMISED)


@every_op
def test_every_operation_changes_a_photo_and_says_so_by_its_defaults(name: str) -> None:
    changed = apply_ops(_flower(), [name])
    assert (changed != _flower()).any()
    full = _spelled(name, [parameter.default for parameter in IMAGE_OPS[name].parameters])
    np.testing.assert_array_equal(changed, apply_ops(_flower(), [full]))


@every_op
def test_every_parameter_changes_the_pixels(name: str) -> None:
    parameters = IMAGE_OPS[name].parameters
    photo, defaults = _flower(noise=90), [parameter.default for parameter in parameters]
    for place, parameter in enumerate(parameters):
        values = {value: [*defaults] for value in (parameter.lowest, parameter.default, parameter.highest)}
        for value, spelled in values.items():
            spelled[place] = value
        results = {apply_ops(photo, [_spelled(name, spelled)]).tobytes() for spelled in values.values()}
        assert len(results) > 1, parameter


def test_threads_get_the_same_pixels() -> None:
    """GrabCut draws random numbers; OpenCV has a generator per thread."""
    rng = np.random.default_rng(1)
    photos = [rng.integers(0, 256, (24, 24, 3), dtype=np.uint8) for _ in range(24)]
    alone = [apply_ops(photo, ["grabcut"]) for photo in photos]
    with ThreadPoolExecutor(4) as pool:
        together = list(pool.map(lambda photo: apply_ops(photo, ["grabcut"]), photos))
    np.testing.assert_array_equal(alone, together)


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


def test_clahe_stretches_the_contrast_of_a_dull_photo() -> None:
    ramp = np.repeat(np.linspace(100, 140, 64).astype(np.uint8)[None, :, None], 3, axis=2).repeat(64, axis=0)
    assert np.ptp(apply_ops(ramp, ["clahe:4"])) > 1.2 * np.ptp(ramp)


def test_bilateral_blur_smooths_and_keeps_edges_where_gaussian_blur_does_not() -> None:
    noise = np.random.default_rng(0).integers(-5, 6, (32, 32, 1))
    step = np.where(np.arange(32)[None, :, None] < 16, 60, 200) + noise
    image = np.repeat(step, 3, axis=2).astype(np.uint8)
    kept, lost = (apply_ops(image, [op]).astype(int) for op in ("bilateral_blur:5", "gaussian_blur:5"))
    assert kept[:, :12].std() < image[:, :12].std() / 1.5
    assert (kept[:, 16] - kept[:, 15]).min() > 110
    assert (lost[:, 16] - lost[:, 15]).max() < 90


def test_unsharp_deepens_the_difference_at_an_edge() -> None:
    image = np.repeat(np.where(np.arange(32) < 16, 100, 150)[None, :, None], 32, axis=0).repeat(3, axis=2)
    sharp = apply_ops(image.astype(np.uint8), ["unsharp"]).astype(int)
    assert sharp[5, 16, 0] - sharp[5, 15, 0] > 60
    assert (sharp[5, 2, 0], sharp[5, 30, 0]) == (100, 150)


def test_canny_puts_the_outline_into_blue_and_leaves_red_and_green() -> None:
    square = np.zeros((32, 32, 3), np.uint8)
    square[8:24, 8:24] = (200, 150, 100)
    edged = apply_ops(square, ["canny"])
    np.testing.assert_array_equal(edged[..., :2], square[..., :2])
    assert set(np.unique(edged[..., 2])) == {0, 255}
    assert edged[16, 7:9, 2].any()
    assert not edged[11:21, 11:21, 2].any()


@pytest.mark.parametrize("op", ["grabcut", "hsv_mask"])
def test_background_becomes_black_and_the_flower_stays(op: str) -> None:
    flower, cut = _flower(), apply_ops(_flower(), [op])
    middle, corner = slice(18, 30), slice(0, 8)
    np.testing.assert_array_equal(cut[middle, middle], flower[middle, middle])
    assert not cut[corner, corner].any()


def test_a_photo_that_is_all_background_stays_as_it_is() -> None:
    leaf = np.full((20, 20, 3), (40, 140, 50), np.uint8)
    np.testing.assert_array_equal(apply_ops(leaf, ["hsv_mask"]), leaf)


def test_hues_may_go_round_through_red() -> None:
    colours = np.array([[[255, 0, 30], [255, 30, 0], [0, 255, 0]]], np.uint8)
    assert apply_ops(colours, ["hsv_mask:170:10"]).any(axis=2).tolist() == [[False, False, True]]


@pytest.mark.parametrize(
    "ops",
    [
        [],
        ["opening"],
        ["opening:5", "gradient"],
        ["grey"],
        ["erosion:1"],
        [f"closing:{SIZE.highest}"],
        ["canny:50"],
        ["canny:50:150"],
    ],
)
def test_good_spellings_pass(ops: list[str]) -> None:
    check_ops(ops)
    apply_ops(_noise(), ops)


@pytest.mark.parametrize(
    "op",
    [
        *["", "sharpen", "Opening", "opening 5", "opening:4", "opening:0", "opening:-3", f"opening:{SIZE.highest + 2}"],
        *["opening:3.0", "opening:x", "opening:5:5", "opening:²", "opening: 5"],
        *["opening:", "grey:3", "equalize:", "canny:100:200:300", "canny::200", "canny:-1", "clahe:0", "grabcut:46"],
        *["hsv_mask:180", "unsharp:1", "unsharp:5:501", "bilateral_blur:4"],
    ],
)
def test_bad_spellings_are_the_users_mistake(op: str) -> None:
    with pytest.raises(UserError, match="image_ops") as error:
        check_ops(["grey", op])
    assert len(str(error.value).splitlines()) == 1
    assert repr(op) in str(error.value)


def test_a_refusal_says_what_the_operation_takes() -> None:
    with pytest.raises(UserError, match=r"canny takes 2 \(lower threshold, 0 to 2000; upper .* \(try canny:100:200\)"):
        check_ops(["canny:high"])
    with pytest.raises(UserError, match=r"grey takes none \(try grey\)"):
        check_ops(["grey:3"])


# ---- the same pixels everywhere


class _Eye(Classifier):
    """A classifier that keeps what its network would see."""

    def probabilities(self, images: np.ndarray) -> np.ndarray:
        self.seen = images
        return np.full((len(images), 2), 0.5)


@pytest.fixture(scope="module")
def few_photos(photo_folder: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("few")
    for name in ("blue", "red"):
        (folder / name).mkdir()
        for photo in sorted((photo_folder / name).iterdir())[:3]:
            shutil.copy(photo, folder / name)
    return folder


@every_op
def test_served_pixels_are_the_stored_ones(name: str, few_photos: Path, tmp_path: Path) -> None:
    config = DataConfig(data=str(few_photos), image_size=32, image_ops=("gaussian_blur", name))
    store = prepared_store(config, tmp_path / "data")
    about = About(store.class_names, 32, config.resize, config.image_ops, store.digest, str(few_photos), {})
    (tmp_path / ABOUT_FILE).write_text(json.dumps(asdict(about)))
    eye = _Eye(tmp_path)
    for split in SPLITS:
        photos = [(few_photos / path).read_bytes() for path in rows_of(store, split)["path"]]
        assert eye.predict(photos)["error"].isna().all()
        np.testing.assert_array_equal(eye.seen, images_of(store, split))


def test_the_sheet_shows_a_photo_per_class_before_and_after_each_operation(few_photos: Path, tmp_path: Path) -> None:
    config = DataConfig(data=str(few_photos), image_size=32, image_ops=("grey", "opening:5", "grey"))
    store = prepared_store(config, tmp_path / "data")
    images = stages_of_photos(store, config)
    assert list(images) == ["blue", "red"]
    for name, photos in images.items():
        assert list(photos) == ["before", "1. grey", "2. opening:5", "3. grey"]
        first = int((store.rows("train")["label"] == name).to_numpy().argmax())
        np.testing.assert_array_equal(photos["3. grey"], store.images("train")[first])
        assert (photos["before"] != photos["1. grey"]).any()
    draw_stages(images, "Operations").savefig(tmp_path / "sheet.png")


def test_stages_are_what_comes_out_on_the_way() -> None:
    steps = dict(stages(_noise(), ["grey", "opening:5"]))
    np.testing.assert_array_equal(steps["grey"], apply_ops(_noise(), ["grey"]))
    np.testing.assert_array_equal(steps["opening:5"], apply_ops(_noise(), ["grey", "opening:5"]))
