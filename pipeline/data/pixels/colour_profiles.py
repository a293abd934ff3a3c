"""Colour profiles (ICC): the colours that a camera or a scanner means -> those of sRGB, which networks are trained on.

LittleCMS converts, through Pillow. Most profiles are sRGB's own in one of its many spellings: what a profile does is
tried once on a grid of colours, and one that changes hardly anything costs nothing from then on. What a PNG says by
gAMA, cHRM or cICP is not applied: hardly a camera writes them, and browsers disagree on them.
"""

from __future__ import annotations

import io
from functools import lru_cache
from typing import NamedTuple

import numpy as np
from PIL import Image, ImageCms

SAME = 2  # of 255: what sRGB's spellings differ by at most
GRID = np.linspace(0, 255, 9).astype(np.uint8)
LONGEST_NAME = 60  # characters, in the report
MODE_OF_SPACE = {"RGB ": "RGB", "GRAY": "L", "CMYK": "CMYK"}


class ColourProfile(NamedTuple):
    """A profile that could be read: its name, the mode of the photos it is for, and its bytes."""

    name: str
    mode: str
    icc: bytes


@lru_cache(maxsize=16)
def read_profile(icc: bytes) -> ColourProfile | None:
    """Return what an embedded profile says, or None if it is broken or for other channels than photos have."""
    try:
        profile = ImageCms.ImageCmsProfile(io.BytesIO(icc))
        mode = MODE_OF_SPACE[profile.profile.xcolor_space]
        name = " ".join(ImageCms.getProfileDescription(profile).split())[:LONGEST_NAME]
        for source in (mode, "RGBA") if mode == "RGB" else (mode,):
            _transform(icc, source)
    except (ImageCms.PyCMSError, OSError, KeyError, ValueError, TypeError):
        return None
    return ColourProfile(name, mode, icc)


@lru_cache(maxsize=16)
def changes_colours(profile: ColourProfile) -> bool:
    """Return whether converting to sRGB changes colours: not if the profile is sRGB's, under whatever name."""
    if profile.mode == "CMYK":
        return True
    if profile.mode == "L":
        grid = Image.fromarray(np.arange(256, dtype=np.uint8)[None])
    else:
        grid = Image.fromarray(np.stack(np.meshgrid(GRID, GRID, GRID), axis=-1).reshape(GRID.size, -1, 3))
    difference = np.abs(np.asarray(to_srgb(grid, profile), np.int16) - np.asarray(grid.convert("RGB"), np.int16))
    return bool(difference.max() > SAME)


def to_srgb(image: Image.Image, profile: ColourProfile) -> Image.Image:
    """Return an image of the profile's mode, or RGBA, in sRGB: RGB, or RGBA."""
    return _transform(profile.icc, image.mode).apply(image)


@lru_cache(maxsize=32)
def _transform(icc: bytes, mode: str) -> ImageCms.ImageCmsTransform:
    # Relative colorimetric with black point compensation, as Photoshop and browsers convert.
    return ImageCms.buildTransform(
        ImageCms.ImageCmsProfile(io.BytesIO(icc)),
        ImageCms.createProfile("sRGB"),
        mode,
        "RGBA" if mode == "RGBA" else "RGB",
        ImageCms.Intent.RELATIVE_COLORIMETRIC,
        ImageCms.Flags.BLACKPOINTCOMPENSATION,
    )
