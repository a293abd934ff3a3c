"""Bytes of a photo -> the pixels that the network sees. Training, evaluation and serving all call this.

Owns decoding and resizing, and applies the rules of `rules.py` about bytes; the caller reads the file. Pillow reads the
header first, so that a small file that claims a huge image costs nothing. OpenCV decodes (given bytes instead of a file
name, it applies EXIF orientation and rejects truncated JPEGs), except for what it gets wrong: transparency, which it
drops, and the orientation of AVIF. Pillow decodes these (but not 16-bit grey, which it would clip), and GIF, for which
OpenCV's decoder is young.
"""

from __future__ import annotations

import io
from collections.abc import Callable, Iterator, Sequence
from typing import NamedTuple

import cv2
import numpy as np
from PIL import Image, ImageOps, UnidentifiedImageError

from pipeline.config import MAX_PIXELS, MOST_PIXELS, first_line
from pipeline.data.pixels.image_ops import apply_ops
from pipeline.data.rule_versions import NEWEST
from pipeline.data.rules import MAX_ASPECT, MIN_SIDE, rule_text

# The formats that Pillow may open, with their suffixes: the fewer decoders a malicious file can reach, the better.
FORMATS = {
    "JPEG": (".jpg", ".jpeg", ".jpe", ".jfif", ".mpo"), "PNG": (".png", ".apng"), "WEBP": (".webp",),
    "BMP": (".bmp",), "DIB": (".dib", ".bmp"), "TIFF": (".tif", ".tiff"), "GIF": (".gif",), "AVIF": (".avif",),
    "JPEG2000": (".jp2", ".j2k", ".jpx", ".jpf", ".j2c"),
}  # fmt: skip
DECODED_BY_PILLOW = ("AVIF", "GIF")
MODE_KINDS = {
    "1": "grey", "L": "grey", "LA": "grey", "La": "grey", "I;16": "grey", "I;16L": "grey", "I;16B": "grey",
    "I;16N": "grey", "P": "palette", "PA": "palette", "CMYK": "CMYK", "RGB": "", "RGBA": "", "RGBa": "", "RGBX": "",
    "YCbCr": "",
}  # fmt: skip
# Magic bytes of files that are often mistaken for photos; `filetype` and libmagic know hundreds, these are enough.
SIGNATURES = {
    b"\xff\xd8": "JPEG", b"\x89PNG": "PNG", b"GIF8": "GIF", b"BM": "BMP", b"II*\0": "TIFF",
    b"MM\0*": "TIFF", b"%PDF": "PDF", b"PK": "ZIP or office document", b"\0\5\x16\7": "macOS resource fork",
}  # fmt: skip
IMAGE_FORMATS = frozenset({"JPEG", "PNG", "GIF", "WebP", "BMP", "TIFF", "AVIF"})
ORIENTATION, BITS_PER_SAMPLE = 0x0112, 0x0102  # tags of EXIF and TIFF

Image.MAX_IMAGE_PIXELS = MOST_PIXELS  # Pillow's own, lower limit would override max_pixels, which is checked first


class BadImage(ValueError):
    """The bytes are not a usable photo; the message is the reason, as in the report."""


class Decoded(NamedTuple):
    """A decoded photo: uint8 RGB pixels (height, width, 3), its format, and notes on what was converted."""

    pixels: np.ndarray
    format: str
    notes: tuple[str, ...]


def decode(data: bytes, max_pixels: int = MAX_PIXELS, version: int = NEWEST.pixels) -> np.ndarray:
    """Decode an encoded photo.

    Args:
        data: its bytes.
        max_pixels: a photo with more pixels in its header is rejected.
        version: version of the pixel rules: a key of `PIXEL_RULES`.

    Returns:
        uint8 RGB of shape (height, width, 3), upright by EXIF, composited on white, first frame.

    Raises:
        BadImage: a rule of `rules.py` rejects it.
    """
    return decode_with_notes(data, max_pixels, version).pixels


def decode_with_notes(data: bytes, max_pixels: int = MAX_PIXELS, version: int = NEWEST.pixels) -> Decoded:
    """Decode as `decode` does, and return the format and the conversions, too."""
    return PIXEL_RULES[version].decode(data, max_pixels)


def _decode_v1(data: bytes, max_pixels: int) -> Decoded:
    if not data:
        raise BadImage(rule_text("empty file"))
    try:
        with Image.open(io.BytesIO(data), formats=list(FORMATS)) as header:
            _check_header(header, max_pixels)
            notes = tuple(_conversion_notes(header, data))
            name = str(header.format)
            transparent = header.has_transparency_data and not header.mode.startswith("I")
            if transparent or name in DECODED_BY_PILLOW:
                pixels, is_transparent = _composite_on_white(header)
                return Decoded(pixels, name, (*notes, *[rule_text("laid on white")] * is_transparent))
    except BadImage:
        raise
    except Image.DecompressionBombError:
        raise BadImage(rule_text("too many pixels", f"more than {max_pixels}")) from None
    except UnidentifiedImageError:
        kind = sniff_format(data)
        raise BadImage(rule_text("truncated or damaged" if kind in IMAGE_FORMATS else "not an image", kind)) from None
    except Exception as error:  # Pillow's decoders raise many types on damaged files
        raise BadImage(rule_text("truncated or damaged", first_line(error))) from error
    return Decoded(_decode_with_opencv(data), name, notes)


def _check_header(header: Image.Image, max_pixels: int) -> None:
    short, long = sorted(header.size)
    size = f"{header.width} x {header.height}"
    if short * long > max_pixels:
        raise BadImage(rule_text("too many pixels", f"{size}, more than {max_pixels}"))
    if short < MIN_SIDE:
        raise BadImage(rule_text("too small", size))
    if long > MAX_ASPECT * short:
        raise BadImage(rule_text("too long", size))
    if header.mode not in MODE_KINDS:
        raise BadImage(rule_text("unknown pixel values", header.mode))


def _conversion_notes(header: Image.Image, data: bytes) -> Iterator[str]:
    """Yield a note for each conversion that decoding will apply."""
    if (orientation := _orientation(header, data)) in range(2, 9):
        yield rule_text("turned upright", f"EXIF orientation {orientation}")
    if _has_several_frames(header):
        yield rule_text("first picture taken")
    if kind := MODE_KINDS[header.mode]:
        kind = "YCCK" if header.info.get("adobe_transform") == 2 else kind
        yield rule_text(f"{kind} made {'RGB' if kind.isupper() else 'colour'}")
    if header.mode.startswith("I;16") or _bits_per_channel(header, data) == 16:
        yield rule_text("16 bits made 8")


def _orientation(header: Image.Image, data: bytes) -> int:
    if header.format == "PNG" and b"eXIf" not in data:  # else Pillow would decode all to find EXIF after the pixels
        return 1
    try:
        return int(header.getexif().get(ORIENTATION, 1))
    except Exception:  # cameras write much invalid EXIF; the photo itself is fine
        return 1


def _has_several_frames(header: Image.Image) -> bool:
    if header.format == "TIFF":  # is_animated needs decoding, but its pages are cheap to count
        return bool(header.n_frames > 1)  # type: ignore[attr-defined]
    # The further frames of an MPO are what a phone's camera adds: depth, a preview, a wider dynamic range.
    return header.format != "MPO" and bool(getattr(header, "is_animated", False))


def _bits_per_channel(header: Image.Image, data: bytes) -> int:
    if header.format == "PNG":
        return data[24]  # bit depth in the IHDR chunk, which always comes first
    return int(header.tag_v2.get(BITS_PER_SAMPLE, (8,))[0]) if header.format == "TIFF" else 8  # type: ignore[attr-defined]


def sniff_format(data: bytes) -> str:
    """Return the likely format of bytes that Pillow cannot open, or an empty string."""
    start = data[:1024].lstrip().lower()
    if data[4:8] == b"ftyp":
        return {b"avif": "AVIF", b"heic": "HEIC", b"heix": "HEIC", b"mif1": "HEIF"}.get(data[8:12], "video")
    if data.startswith(b"RIFF"):
        return "WebP" if data[8:12] == b"WEBP" else "sound or film"
    if b"<svg" in start:
        return "SVG"
    if start.startswith((b"<!doctype html", b"<html")):
        return "HTML"
    if kind := next((kind for signature, kind in SIGNATURES.items() if data.startswith(signature)), ""):
        return kind
    return "text" if start.isascii() and b"\0" not in start else ""


def _decode_with_opencv(data: bytes) -> np.ndarray:
    try:
        pixels = cv2.imdecode(np.frombuffer(data, np.uint8), cv2.IMREAD_COLOR_RGB)
    except cv2.error as error:
        raise BadImage(rule_text("truncated or damaged", error.err)) from error
    if pixels is None:
        raise BadImage(rule_text("truncated or damaged"))
    return pixels


def _composite_on_white(image: Image.Image) -> tuple[np.ndarray, bool]:
    """Return the pixels upright and opaque, and whether any of them were transparent."""
    upright = ImageOps.exif_transpose(image).convert("RGBA")
    canvas = Image.new("RGBA", upright.size, (255, 255, 255, 255))
    is_transparent = bool(np.asarray(upright)[..., 3].min() < 255)
    return np.asarray(Image.alpha_composite(canvas, upright).convert("RGB")), is_transparent


def prepare(
    image: np.ndarray, image_size: int, resize: str, image_ops: Sequence[str] = (), version: int = NEWEST.pixels
) -> np.ndarray:
    """Convert a decoded photo to the network's input: make it square, then apply the image operations.

    Args:
        image: uint8 RGB (height, width, 3).
        image_size: side of the result, in pixels.
        resize: a key of `RESIZERS`.
        image_ops: operations such as ``opening:5``, applied in order.
        version: version of the pixel rules: a key of `PIXEL_RULES`.

    Returns:
        uint8 RGB of shape (image_size, image_size, 3).
    """
    return PIXEL_RULES[version].prepare(image, image_size, resize, image_ops)


def _prepare_v1(image: np.ndarray, image_size: int, resize: str, image_ops: Sequence[str]) -> np.ndarray:
    return apply_ops(RESIZERS[resize](image, image_size), image_ops)


def _scale(image: np.ndarray, width: int, height: int) -> np.ndarray:
    shrinking = width < image.shape[1] or height < image.shape[0]
    return cv2.resize(image, (width, height), interpolation=cv2.INTER_AREA if shrinking else cv2.INTER_CUBIC)


def _stretch(image: np.ndarray, size: int) -> np.ndarray:
    return _scale(image, size, size)


def _pad(image: np.ndarray, size: int) -> np.ndarray:
    height, width = image.shape[:2]
    factor = size / max(height, width)
    scaled = _scale(image, max(1, round(width * factor)), max(1, round(height * factor)))
    top, left = (size - scaled.shape[0]) // 2, (size - scaled.shape[1]) // 2
    bottom, right = size - scaled.shape[0] - top, size - scaled.shape[1] - left
    return cv2.copyMakeBorder(scaled, top, bottom, left, right, cv2.BORDER_CONSTANT, value=(0, 0, 0))


def _crop(image: np.ndarray, size: int) -> np.ndarray:
    side = min(image.shape[:2])
    top, left = (image.shape[0] - side) // 2, (image.shape[1] - side) // 2
    return _scale(image[top : top + side, left : left + side], size, size)


RESIZERS: dict[str, Callable[[np.ndarray, int], np.ndarray]] = {"stretch": _stretch, "pad": _pad, "crop": _crop}


class PixelRules(NamedTuple):
    """One version of decoding (bytes -> pixels) and preparing (pixels -> the network's input)."""

    decode: Callable[[bytes, int], Decoded]
    prepare: Callable[[np.ndarray, int, str, Sequence[str]], np.ndarray]


PIXEL_RULES: dict[int, PixelRules] = {1: PixelRules(_decode_v1, _prepare_v1)}  # see `rule_versions`
