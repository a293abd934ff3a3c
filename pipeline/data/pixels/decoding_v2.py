"""Version 2 of decoding: colours by embedded profiles, large JPEGs reduced, and damage found that decoders pass over.

OpenCV decodes as in version 1, but is not left to turn photos: it reads an orientation only in EXIF's usual spelling.
Pillow decodes what version 1 has it decode, CMYK with a profile, and what OpenCV cannot (TIFF by ZSTD and LZMA, 16-bit
BMP). Where both decode a JPEG, they do it to equal pixels; OpenCV takes half of the time.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import NamedTuple

import cv2
import numpy as np
from PIL import ExifTags, Image

from pipeline.data.pixels.colour_profiles import ColourProfile, changes_colours, read_profile, to_srgb
from pipeline.data.pixels.decoding_v1 import composite_on_white, decode_with_opencv, try_opencv
from pipeline.data.pixels.formats import REMEDY, raw_kind
from pipeline.data.pixels.headers import (
    ORIENTATION,
    BadImage,
    Decoded,
    conversion_notes,
    has_16_bits,
    is_deep_ppm,
    is_for_pillow,
    kind_of,
    opened,
    orientation_of,
)
from pipeline.data.pixels.jpeg_data import END, Detail, detail_of, missing_share, read_structure
from pipeline.data.pixels.large_photos import turn
from pipeline.data.pixels.png_data import lacks_its_end
from pipeline.data.rules import rule_text

# A JPEG is reduced only to at least twice the image size, and to no less than for this image size: so the pixels by
# which duplicates are known are the same for all image sizes up to it (`shards` decodes for it beside a larger one).
USUAL_IMAGE_SIZE = 224
ENOUGH = 2  # sides of the decoded photo / image size
REDUCED = {
    1: 0,
    2: cv2.IMREAD_REDUCED_GRAYSCALE_2,
    4: cv2.IMREAD_REDUCED_GRAYSCALE_4,
    8: cv2.IMREAD_REDUCED_GRAYSCALE_8,
}  # with COLOR_RGB: reduced and in colour
AS_STORED = cv2.IMREAD_COLOR_RGB | cv2.IMREAD_IGNORE_ORIENTATION
GREY_OF_NO_DATA = 128
MAX_MISSING_SHARE = 0.005  # of a JPEG's area: its last bytes; with more, it is damaged
DEPTHS = (8, 10, 12, 14, 16)  # bits that sensors have
JPEGS = ("JPEG", "MPO")
TURNED_BY_DECODERS = ("TIFF", "HEIF")  # whatever they are asked
TURNS: dict[int, Callable[[np.ndarray], np.ndarray]] = {
    1: lambda image: image,
    2: lambda image: cv2.flip(image, 1),
    3: lambda image: cv2.rotate(image, cv2.ROTATE_180),
    4: lambda image: cv2.flip(image, 0),
    5: cv2.transpose,
    6: lambda image: cv2.rotate(image, cv2.ROTATE_90_CLOCKWISE),
    7: lambda image: cv2.rotate(cv2.transpose(image), cv2.ROTATE_180),
    8: lambda image: cv2.rotate(image, cv2.ROTATE_90_COUNTERCLOCKWISE),
}


class _Plan(NamedTuple):
    """How a photo is to be decoded, by its header."""

    header: Image.Image
    data: bytes
    profile: ColourProfile | None
    reduced_by: int


def decode_v2(data: bytes, max_pixels: int, image_size: int) -> Decoded:
    """Decode by version 2 of the pixel rules, for an image size or (0) whole."""
    with opened(data, max_pixels) as header, turn(header.width * header.height):
        if kind := raw_kind(header, data):
            raise BadImage(rule_text("not an image", f"{kind}, {REMEDY}"))
        orientation, notes = _orientation(header, data)
        notes += conversion_notes(header, data)
        profile, profile_notes = _profile(header)
        plan = _Plan(header, data, profile, _reduction(header, image_size) if image_size else 1)
        by_pillow = is_for_pillow(header) or (profile is not None and profile.mode == "CMYK")
        pixels, pixel_notes = (_decode_with_pillow if by_pillow else _decode_with_opencv)(plan)
        pixels = TURNS[orientation](pixels)
        width, height = header.size if plan.reduced_by > 1 else pixels.shape[1::-1]
        if plan.reduced_by > 1 and orientation >= 5:
            width, height = height, width
        every_note = (*notes, *profile_notes, *pixel_notes)
        most_reduced = _reduction(header, USUAL_IMAGE_SIZE)
        return Decoded(pixels, str(header.format), every_note, width, height, plan.reduced_by, most_reduced)


def _reduction(header: Image.Image, image_size: int) -> int:
    """Return by what factor a photo is reduced: the network's square comes from its shorter side, or from less."""
    enough = ENOUGH * max(image_size, USUAL_IMAGE_SIZE)
    fitting = [factor for factor in REDUCED if min(header.size) // factor >= enough]
    return max(fitting, default=1) if header.format in JPEGS else 1


def _orientation(header: Image.Image, data: bytes) -> tuple[int, list[str]]:
    """Return how the decoded photo is to be turned, 1 to 8, and the note that says so."""
    if header.format == "HEIF":  # its EXIF tells what libheif has done
        return 1, []
    orientation = orientation_of(header, data)
    if orientation == 1 or (header.format == "TIFF" and ORIENTATION not in header.tag_v2):  # type: ignore[attr-defined]
        return 1, []
    note = rule_text("turned upright", f"{_orientation_source(header)} orientation {orientation}")
    return 1 if header.format in TURNED_BY_DECODERS else orientation, [note]


def _orientation_source(header: Image.Image) -> str:
    if header.format == "TIFF":
        return "TIFF"
    exif = Image.Exif()
    exif.load(header.info.get("exif") or b"")
    return "EXIF" if ExifTags.Base.Orientation in exif or header.format == "PNG" else "XMP"


def _profile(header: Image.Image) -> tuple[ColourProfile | None, list[str]]:
    """Return the colour profile to convert by, if its colours are others than sRGB's, and the note."""
    if not (icc := header.info.get("icc_profile")):
        return None, []
    profile = read_profile(icc)
    if profile is None:
        return None, [rule_text("colour profile ignored", "it is broken or of unknown channels")]
    kind = {"YCCK": "CMYK", "grey": "L"}.get(kind_of(header), kind_of(header)) or "RGB"
    kind = "RGB" if kind == "palette" else kind
    if profile.mode != kind and (profile.mode, kind) != ("RGB", "L"):  # grey has equal channels of RGB, too
        return None, [rule_text("colour profile ignored", f"it is for {profile.mode}, the photo is {kind}")]
    if not changes_colours(profile):
        return None, []
    return profile, [rule_text("colours made sRGB", profile.name)]


def _decode_with_pillow(plan: _Plan) -> tuple[np.ndarray, list[str]]:
    """Decode a photo that may be transparent, or has a profile for CMYK."""
    header, notes = plan.header, []
    if header.format in JPEGS:
        notes += _damage_notes(plan, is_suspect=True)
        header.draft(None, (header.width // plan.reduced_by, header.height // plan.reduced_by))
    header.load()
    if header.format == "PNG" and lacks_its_end(plan.data):
        notes.append(rule_text("last bytes missing"))
    if header.info.get("bit_depth", 8) > 8:  # of HEIF
        notes.append(rule_text("16 bits made 8", f"{header.info['bit_depth']} bits in use"))
    image: Image.Image = header
    if plan.profile and plan.profile.mode == "CMYK":
        return np.asarray(to_srgb(image, plan.profile)), notes
    if plan.profile and plan.profile.mode == "L":
        grey_alpha = image.convert("LA")
        image = to_srgb(grey_alpha.getchannel("L"), plan.profile)
        image.putalpha(grey_alpha.getchannel("A"))
    elif plan.profile:
        image = to_srgb(image.convert("RGBA"), plan.profile)
    pixels, was_transparent = composite_on_white(image)
    return pixels, [*notes, *[rule_text("laid on white")] * was_transparent]


def _decode_with_opencv(plan: _Plan) -> tuple[np.ndarray, list[str]]:
    """Decode an opaque photo."""
    header = plan.header
    if has_16_bits(header, plan.data) or is_deep_ppm(header):
        pixels, notes = _decode_16_bits(plan)
    elif header.format in JPEGS:
        pixels, notes = _decode_jpeg(plan)
    else:
        pixels, notes = _decode_other(plan)
    if plan.profile:
        image = Image.fromarray(pixels)
        image = image.getchannel(0) if plan.profile.mode == "L" else image
        pixels = np.asarray(to_srgb(image, plan.profile))
    return pixels, notes


def _decode_16_bits(plan: _Plan) -> tuple[np.ndarray, list[str]]:
    """Decode 16 bits a channel to 8: the upper ones of those that the data use, as sensors have 10, 12 or 14."""
    pixels: np.ndarray | None
    if is_deep_ppm(plan.header):  # Pillow scales it by the greatest value that its header names
        pixels = np.repeat(np.asarray(plan.header).astype(np.uint16)[..., None], 3, axis=2)
    else:
        pixels = try_opencv(plan.data, AS_STORED | cv2.IMREAD_ANYDEPTH)
    if pixels is None:
        raise BadImage(rule_text("truncated or damaged"))
    if pixels.dtype == np.uint8:
        return pixels, [rule_text("16 bits made 8")]
    bits = next(depth for depth in DEPTHS if int(pixels.max()) < 1 << depth)
    detail = f"{bits} bits in use" if bits < 16 else ""
    return (pixels >> (bits - 8)).astype(np.uint8), [rule_text("16 bits made 8", detail)]


def _decode_other(plan: _Plan) -> tuple[np.ndarray, list[str]]:
    pixels = try_opencv(plan.data, AS_STORED)
    if pixels is None:
        pixels = np.asarray(plan.header.convert("RGB"))  # which raises what is wrong, if Pillow cannot decode it either
    missing = plan.header.format == "PNG" and lacks_its_end(plan.data)
    return pixels, [rule_text("last bytes missing")] * missing


def _decode_jpeg(plan: _Plan) -> tuple[np.ndarray, list[str]]:
    flags = AS_STORED | REDUCED[plan.reduced_by]
    pixels = try_opencv(plan.data, flags)
    # Of a CMYK the grey of no data has become another colour; there are few, so that each can be looked at twice.
    is_suspect = pixels is None or plan.header.mode == "CMYK" or bool((pixels[-1, -1] == GREY_OF_NO_DATA).all())
    notes = _damage_notes(plan, is_suspect, has_end=pixels is not None)
    return decode_with_opencv(plan.data + END, flags) if pixels is None else pixels, notes


def _damage_notes(plan: _Plan, is_suspect: bool, has_end: bool = True) -> list[str]:
    """Return the note on what a JPEG lacks, if that is so little that the photo is still good.

    Raises:
        BadImage: its data end early.
    """
    if not is_suspect and not plan.header.info.get("progressive"):
        return []
    jpeg = read_structure(plan.data)
    if jpeg is None:
        raise BadImage(rule_text("truncated or damaged"))
    detail = detail_of(plan.data, jpeg) if jpeg.progressive else Detail(True, True)
    if not is_suspect and detail.is_complete:
        return []
    share = missing_share(plan.data, jpeg)
    if share > MAX_MISSING_SHARE and not (has_end and jpeg.progressive and detail.has_luma):
        detail_text = f"its data end early, {share:.0%} of it is missing" if has_end else ""
        raise BadImage(rule_text("truncated or damaged", detail_text))
    if has_end and not share:
        return []
    text = f"{share:.1%} of the area" if share <= MAX_MISSING_SHARE else "its finest detail"
    return [rule_text("last bytes missing", text if share else "")]
