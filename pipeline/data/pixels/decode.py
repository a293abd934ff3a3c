"""Bytes of a photo -> the pixels that the network sees. Training, evaluation and serving all call this.

Owns decoding and shaping, and of the rules in `rules.py` those that concern bytes; reading files is the caller's.
Pillow reads the header first, so that a small file which claims a huge picture costs nothing. OpenCV decodes (it
applies EXIF orientation and refuses truncated JPEGs when given bytes instead of a file name), but for what it gets
wrong: transparency, which it drops (16-bit grey apart, which Pillow would clip), and the orientation of AVIF. Pillow
decodes these, and GIF, for which OpenCV's decoder is young.
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
from pipeline.data.rules import MAX_ASPECT, MIN_SIDE, by_rule

# What Pillow may open, and how its files are named: the fewer readers a hostile file can reach, the better.
FORMATS = {
    "JPEG": (".jpg", ".jpeg", ".jpe", ".jfif", ".mpo"), "PNG": (".png", ".apng"), "WEBP": (".webp",),
    "BMP": (".bmp",), "DIB": (".dib", ".bmp"), "TIFF": (".tif", ".tiff"), "GIF": (".gif",), "AVIF": (".avif",),
    "JPEG2000": (".jp2", ".j2k", ".jpx", ".jpf", ".j2c"),
}  # fmt: skip
DECODED_BY_PILLOW = ("AVIF", "GIF")
MODES = {
    "1": "grey", "L": "grey", "LA": "grey", "La": "grey", "I;16": "grey", "I;16L": "grey", "I;16B": "grey",
    "I;16N": "grey", "P": "palette", "PA": "palette", "CMYK": "CMYK", "RGB": "", "RGBA": "", "RGBa": "", "RGBX": "",
    "YCbCr": "",
}  # fmt: skip
# How files begin that are taken for photos; `filetype` and libmagic know hundreds, of which these say enough.
SIGNATURES = {
    b"\xff\xd8": "JPEG", b"\x89PNG": "PNG", b"GIF8": "GIF", b"BM": "BMP", b"II*\0": "TIFF",
    b"MM\0*": "TIFF", b"%PDF": "PDF", b"PK": "ZIP or office document", b"\0\5\x16\7": "macOS resource fork",
}  # fmt: skip
IMAGES = frozenset({"JPEG", "PNG", "GIF", "WebP", "BMP", "TIFF", "AVIF"})
ORIENTATION, BITS_PER_SAMPLE = 0x0112, 0x0102  # tags of EXIF and TIFF

Image.MAX_IMAGE_PIXELS = MOST_PIXELS  # Pillow's own limit would stand in the way of max_pixels, which comes first


class BadImage(ValueError):
    """Bytes that are no usable photo; the message is the reason, in a few words."""


class Decoded(NamedTuple):
    """A decoded photo: uint8 RGB pixels (height, width, 3), its format, and what was converted on the way."""

    pixels: np.ndarray
    format: str
    notes: tuple[str, ...]


def decode(data: bytes, max_pixels: int = MAX_PIXELS, version: int = NEWEST.pixels) -> np.ndarray:
    """Decode an encoded photo.

    Args:
        data: its bytes.
        max_pixels: by its header, above which it is refused.
        version: of the rules of pixels: a key of `PIXEL_RULES`.

    Returns:
        uint8 RGB of shape (height, width, 3), upright by EXIF, transparency laid on white, first picture.

    Raises:
        BadImage: a rule of `rules.py` refuses it.
    """
    return decode_with_notes(data, max_pixels, version).pixels


def decode_with_notes(data: bytes, max_pixels: int = MAX_PIXELS, version: int = NEWEST.pixels) -> Decoded:
    """Decode as `decode` does, and tell what the photo was before."""
    return PIXEL_RULES[version].decode(data, max_pixels)


def _decode_1(data: bytes, max_pixels: int) -> Decoded:
    if not data:
        raise BadImage(by_rule("empty file"))
    try:
        with Image.open(io.BytesIO(data), formats=list(FORMATS)) as header:
            _check_header(header, max_pixels)
            notes = tuple(_notes(header, data))
            name = str(header.format)
            transparent = header.has_transparency_data and not header.mode.startswith("I")
            if transparent or name in DECODED_BY_PILLOW:
                pixels, shows_through = _on_white(header)
                return Decoded(pixels, name, (*notes, *[by_rule("laid on white")] * shows_through))
    except BadImage:
        raise
    except Image.DecompressionBombError:
        raise BadImage(by_rule("too many pixels", f"more than {max_pixels}")) from None
    except UnidentifiedImageError:
        kind = kind_of(data)
        raise BadImage(by_rule("truncated or damaged" if kind in IMAGES else "not an image", kind)) from None
    except Exception as error:  # Pillow's readers raise whatever the damage makes them raise
        raise BadImage(by_rule("truncated or damaged", first_line(error))) from error
    return Decoded(_by_opencv(data), name, notes)


def _check_header(header: Image.Image, max_pixels: int) -> None:
    short, long = sorted(header.size)
    size = f"{header.width} x {header.height}"
    if short * long > max_pixels:
        raise BadImage(by_rule("too many pixels", f"{size}, more than {max_pixels}"))
    if short < MIN_SIDE:
        raise BadImage(by_rule("too small", size))
    if long > MAX_ASPECT * short:
        raise BadImage(by_rule("too long", size))
    if header.mode not in MODES:
        raise BadImage(by_rule("unknown pixel values", header.mode))


def _notes(header: Image.Image, data: bytes) -> Iterator[str]:
    """Yield what is going to be converted."""
    if (orientation := _orientation(header, data)) in range(2, 9):
        yield by_rule("turned upright", f"EXIF orientation {orientation}")
    if _has_several_pictures(header):
        yield by_rule("first picture taken")
    if kind := MODES[header.mode]:
        kind = "YCCK" if header.info.get("adobe_transform") == 2 else kind
        yield by_rule(f"{kind} made {'RGB' if kind.isupper() else 'colour'}")
    if header.mode.startswith("I;16") or _bits(header, data) == 16:
        yield by_rule("16 bits made 8")


def _orientation(header: Image.Image, data: bytes) -> int:
    if header.format == "PNG" and b"eXIf" not in data:  # else Pillow would decode it all to look behind the pixels
        return 1
    try:
        return int(header.getexif().get(ORIENTATION, 1))
    except Exception:  # cameras write much that is no EXIF; the photo is none the worse for it
        return 1


def _has_several_pictures(header: Image.Image) -> bool:
    if header.format == "TIFF":  # tells of animation only once it is decoded, but its pages are cheap to count
        return bool(header.n_frames > 1)  # type: ignore[attr-defined]
    # The further pictures of an MPO are what a phone's camera adds: depth, a preview, a brighter range.
    return header.format != "MPO" and bool(getattr(header, "is_animated", False))


def _bits(header: Image.Image, data: bytes) -> int:
    if header.format == "PNG":
        return data[24]  # of the IHDR chunk, which is always the first
    return int(header.tag_v2.get(BITS_PER_SAMPLE, (8,))[0]) if header.format == "TIFF" else 8  # type: ignore[attr-defined]


def kind_of(data: bytes) -> str:
    """Return what bytes that Pillow cannot open seem to be, or empty text."""
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


def _by_opencv(data: bytes) -> np.ndarray:
    try:
        pixels = cv2.imdecode(np.frombuffer(data, np.uint8), cv2.IMREAD_COLOR_RGB)
    except cv2.error as error:
        raise BadImage(by_rule("truncated or damaged", error.err)) from error
    if pixels is None:
        raise BadImage(by_rule("truncated or damaged"))
    return pixels


def _on_white(image: Image.Image) -> tuple[np.ndarray, bool]:
    """Return the pixels upright and opaque, and whether anything shone through."""
    upright = ImageOps.exif_transpose(image).convert("RGBA")
    canvas = Image.new("RGBA", upright.size, (255, 255, 255, 255))
    shows_through = bool(np.asarray(upright)[..., 3].min() < 255)
    return np.asarray(Image.alpha_composite(canvas, upright).convert("RGB")), shows_through


def prepare(
    image: np.ndarray, image_size: int, resize: str, image_ops: Sequence[str] = (), version: int = NEWEST.pixels
) -> np.ndarray:
    """Shape a decoded photo into the network's input: make it square, then apply the image operations.

    Args:
        image: uint8 RGB (height, width, 3).
        image_size: side of the result in pixels.
        resize: a key of `RESIZERS`.
        image_ops: operations such as ``opening:5``, applied in order.
        version: of the rules of pixels: a key of `PIXEL_RULES`.

    Returns:
        uint8 RGB of shape (image_size, image_size, 3).
    """
    return PIXEL_RULES[version].prepare(image, image_size, resize, image_ops)


def _prepare_1(image: np.ndarray, image_size: int, resize: str, image_ops: Sequence[str]) -> np.ndarray:
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
    """One version of how bytes become pixels, and pixels the network's input."""

    decode: Callable[[bytes, int], Decoded]
    prepare: Callable[[np.ndarray, int, str, Sequence[str]], np.ndarray]


PIXEL_RULES: dict[int, PixelRules] = {1: PixelRules(_decode_1, _prepare_1)}  # see `rule_versions`
