"""Photos of phones, scanners and cameras: taken right, or named for what they are."""

from __future__ import annotations

import io
import struct
import zlib

import cv2
import numpy as np
import pillow_heif
import pytest
from PIL import Image

from pipeline.data.pixels.decode import BadImage, decode, decode_with_notes
from tests.data.pixels import encoded
from tests.data.pixels.encoded import drawn, encode, heic
from tests.data.pixels.heif_files import box, film_of_heif, heic_of_tiles

PHOTO = drawn()
GREY_12_IN_16 = np.asarray(PHOTO.convert("L")).astype(np.uint16) << 4


def _difference(pixels: np.ndarray, photo: Image.Image = PHOTO) -> float:
    assert pixels.dtype == np.uint8
    return float(np.abs(pixels.astype(int) - np.asarray(photo.convert("RGB")).astype(int)).mean())


def _notes(data: bytes) -> str:
    return "; ".join(decode_with_notes(data).notes)


@pytest.mark.parametrize("version", [1, 2])
def test_a_phones_heic_is_read_under_every_version(version: int) -> None:
    assert _difference(decode(heic(PHOTO), version=version)) < 6


def test_heic_of_ten_bits() -> None:
    data = encoded.heic_10_bits(PHOTO)
    assert _difference(decode(data)) < 6
    assert _notes(data) == "16 bits made 8 (10 bits in use)"


@pytest.mark.parametrize(("orientation", "turned"), [(1, 0), (3, 2), (6, -1), (8, 1)])
def test_heic_is_turned_once(orientation: int, turned: int) -> None:
    exif = Image.Exif()
    exif[0x0112] = orientation
    pixels = decode(heic(PHOTO, exif=exif.tobytes()))
    assert np.abs(pixels.astype(int) - np.rot90(np.asarray(PHOTO), turned)).mean() < 6


def test_heic_of_several_pictures_is_its_primary_one() -> None:
    pictures = pillow_heif.from_pillow(PHOTO)
    pictures.add_from_pillow(drawn(seed=9))
    buffer = io.BytesIO()
    pictures.save(buffer, quality=90)
    assert _difference(decode(buffer.getvalue())) < 6
    assert _notes(buffer.getvalue()) == "first picture taken"


@pytest.mark.parametrize("quarter_turns", [0, 1, 3])
def test_heic_of_tiles_is_one_photo_as_iphones_write_it(quarter_turns: int) -> None:
    photo = drawn(384, 256)
    decoded = decode_with_notes(heic_of_tiles(photo, columns=3, rows=2, quarter_turns=quarter_turns))
    turned = np.rot90(np.asarray(photo).astype(int), quarter_turns)
    assert (decoded.height, decoded.width) == turned.shape[:2]
    assert np.abs(decoded.pixels - turned).mean() < 6


def test_heif_without_a_still_picture_is_named_as_a_film() -> None:
    with pytest.raises(BadImage, match=r"not an image \(HEIC film without a still picture, export it as JPEG\)"):
        decode(film_of_heif())


def test_boxes_behind_one_without_a_length_are_not_looked_for() -> None:
    without_length = bytes(4) + b"mdat" + bytes(64) + box(b"moov", bytes(8))
    with pytest.raises(BadImage, match=r"truncated or damaged \(HEIC\)"):
        decode(box(b"ftyp", b"msf1" + bytes(4) + b"hevcmsf1") + without_length)


def test_jpeg_2000_that_would_take_a_minute_is_refused_by_its_header() -> None:
    data = bytearray(encode(drawn(), "JPEG2000", no_jp2=True))
    size = data.index(b"\xff\x51") + 6  # behind marker, length and capabilities
    data[size : size + 8] = struct.pack(">II", 8192, 8193)
    with pytest.raises(BadImage, match=r"8192 x 8193 of JPEG 2000, more than 67108864, export it as JPEG"):
        decode(bytes(data))


def test_heic_with_transparency_is_laid_on_white() -> None:
    photo = PHOTO.copy()
    photo.putalpha(0)
    assert decode(heic(photo)).min() > 250


@pytest.mark.parametrize("share", [0.3, 0.7, 0.95])
def test_a_truncated_heic_is_damaged(share: float) -> None:
    data = heic(PHOTO)
    with pytest.raises(BadImage, match="truncated or damaged"):
        decode(data[: int(len(data) * share)])


@pytest.mark.parametrize("file_format", ["PPM", "TGA", "ICO"])
@pytest.mark.parametrize("version", [1, 2])
def test_old_formats_are_read(file_format: str, version: int) -> None:
    data = encode(PHOTO, file_format, **({"sizes": [PHOTO.size]} if file_format == "ICO" else {}))
    assert _difference(decode(data, version=version)) == 0


def test_a_grey_pgm_and_one_of_16_bits() -> None:
    assert _difference(decode(encode(PHOTO.convert("L"), "PPM")), PHOTO.convert("L")) == 0
    deep = b"P5\n%d %d\n4095\n" % PHOTO.size + GREY_12_IN_16.astype(">u2").tobytes()
    assert _difference(decode(deep), PHOTO.convert("L")) < 1.5


@pytest.mark.parametrize("file_format", ["PNG", "TIFF", "JPEG2000"])
@pytest.mark.parametrize("bits", [10, 12, 14, 16])
def test_grey_of_fewer_bits_in_16_is_not_black(file_format: str, bits: int) -> None:
    grey = np.linspace(0, (1 << bits) - 1, 200 * 150).reshape(150, 200).astype(np.uint16)
    data = encode(Image.fromarray(grey), file_format)
    pixels = decode(data)
    np.testing.assert_allclose(pixels[..., 0], grey >> (bits - 8), atol=1)
    assert (f"16 bits made 8 ({bits} bits in use)" in _notes(data)) == (bits < 16)


def test_colour_of_twelve_bits_in_16_is_not_black() -> None:
    deep = np.asarray(PHOTO)[..., ::-1].astype(np.uint16) << 4
    assert _difference(decode(cv2.imencode(".png", deep)[1].tobytes())) < 1


@pytest.mark.parametrize("compression", ["raw", "zstd", "lzma", "tiff_lzw", "tiff_adobe_deflate", "packbits"])
def test_tiff_of_every_compression(compression: str) -> None:
    assert _difference(decode(encode(PHOTO, "TIFF", compression=compression))) == 0


@pytest.mark.parametrize("header_size", [40, 56, 108])
def test_bmp_of_16_bits_a_pixel(header_size: int) -> None:
    assert _difference(decode(encoded.bmp_565(PHOTO, header_size))) < 4


@pytest.mark.parametrize("name", [b"tEXt", b"zTXt", b"iTXt"])
@pytest.mark.parametrize("megabytes", [3, 90])
def test_png_with_long_texts(name: bytes, megabytes: int) -> None:
    text = b"a" * (megabytes * 10**6)
    content = {
        b"tEXt": b"Comment\0" + text,
        b"zTXt": b"Comment\0\0" + zlib.compress(text),
        b"iTXt": b"Comment\0\1\0\0\0" + zlib.compress(text),
    }[name]
    assert _difference(decode(encoded.with_chunk(encode(PHOTO, "PNG"), name, content))) == 0


def _jpeg_of(frame: int, bits: int = 8) -> bytes:
    """A JPEG whose header says another process or precision than its data have."""
    data = bytearray(encode(PHOTO, "JPEG"))
    place = data.index(b"\xff\xc0")
    data[place + 1], data[place + 4] = frame, bits
    return bytes(data)


TAGS_OF_DNG = {50706: (1, b"\1\4\0\0"), 254: (4, 1), 271: (2, "Apple")}
NAMED = {
    "dng": (encoded.tiff(PHOTO, TAGS_OF_DNG), "not an image (DNG, a camera's raw data, export it as JPEG)"),
    "nef": (encoded.tiff(PHOTO, {254: (4, 1), 271: (2, "NIKON CORPORATION")}), "not an image (NEF, a camera's raw"),
    "arw": (encoded.tiff(PHOTO, {254: (4, 1), 271: (2, "SONY")}), "not an image (ARW, a camera's raw data"),
    "cr2": (b"II*\0\x10\0\0\0CR\2\0" + bytes(100), "not an image (CR2, a camera's raw data"),
    "cr3": (b"\0\0\0\x18ftypcrx \0\0\0\1crx isom", "not an image (CR3, a camera's raw data, export it as JPEG)"),
    "raf": (b"FUJIFILMCCD-RAW 0201" + bytes(100), "not an image (RAF, a camera's raw data"),
    "orf": (b"IIRO\x08\0\0\0" + bytes(100), "not an image (ORF, a camera's raw data"),
    "rw2": (b"IIU\0\x18\0\0\0" + bytes(100), "not an image (RW2, a camera's raw data"),
    "psd": (b"8BPS\0\1" + bytes(100), "not an image (Photoshop PSD, export it as JPEG)"),
    "exr": (b"\x76\x2f\x31\x01" + bytes(100), "not an image (OpenEXR, export it as JPEG)"),
    "hdr": (b"#?RADIANCE\n" + bytes(100), "not an image (Radiance HDR, export it as JPEG)"),
    "xcf": (b"gimp xcf v011" + bytes(100), "not an image (GIMP XCF, export it as JPEG)"),
    "jxl": (b"\xff\x0a" + bytes(100), "not an image (JPEG XL, export it as JPEG)"),
    "jxl in a box": (b"\0\0\0\x0cJXL \r\n\x87\n" + bytes(100), "not an image (JPEG XL, export it as JPEG)"),
    "dicom": (bytes(128) + b"DICM" + bytes(100), "not an image (DICOM, export it as JPEG)"),
    "mov": (b"\0\0\0\x14ftypqt  \0\0\0\0qt  " + bytes(100), "not an image (video)"),
    "mkv": (b"\x1aE\xdf\xa3" + bytes(100), "not an image (video)"),
    "7z": (b"7z\xbc\xaf\x27\x1c" + bytes(100), "not an image (7z archive)"),
    "12-bit jpeg": (_jpeg_of(0xC1, 12), "unknown pixel values (JPEG of 12 bits a channel)"),
    "lossless jpeg": (_jpeg_of(0xC3), "unknown pixel values (JPEG of lossless"),
    "jpeg-ls": (_jpeg_of(0xF7), "unknown pixel values (JPEG of JPEG-LS"),
    "lab tiff": (encode(PHOTO.convert("LAB"), "TIFF"), "unknown pixel values (LAB)"),
}


@pytest.mark.parametrize("name", NAMED)
def test_what_is_not_taken_is_named_for_what_it_is(name: str) -> None:
    data, reason = NAMED[name]
    with pytest.raises(BadImage) as error:
        decode(data)
    assert str(error.value).startswith(reason)


def test_a_raw_file_is_known_by_its_sub_directory() -> None:
    """NEF and ARW of other makers: the preview is first, the mosaic of colour filters in a directory below it."""
    preview = bytearray(encoded.tiff(PHOTO, {330: (4, 0), 254: (4, 0)}))
    place = preview.index(struct.pack("<HHI", 330, 4, 1)) + 8
    preview[place : place + 4] = struct.pack("<I", len(preview))
    mosaic = struct.pack("<HHHIII", 1, 262, 3, 1, 32803, 0)
    with pytest.raises(BadImage, match="RAW, a camera's raw data"):
        decode(bytes(preview) + mosaic)


def test_a_scanners_tiff_is_no_raw_file() -> None:
    scan = encoded.tiff(PHOTO, {271: (2, "Canon"), 254: (4, 0)})
    assert _difference(decode(scan)) == 0
    pages = encode(PHOTO, "TIFF", save_all=True, append_images=[drawn(seed=1)])
    assert _difference(decode(pages)) == 0


@pytest.mark.parametrize("orientation", range(2, 9))
@pytest.mark.parametrize("order", ["<", ">"])
def test_orientation_as_long_is_applied_and_noted(orientation: int, order: str) -> None:
    usual = Image.Exif()
    usual[0x0112] = orientation
    expected = decode(encode(PHOTO, "JPEG", exif=usual))
    data = encode(PHOTO, "JPEG", exif=encoded.exif_with_long_orientation(orientation, order))
    np.testing.assert_array_equal(decode(data), expected)
    assert _notes(data) == f"turned upright (EXIF orientation {orientation})"


@pytest.mark.parametrize("orientation", range(2, 9))
def test_orientation_in_xmp_alone_is_applied_and_noted(orientation: int) -> None:
    usual = Image.Exif()
    usual[0x0112] = orientation
    data = encode(PHOTO, "JPEG", xmp=encoded.xmp_with_orientation(orientation))
    np.testing.assert_array_equal(decode(data), decode(encode(PHOTO, "JPEG", exif=usual)))
    assert _notes(data) == f"turned upright (XMP orientation {orientation})"


def test_exif_is_stronger_than_xmp() -> None:
    exif = Image.Exif()
    exif[0x0112] = 6
    data = encode(PHOTO, "JPEG", exif=exif, xmp=encoded.xmp_with_orientation(8))
    assert _notes(data) == "turned upright (EXIF orientation 6)"
    assert decode(data).shape == (200, 150, 3)


@pytest.mark.parametrize("orientation", range(1, 9))
@pytest.mark.parametrize("file_format", ["JPEG", "PNG", "WEBP", "TIFF"])
def test_photos_are_turned_as_version_1_turned_them(file_format: str, orientation: int) -> None:
    exif = Image.Exif()
    exif[0x0112] = orientation
    data = encode(PHOTO, file_format, exif=exif)
    np.testing.assert_array_equal(decode(data), decode(data, version=1))


def test_a_progressive_jpeg_of_a_thousand_scans_is_refused_at_once() -> None:
    data = encoded.with_scans(encode(PHOTO, "JPEG", progressive=True), 1000)
    for version in (1, 2):
        with pytest.raises(BadImage, match=r"too many scans \(1009 of 200 x 150, more than 100\)"):
            decode(data, version=version)
    ten = encode(PHOTO, "JPEG", progressive=True)
    assert _difference(decode(ten)) < 8
