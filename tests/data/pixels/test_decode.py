"""What every kind of photo decodes to, what is refused, and how a photo becomes the network's square."""

from __future__ import annotations

import io
import struct
import time
import warnings
import zlib
from concurrent.futures import ThreadPoolExecutor
from threading import Event

import cv2
import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from PIL import Image, features

from pipeline.data.pixels.decode import MAX_PIXELS, RESIZERS, BadImage, decode, prepare

RED = (220, 30, 40)
ORIENTATION = 0x0112  # the EXIF tag
FORMATS = ["JPEG", "PNG", "WEBP", "BMP", "TIFF", "GIF"] + ["AVIF"] * features.check("avif")
LOSSLESS = ["PNG", "BMP", "TIFF"]


def _encoded(image: Image.Image, file_format: str, **options: object) -> bytes:
    buffer = io.BytesIO()
    image.save(buffer, file_format, **options)
    return buffer.getvalue()


def _plain(mode: str = "RGB", size: tuple[int, int] = (20, 12)) -> Image.Image:
    return Image.new("RGB", size, RED).convert(mode)


def _noise(height: int = 100, width: int = 140) -> np.ndarray:
    return np.random.default_rng(0).integers(0, 256, (height, width, 3), dtype=np.uint8)


def _chunk(name: bytes, content: bytes) -> bytes:
    return struct.pack(">I", len(content)) + name + content + struct.pack(">I", zlib.crc32(name + content))


def _png_that_claims(width: int, height: int) -> bytes:
    """A PNG of some 60 bytes whose header promises width x height RGB pixels."""
    header = struct.pack(">IIBBBBB", width, height, 8, 2, 0, 0, 0)
    return b"\x89PNG\r\n\x1a\n" + _chunk(b"IHDR", header) + _chunk(b"IDAT", zlib.compress(b"")) + _chunk(b"IEND", b"")


def _assert_all(pixels: np.ndarray, colour: tuple[int, int, int], tolerance: int = 4) -> None:
    assert pixels.dtype == np.uint8
    assert pixels.ndim == 3
    assert np.abs(pixels.astype(int) - colour).max() <= tolerance


@pytest.mark.parametrize("file_format", FORMATS)
def test_a_red_photo_is_red(file_format: str) -> None:
    pixels = decode(_encoded(_plain(), file_format))
    assert pixels.shape == (12, 20, 3)
    _assert_all(pixels, RED)


@pytest.mark.parametrize("file_format", LOSSLESS)
def test_a_lossless_photo_keeps_every_pixel(file_format: str) -> None:
    np.testing.assert_array_equal(decode(_encoded(Image.fromarray(_noise()), file_format)), _noise())


def test_four_printing_colours_become_three() -> None:
    _assert_all(decode(_encoded(_plain("CMYK"), "JPEG")), RED)
    _assert_all(decode(_encoded(_plain("CMYK"), "TIFF")), RED)


@pytest.mark.parametrize("file_format", ["JPEG", "PNG", "WEBP", "TIFF"])
def test_grey_has_three_equal_channels(file_format: str) -> None:
    _assert_all(decode(_encoded(Image.new("L", (20, 12), 90), file_format)), (90, 90, 90), tolerance=1)


def test_black_and_white_has_three_channels() -> None:
    _assert_all(decode(_encoded(Image.new("1", (20, 12), 1), "PNG")), (255, 255, 255), tolerance=0)


@pytest.mark.parametrize("file_format", ["PNG", "GIF"])
def test_a_palette_becomes_its_colours(file_format: str) -> None:
    photo = _plain().quantize(4)
    assert photo.mode == "P"
    _assert_all(decode(_encoded(photo, file_format)), RED)


@pytest.mark.parametrize("file_format", ["PNG", "TIFF"] + ["JPEG2000"] * features.check("jpg_2000"))
def test_sixteen_bits_are_scaled_and_not_cut(file_format: str) -> None:
    grey = Image.fromarray(np.full((12, 20), 0x8000, np.uint16))
    _assert_all(decode(_encoded(grey, file_format)), (128, 128, 128), tolerance=1)


def test_sixteen_bits_in_colour() -> None:
    blue_green_red = np.full((12, 20, 3), (0x1000, 0x4000, 0xC000), np.uint16)
    _assert_all(decode(cv2.imencode(".png", blue_green_red)[1].tobytes()), (0xC0, 0x40, 0x10), tolerance=1)


UPRIGHT = {
    1: lambda x: x,
    2: lambda x: x[:, ::-1],
    3: lambda x: x[::-1, ::-1],
    4: lambda x: x[::-1],
    5: lambda x: x.transpose(1, 0, 2),
    6: lambda x: np.rot90(x, -1),
    7: lambda x: x[::-1, ::-1].transpose(1, 0, 2),
    8: lambda x: np.rot90(x, 1),
}


@pytest.mark.parametrize("orientation", UPRIGHT)
@pytest.mark.parametrize("file_format", ["JPEG", "PNG", "WEBP", "TIFF"] + ["AVIF"] * features.check("avif"))
def test_exif_orientation_is_applied(file_format: str, orientation: int) -> None:
    stored = np.full((32, 64, 3), 40, np.uint8)
    stored[:16, :32], stored[16:, 32:] = (220, 40, 40), (40, 40, 220)  # each corner of its own colour, or none
    exif = Image.Exif()
    exif[ORIENTATION] = orientation
    pixels = decode(_encoded(Image.fromarray(stored), file_format, exif=exif))
    expected = UPRIGHT[orientation](stored)
    assert pixels.shape == expected.shape
    assert np.abs(pixels.astype(int) - expected).mean() < 5


@pytest.mark.parametrize("orientation", UPRIGHT)
def test_exif_orientation_is_applied_to_photos_with_alpha(orientation: int) -> None:
    stored = _noise(8, 12)
    photo = Image.fromarray(stored).convert("RGBA")
    exif = Image.Exif()
    exif[ORIENTATION] = orientation
    np.testing.assert_array_equal(decode(_encoded(photo, "PNG", exif=exif)), UPRIGHT[orientation](stored))


@pytest.mark.parametrize("file_format", ["PNG", "WEBP", "TIFF"] + ["AVIF"] * features.check("avif"))
def test_transparency_is_laid_on_white(file_format: str) -> None:
    photo = _plain("RGBA")
    photo.putalpha(128)
    _assert_all(decode(_encoded(photo, file_format)), (237, 142, 147))
    photo.putalpha(0)
    _assert_all(decode(_encoded(photo, file_format)), (255, 255, 255))


def test_transparent_palette_and_grey_are_laid_on_white() -> None:
    _assert_all(decode(_encoded(_plain().quantize(4), "PNG", transparency=0)), (255, 255, 255))
    _assert_all(decode(_encoded(_plain().quantize(4), "GIF", transparency=0)), (255, 255, 255))
    _assert_all(decode(_encoded(Image.new("LA", (20, 12), (90, 0)), "PNG")), (255, 255, 255))


@pytest.mark.parametrize("file_format", ["GIF", "WEBP", "PNG"])
def test_an_animation_is_its_first_frame(file_format: str) -> None:
    later = [Image.new("RGB", (20, 12), (40, 30, 220))]
    _assert_all(decode(_encoded(_plain(), file_format, save_all=True, append_images=later)), RED)


@pytest.mark.parametrize("share", [0.05, 0.5, 0.9, 0.99])
@pytest.mark.parametrize("file_format", FORMATS)
def test_a_truncated_photo_is_refused(file_format: str, share: float) -> None:
    data = _encoded(Image.fromarray(_noise()), file_format)
    with pytest.raises(BadImage):
        decode(data[: int(len(data) * share)])


def test_a_truncated_photo_with_alpha_is_refused() -> None:
    photo = Image.fromarray(_noise())
    photo.putalpha(128)
    data = _encoded(photo, "PNG")
    with pytest.raises(BadImage, match="damaged"):
        decode(data[: len(data) // 2])


@pytest.mark.parametrize(
    ("data", "reason"),
    [
        (b"", "empty file"),
        (b"<!doctype html><html><body>404 Not Found</body></html>", "not an image"),
        (b"<svg xmlns='http://www.w3.org/2000/svg'/>", "not an image"),
        (b"\x00\x05\x16\x07\x00\x02\x00\x00Mac OS X        ", "not an image"),
        (b"\xff\xd8\xff", "not an image|damaged"),
        (bytes(1000), "not an image"),
    ],
    ids=["empty", "html", "svg", "macos", "jpeg start", "zeros"],
)
def test_what_is_no_photo_is_refused_with_its_reason(data: bytes, reason: str) -> None:
    with pytest.raises(BadImage, match=reason):
        decode(data)


@pytest.mark.parametrize("side", [14_190, 16_000, 30_000], ids=["just above", "above", "far above"])
def test_a_header_that_promises_too_many_pixels_is_refused_before_decoding(
    side: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    assert side * side > MAX_PIXELS
    monkeypatch.setattr(cv2, "imdecode", lambda *_: pytest.fail("decoded"))
    start = time.perf_counter()
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", Image.DecompressionBombWarning)
        with pytest.raises(BadImage, match="more than"):
            decode(_png_that_claims(side, side))
    assert time.perf_counter() - start < 1


def test_the_limit_holds_while_another_thread_decodes(monkeypatch: pytest.MonkeyPatch) -> None:
    opened, entered = Image.open, {"small": Event(), "large": Event()}
    small_is_done = Event()
    data = {"small": _encoded(_plain(), "PNG"), "large": _png_that_claims(16_000, 16_000)}

    def open_in_turns(stream: io.BytesIO, **options: object) -> Image.Image:
        """The large photo's thread comes second, and goes on when that of the small one has left."""
        name = "small" if stream.getvalue() == data["small"] else "large"
        entered[name].set()
        assert (entered["large"] if name == "small" else small_is_done).wait(10)
        return opened(stream, **options)

    monkeypatch.setattr(Image, "open", open_in_turns)
    with ThreadPoolExecutor() as pool:
        small = pool.submit(decode, data["small"])
        assert entered["small"].wait(10)
        large = pool.submit(decode, data["large"])
        _assert_all(small.result(), RED)
        small_is_done.set()
        with pytest.raises(BadImage, match="pixels"):
            large.result()


sides = st.integers(1, 300)


@pytest.mark.parametrize("resize", RESIZERS)
@given(height=sides, width=sides, image_size=st.sampled_from([32, 64, 96]))
@settings(max_examples=60, deadline=None)
def test_prepare_gives_a_square_of_the_size_that_was_asked_for(
    resize: str, height: int, width: int, image_size: int
) -> None:
    prepared = prepare(np.full((height, width, 3), RED, np.uint8), image_size, resize)
    assert prepared.shape == (image_size, image_size, 3)
    assert prepared.dtype == np.uint8
    assert (prepared == RED).all(axis=2).any()  # something of the photo is left, and its colour is untouched
    assert ((prepared == RED) | (prepared == 0)).all()
    assert resize == "pad" or (prepared == RED).all()


@pytest.mark.parametrize("resize", RESIZERS)
def test_a_square_photo_of_the_right_size_is_left_as_it_is(resize: str) -> None:
    np.testing.assert_array_equal(prepare(_noise(64, 64), 64, resize), _noise(64, 64))


@given(long=st.integers(100, 300), upright=st.booleans())
@settings(max_examples=40, deadline=None)
def test_crop_keeps_the_centre_and_nothing_else(long: int, upright: bool) -> None:
    photo = np.zeros((90, long, 3), np.uint8)
    start = (long - 90) // 2
    photo[:, start : start + 90] = RED
    photo = photo.transpose(1, 0, 2) if upright else photo
    assert (prepare(np.ascontiguousarray(photo), 32, "crop") == RED).all()


@given(height=st.integers(8, 300), width=st.integers(8, 300))
@settings(max_examples=60, deadline=None)
def test_pad_keeps_all_of_the_photo_between_black_bars(height: int, width: int) -> None:
    photo = np.full((height, width, 3), 255, np.uint8)
    padded = prepare(photo, 96, "pad")[:, :, 0] == 255
    rows, columns = np.flatnonzero(padded.any(axis=1)), np.flatnonzero(padded.any(axis=0))
    shown = len(rows), len(columns)
    assert max(shown) == 96
    assert min(shown) == max(1, round(min(height, width) * 96 / max(height, width)))
    assert padded[rows[0] : rows[-1] + 1, columns[0] : columns[-1] + 1].all()
    assert abs(rows[0] - (95 - rows[-1])) <= 1  # in the middle
    assert abs(columns[0] - (95 - columns[-1])) <= 1


@pytest.mark.parametrize("resize", ["stretch", "pad"])
def test_stretch_and_pad_keep_every_corner(resize: str) -> None:
    photo = np.zeros((100, 100, 3), np.uint8)
    corners = {(0, 0): 50, (0, 1): 100, (1, 0): 150, (1, 1): 200}
    for (bottom, right), value in corners.items():
        photo[50 * bottom : 50 * bottom + 50, 50 * right : 50 * right + 50] = value
    small = prepare(photo[:, ::2] if resize == "stretch" else photo, 32, resize)
    assert (small[0, 0, 0], small[0, -1, 0], small[-1, 0, 0], small[-1, -1, 0]) == (50, 100, 150, 200)


def test_shrinking_averages_instead_of_skipping_pixels() -> None:
    stripes = np.zeros((256, 256, 3), np.uint8)
    stripes[:, ::2] = 255
    assert np.abs(prepare(stripes, 32, "stretch").astype(int) - 127).max() <= 1


def test_image_operations_come_after_the_shaping_and_in_order() -> None:
    photo = _noise(64, 64)
    by_hand = prepare(prepare(photo, 32, "crop", ["grey"]), 32, "crop", ["erosion:5"])
    np.testing.assert_array_equal(prepare(photo, 32, "crop", ["grey", "erosion:5"]), by_hand)
    assert (
        prepare(photo, 32, "crop", ["erosion", "gradient"]) != prepare(photo, 32, "crop", ["gradient", "erosion"])
    ).any()


@pytest.mark.parametrize("resize", RESIZERS)
def test_prepare_leaves_its_input_alone(resize: str) -> None:
    photo = _noise()
    prepare(photo, 32, resize, ["opening:3"])
    np.testing.assert_array_equal(photo, _noise())
