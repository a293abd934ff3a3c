"""A photo's header, read by Pillow before anything is decoded: what is refused by it, and what will be converted.

So a small file that claims a huge image costs nothing. These rules hold under every version of the pixel rules.
"""

from __future__ import annotations

import io
from collections.abc import Iterator
from contextlib import contextmanager
from typing import NamedTuple

import numpy as np
import pi_heif
from PIL import Image, PngImagePlugin, UnidentifiedImageError

from pipeline.config import MOST_PIXELS, first_line
from pipeline.data.pixels.formats import IMAGE_FORMATS, REMEDY, pillow_formats, sniff_format
from pipeline.data.pixels.jpeg_data import START, read_structure
from pipeline.data.pixels.png_data import PNG, without_text
from pipeline.data.rules import MAX_ASPECT, MIN_SIDE, rule_text

DECODED_BY_PILLOW = ("AVIF", "GIF", "HEIF", "ICO", "PPM", "TGA")
MODE_KINDS = {
    "1": "grey", "L": "grey", "LA": "grey", "La": "grey", "I;16": "grey", "I;16L": "grey", "I;16B": "grey",
    "I;16N": "grey", "P": "palette", "PA": "palette", "CMYK": "CMYK", "RGB": "", "RGBA": "", "RGBa": "", "RGBX": "",
    "YCbCr": "",
}  # fmt: skip
ORIENTATION, BITS_PER_SAMPLE = 0x0112, 0x0102  # tags of EXIF and TIFF
# Every scan goes over all of the photo, at 1 to 3 ns a pixel. Cameras and editors write 10 scans, of any photo.
MAX_SCANS = 100
MAX_SCANNED_PIXELS = 4_000_000_000
# A server cannot kill a decoder, so the header has to bound its time: 285 ns a pixel of noise in 8 bits, twice that
# in 16 (docs/log.md). The slowest after it, HEIC, takes 100.
MAX_JPEG2000_PIXELS = 1 << 26

Image.MAX_IMAGE_PIXELS = MOST_PIXELS  # Pillow's own, lower limit would override max_pixels, which is checked first
PngImagePlugin.MAX_TEXT_CHUNK = 16 << 20  # as a colour profile may be; long texts are left out (`png_data`)
pi_heif.register_heif_opener()


class BadImage(ValueError):
    """The bytes are not a usable photo; the message is the reason, as in the report."""


class Decoded(NamedTuple):
    """A decoded photo.

    Attributes:
        pixels: uint8 RGB (height, width, 3), upright; a large JPEG's may be reduced.
        format: Pillow's name of its format.
        notes: on what was converted.
        width: of the whole photo, upright.
        height: of the whole photo, upright.
        reduced_by: the factor by which its sides are reduced: 1, 2, 4 or 8.
        most_reduced: that of the smallest image size.
    """

    pixels: np.ndarray
    format: str
    notes: tuple[str, ...]
    width: int
    height: int
    reduced_by: int = 1
    most_reduced: int = 1


@contextmanager
def opened(data: bytes, max_pixels: int) -> Iterator[Image.Image]:
    """Yield the header of a photo, which Pillow will decode when it is asked for pixels.

    Raises:
        BadImage: a rule of `rules.py` rejects it, or Pillow fails in the block.
    """
    if not data:
        raise BadImage(rule_text("empty file"))
    try:
        source = without_text(data) if data.startswith(PNG) else data
        with Image.open(io.BytesIO(source), formats=pillow_formats(data)) as header:
            _check_header(header, data, max_pixels)
            yield header
    except (BadImage, MemoryError):
        raise
    except Image.DecompressionBombError:
        raise BadImage(rule_text("too many pixels", f"more than max_pixels={max_pixels}")) from None
    except UnidentifiedImageError:
        raise BadImage(_why_unknown(data)) from None
    except Exception as error:  # Pillow's decoders raise many types on damaged files
        raise BadImage(rule_text("truncated or damaged", first_line(error))) from error


def _why_unknown(data: bytes) -> str:
    kind = sniff_format(data)
    if kind == "JPEG" and (jpeg := read_structure(data)) and jpeg.unusual:
        return rule_text("unknown pixel values", f"JPEG of {jpeg.unusual}")
    return rule_text("truncated or damaged" if kind in IMAGE_FORMATS else "not an image", kind)


def _check_header(header: Image.Image, data: bytes, max_pixels: int) -> None:
    short, long = sorted(header.size)
    size = f"{header.width} x {header.height}"
    if short * long > max_pixels:
        remedy = f", raise it with max_pixels={short * long}" if short * long <= MOST_PIXELS else ""
        raise BadImage(rule_text("too many pixels", f"{size}, more than max_pixels={max_pixels}{remedy}"))
    if header.format == "JPEG2000" and short * long > MAX_JPEG2000_PIXELS:
        raise BadImage(rule_text("too many pixels", f"{size} of JPEG 2000, more than {MAX_JPEG2000_PIXELS}, {REMEDY}"))
    if short < MIN_SIDE:
        raise BadImage(rule_text("too small", size))
    if long > MAX_ASPECT * short:
        raise BadImage(rule_text("too long", size))
    if header.mode not in MODE_KINDS and not is_deep_ppm(header):
        raise BadImage(rule_text("unknown pixel values", header.mode))
    if data.startswith(START) and (jpeg := read_structure(data)):
        if jpeg.unusual:
            raise BadImage(rule_text("unknown pixel values", f"JPEG of {jpeg.unusual}"))
        if jpeg.scans > (most := min(MAX_SCANS, max(1, MAX_SCANNED_PIXELS // (short * long)))):
            raise BadImage(rule_text("too many scans", f"{jpeg.scans} of {size}, more than {most}"))


def is_for_pillow(header: Image.Image) -> bool:
    """Return whether Pillow decodes a photo because OpenCV gets it wrong, or has no or only a young decoder for it."""
    transparent = header.has_transparency_data and not header.mode.startswith("I")
    return transparent or (header.format in DECODED_BY_PILLOW and not is_deep_ppm(header))


def is_deep_ppm(header: Image.Image) -> bool:
    """Return whether it is a grey PPM of 16 bits, whose mode Pillow shares with integers of 32."""
    return header.format == "PPM" and header.mode == "I"


def has_16_bits(header: Image.Image, data: bytes) -> bool:
    """Return whether a photo has 16 bits a channel."""
    return header.mode.startswith("I") or _bits_per_channel(header, data) == 16


def conversion_notes(header: Image.Image, data: bytes) -> Iterator[str]:
    """Yield a note for each conversion of a photo's form that decoding will apply."""
    if has_several_frames(header):
        yield rule_text("first picture taken")
    if kind := kind_of(header):
        yield rule_text(f"{kind} made {'RGB' if kind.isupper() else 'colour'}")


def kind_of(header: Image.Image) -> str:
    """Return what a photo's channels are: grey, palette, CMYK, YCCK, or nothing for RGB."""
    kind = MODE_KINDS.get(header.mode, "grey")
    return "YCCK" if kind and header.info.get("adobe_transform") == 2 else kind


def orientation_of(header: Image.Image, data: bytes) -> int:
    """Return the orientation by EXIF, or where that has none by XMP: 1 to 8."""
    if header.format == "PNG" and b"eXIf" not in data and b"XML:com.adobe.xmp" not in data:
        return 1  # else Pillow would decode all to find EXIF after the pixels
    try:
        orientation = int(header.getexif().get(ORIENTATION, 1))
    except Exception:  # cameras write much invalid EXIF; the photo itself is fine
        return 1
    return orientation if orientation in range(1, 9) else 1


def has_several_frames(header: Image.Image) -> bool:
    """Return whether a photo is the first of several; what a phone's camera adds to its JPEG does not count."""
    if header.format == "TIFF":  # is_animated needs decoding, but its pages are cheap to count
        return bool(header.n_frames > 1)  # type: ignore[attr-defined]
    # The further frames of an MPO are what a phone's camera adds: depth, a preview, a wider dynamic range.
    return header.format not in ("MPO", "ICO") and bool(getattr(header, "is_animated", False))


def _bits_per_channel(header: Image.Image, data: bytes) -> int:
    if header.format == "PNG":
        return data[24]  # bit depth in the IHDR chunk, which always comes first
    return int(header.tag_v2.get(BITS_PER_SAMPLE, (8,))[0]) if header.format == "TIFF" else 8  # type: ignore[attr-defined]
