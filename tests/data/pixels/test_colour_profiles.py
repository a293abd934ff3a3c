"""Colour profiles: what a camera meant by its colours reaches the network, and what needs no change costs nothing."""

from __future__ import annotations

import io
import zlib

import numpy as np
import pytest
from PIL import Image, ImageCms

from pipeline.data.pixels import colour_profiles
from pipeline.data.pixels.decode import decode, decode_with_notes
from tests import icc
from tests.data.pixels import encoded
from tests.data.pixels.encoded import drawn, encode, heic

RED_OF_P3, RED = (200, 60, 60), (217, 42, 52)  # one colour, in Display P3 and in sRGB
LOSSLESS = ["PNG", "TIFF"]


def _plain(colour: object = RED_OF_P3, mode: str = "RGB") -> Image.Image:
    return Image.new(mode, (40, 30), colour)


def _assert_all(pixels: np.ndarray, colour: tuple[int, int, int], tolerance: int = 2) -> None:
    assert pixels.shape[2:] == (3,)
    assert np.abs(pixels.astype(int) - colour).max() <= tolerance


def _notes(data: bytes) -> str:
    return "; ".join(decode_with_notes(data).notes)


@pytest.mark.parametrize("file_format", ["JPEG", "PNG", "TIFF", "WEBP", "AVIF"])
def test_display_p3_becomes_srgb_and_only_under_version_2(file_format: str) -> None:
    data = encode(_plain(), file_format, icc_profile=icc.DISPLAY_P3)
    _assert_all(decode(data), RED, 5)
    assert _notes(data) == "colours made sRGB (Display P3)"
    _assert_all(decode(data, version=1), RED_OF_P3, 5)


def test_a_phones_heic_in_display_p3() -> None:
    photo = _plain()
    photo.info["icc_profile"] = icc.DISPLAY_P3
    data = heic(photo)
    assert _notes(data) == "colours made sRGB (Display P3)"
    _assert_all(decode(data), RED, 8)


def test_the_conversion_is_that_of_littlecms() -> None:
    photo = drawn()
    profile = ImageCms.ImageCmsProfile(io.BytesIO(icc.PRO_PHOTO))
    intent, flags = ImageCms.Intent.RELATIVE_COLORIMETRIC, ImageCms.Flags.BLACKPOINTCOMPENSATION
    srgb = ImageCms.createProfile("sRGB")
    expected = ImageCms.profileToProfile(photo, profile, srgb, intent, "RGB", False, flags)
    data = encode(photo, "PNG", icc_profile=icc.PRO_PHOTO)
    np.testing.assert_array_equal(decode(data), np.asarray(expected))
    assert np.abs(decode(data).astype(int) - np.asarray(photo)).mean() > 10


@pytest.mark.parametrize("name", ["built in", "by another name"])
def test_srgb_in_any_spelling_changes_nothing(name: str, monkeypatch: pytest.MonkeyPatch) -> None:
    built_in = ImageCms.ImageCmsProfile(ImageCms.createProfile("sRGB")).tobytes()
    profile = built_in if name == "built in" else icc.OTHER_SRGB
    data = encode(drawn(), "JPEG", icc_profile=profile)
    decode(data)  # which tries the profile once
    monkeypatch.setattr(colour_profiles, "to_srgb", lambda *_: pytest.fail("converted"))
    np.testing.assert_array_equal(decode(data), decode(data, version=1))
    assert _notes(data) == ""


def test_cmyk_is_made_rgb_by_its_profile() -> None:
    ink = (0, 255, 255, 0)
    for file_format in ("JPEG", "TIFF"):
        data = encode(_plain(ink, "CMYK"), file_format, icc_profile=icc.cmyk_profile())
        _assert_all(decode(data), (219, 113, 76), 3)
        _assert_all(decode(data, version=1), (254, 0, 0), 3)
        assert _notes(data) == "CMYK made RGB; colours made sRGB (Press)"


def test_grey_by_its_profile() -> None:
    profile = icc.grey_profile(1.0, "Linear")
    for file_format in LOSSLESS:
        _assert_all(decode(encode(_plain(90, "L"), file_format, icc_profile=profile)), (160, 160, 160))
    deep = Image.fromarray(np.full((30, 40), 90 << 8, np.uint16))
    _assert_all(decode(encode(deep, "PNG", icc_profile=profile)), (160, 160, 160))
    _assert_all(decode(encode(_plain((90, 0), "LA"), "PNG", icc_profile=profile)), (255, 255, 255))


def test_palettes_and_transparency_are_converted_too() -> None:
    transparent = _plain().convert("RGBA")
    transparent.putalpha(128)
    expected = [round((value * 128 + 255 * 127) / 255) for value in RED]
    _assert_all(decode(encode(transparent, "PNG", icc_profile=icc.DISPLAY_P3)), tuple(expected))
    _assert_all(decode(encode(_plain().quantize(4), "PNG", icc_profile=icc.DISPLAY_P3)), RED, 3)


def test_a_turned_photo_is_converted_too() -> None:
    exif = Image.Exif()
    exif[0x0112] = 6
    data = encode(_plain(), "JPEG", exif=exif, icc_profile=icc.DISPLAY_P3)
    assert decode(data).shape == (40, 30, 3)
    _assert_all(decode(data), RED, 3)


@pytest.mark.parametrize(
    ("photo", "profile", "detail"),
    [
        (_plain(), b"no profile at all" * 20, "it is broken or of unknown channels"),
        (_plain(), icc.DISPLAY_P3[:300], "it is broken or of unknown channels"),
        (_plain(), icc.grey_profile(1.0), "it is for L, the photo is RGB"),
        (_plain(), icc.cmyk_profile(), "it is for CMYK, the photo is RGB"),
        (_plain((0, 255, 255, 0), "CMYK"), icc.DISPLAY_P3, "it is for RGB, the photo is CMYK"),
    ],
)
def test_a_broken_or_foreign_profile_is_a_note_and_no_refusal(photo: Image.Image, profile: bytes, detail: str) -> None:
    data = encode(photo, "JPEG", icc_profile=profile)
    np.testing.assert_array_equal(decode(data), decode(data, version=1))
    assert f"colour profile ignored ({detail})" in _notes(data)


def test_a_png_with_a_broken_profile_chunk_is_read() -> None:
    for content in (
        b"name\0\0no zlib",
        b"name\0\0" + zlib.compress(b"nothing"),
        b"name\0\0" + zlib.compress(bytes(2**21)),
    ):
        data = encoded.with_chunk(encode(_plain(), "PNG"), b"iCCP", content)
        _assert_all(decode(data), RED_OF_P3)
