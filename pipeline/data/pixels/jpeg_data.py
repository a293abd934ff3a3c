"""What the bytes of a JPEG say without decoding: how it is coded, its number of scans, whether its data end early.

libjpeg decodes whatever it gets: where the data end before the photo does, all that is missing is grey, and only a
warning that neither OpenCV nor Pillow passes on says so.
"""

from __future__ import annotations

import io
import re
from collections.abc import Iterator
from typing import NamedTuple

import numpy as np
from PIL import Image

START, END, SCAN = b"\xff\xd8", b"\xff\xd9", b"\xff\xda"
MARKER = re.compile(rb"\xff[^\x00\xff\xd0-\xd7]")  # any but a stuffed zero, filling, and restarts
WITHOUT_LENGTH = (0x01, *range(0xD0, 0xD9))
FRAMES = dict.fromkeys((192, 193, 194, 201, 202), "") | {
    0xC3: "lossless", 0xC5: "hierarchical", 0xC6: "hierarchical", 0xC7: "hierarchical", 0xCB: "lossless",
    0xCD: "hierarchical", 0xCE: "hierarchical", 0xCF: "hierarchical", 0xF7: "JPEG-LS",
}  # fmt: skip
PROGRESSIVE = (0xC2, 0xCA)
MCU_PX = 16  # the largest unit in which a JPEG is coded; OpenCV and Pillow decode no coarser sampling than half
# What a decoder takes for more data: it fills in what is missing, and restarts wherever a restart is waited for.
FILLER = b"".join(bytes(range(1, 255)) + bytes([0xFF, 0xD0 + number]) for number in range(8)) + bytes(range(1, 255))


class Jpeg(NamedTuple):
    """How a JPEG is coded.

    Attributes:
        unusual: bits a channel other than 8, or a process that decoders do not know; empty for all others.
        progressive: whether later scans refine earlier ones.
        scans: their number; of a photo that one scan has whole, 1.
        first_scan: the place of the first scan's marker.
        channels: the numbers by which scans name the channels.
    """

    unusual: str
    progressive: bool
    scans: int
    first_scan: int
    channels: bytes


def read_structure(data: bytes) -> Jpeg | None:
    """Return how a JPEG is coded, or None if its header is damaged."""
    place, unusual, progressive, channels = 2, "", False, b""
    while place + 4 <= len(data) and data[place] == 0xFF:
        marker, length = data[place + 1], int.from_bytes(data[place + 2 : place + 4], "big")
        if marker == 0xFF or marker in WITHOUT_LENGTH:
            place += 1 if marker == 0xFF else 2
            continue
        if marker in FRAMES and place + 9 < len(data):
            bits, progressive = data[place + 4], marker in PROGRESSIVE
            channels = data[place + 10 : place + 10 + 3 * data[place + 9] : 3]
            unusual = FRAMES[marker] or (f"{bits} bits a channel" if bits != 8 else "")
        if marker == SCAN[1]:
            in_one = not progressive and data[place + 4 : place + 5] == bytes([len(channels)])
            return Jpeg(unusual, progressive, 1 if in_one else data.count(SCAN, place), place, channels)
        place += 2 + length
    return None


class Detail(NamedTuple):
    """How much of a progressive JPEG has been sent, by the headers of its scans.

    Attributes:
        is_complete: all of every channel.
        has_luma: all detail of the first channel, if only coarsely, without the last scan, which may end early.
    """

    is_complete: bool
    has_luma: bool


def detail_of(data: bytes, jpeg: Jpeg) -> Detail:
    """Return how much of a progressive JPEG has been sent."""
    sent: dict[tuple[int, int], int] = {}  # channel and coefficient -> bits that are still to come
    before_last = sent.copy()
    for marker, place in _markers(data, jpeg.first_scan):
        if marker == SCAN[1]:
            before_last = sent.copy()
            count = data[place + 4]
            first, last, bits = data[place + 5 + 2 * count : place + 8 + 2 * count]
            channels = [data[place + 5 + 2 * number] for number in range(count)]
            sent |= {(channel, number): bits & 15 for channel in channels for number in range(first, last + 1)}
    wanted = [(channel, number) for channel in jpeg.channels for number in range(64)]
    luma = wanted[:64]
    is_complete = all(sent.get(part) == 0 for part in wanted)
    return Detail(is_complete, all(part in (sent if is_complete else before_last) for part in luma))


def _markers(data: bytes, place: int) -> Iterator[tuple[int, int]]:
    """Yield the markers from a place on, to the one that ends the photo, each with its place."""
    while found := MARKER.search(data, place):
        place = found.start()
        yield data[place + 1], place
        if data[place + 1] == END[1]:
            return
        length = 0 if data[place + 1] in WITHOUT_LENGTH else int.from_bytes(data[place + 2 : place + 4], "big")
        place += 2 + length


def missing_share(data: bytes, jpeg: Jpeg) -> float:
    """Return which share of a JPEG's area its data do not reach: 0 of one that is complete.

    Where the data end early, a decoder takes what follows them for their continuation. So what changes when filler is
    put before the end marker was missing.

    Args:
        data: the file.
        jpeg: its structure.

    Raises:
        OSError: it cannot be decoded at all.
    """
    end = next((place for marker, place in _markers(data, jpeg.first_scan) if marker == END[1]), len(data))
    scans = data[:end].rstrip(b"\xff")  # half of a stuffed byte would make a marker of the filler
    # What the last scans of a progressive JPEG refine shows at full size alone.
    reduced_by = 1 if jpeg.progressive else 8
    plain, filled = (_decode(scans + tail, reduced_by) for tail in (END, FILLER + END))
    changed = np.flatnonzero((plain != filled).any(axis=(1, 2)))  # rows
    if not len(changed):
        return 0.0
    height, width = plain.shape[:2]
    row = int(changed[0])
    column = int(np.flatnonzero((plain[row] != filled[row]).any(axis=1))[0])
    unit = min(MCU_PX // reduced_by, height - row)
    return ((height - row - unit) * width + unit * (width - column)) / (height * width)


def _decode(data: bytes, reduced_by: int) -> np.ndarray:
    """Decode by Pillow, which is silent about damage: (height, width, channels), as stored."""
    with Image.open(io.BytesIO(data), formats=["JPEG"]) as image:
        image.draft(None, (max(1, image.width // reduced_by), max(1, image.height // reduced_by)))
        pixels = np.asarray(image)
        return pixels.reshape(*pixels.shape[:2], -1)
