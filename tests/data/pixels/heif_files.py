"""HEIF files that no encoder here writes, put together from boxes (ISO/IEC 23008-12): a phone's tiles, and a film."""

from __future__ import annotations

import struct
from collections.abc import Sequence

from PIL import Image

from tests.data.pixels.encoded import heic

GRID, FIRST_TILE = 1, 2  # numbers of items


def heic_of_tiles(photo: Image.Image, columns: int, rows: int, quarter_turns: int = 0) -> bytes:
    """Return a photo whose tiles are coded each for itself, as iPhones do, turned counter-clockwise when shown."""
    side = (photo.width // columns, photo.height // rows)
    corners = [(column * side[0], row * side[1]) for row in range(rows) for column in range(columns)]
    tiles = [heic(photo.crop((left, top, left + side[0], top + side[1]))) for left, top in corners]
    coded = [_content(tile, b"mdat") for tile in tiles]
    decoder = _child(tiles[0], b"hvcC")
    head = box(b"ftyp", b"heic" + bytes(4) + b"mif1heic")
    grid = struct.pack(">BBBBHH", 0, 0, rows - 1, columns - 1, *photo.size)
    numbers = range(FIRST_TILE, FIRST_TILE + len(tiles))
    place = len(head) + len(_meta(photo, side, decoder, grid, coded, numbers, quarter_turns, 0)) + 8
    meta = _meta(photo, side, decoder, grid, coded, numbers, quarter_turns, place)
    return head + meta + box(b"mdat", grid + b"".join(coded))


def film_of_heif() -> bytes:
    """Return the beginning of an image sequence, which has a film's track and no still picture."""
    return box(b"ftyp", b"msf1" + bytes(4) + b"hevcmsf1") + box(b"moov", box(b"mvhd", bytes(100)))


def box(kind: bytes, content: bytes) -> bytes:
    """Return a box: its length, its kind, its content."""
    return struct.pack(">I", 8 + len(content)) + kind + content


def _full_box(kind: bytes, content: bytes, version: int = 0, flags: int = 0) -> bytes:
    return box(kind, bytes([version]) + flags.to_bytes(3, "big") + content)


def _meta(
    photo: Image.Image, side: tuple[int, int], decoder: bytes, grid: bytes, coded: Sequence[bytes],
    numbers: Sequence[int], quarter_turns: int, place: int,
) -> bytes:  # fmt: skip
    lengths = [len(grid), *map(len, coded)]
    places = [place + sum(lengths[:number]) for number in range(len(lengths))]
    extents = [
        struct.pack(">HHHII", item, 0, 1, where, length)
        for item, where, length in zip([GRID, *numbers], places, lengths, strict=True)
    ]
    kinds = [(GRID, b"grid", 0), *((number, b"hvc1", 1) for number in numbers)]  # 1: hidden
    entries = [
        _full_box(b"infe", struct.pack(">HH", item, 0) + kind + b"\0", version=2, flags=hidden)
        for item, kind, hidden in kinds
    ]
    made_of = struct.pack(">HH", GRID, len(numbers)) + struct.pack(f">{len(numbers)}H", *numbers)
    properties = [
        decoder,
        _full_box(b"ispe", struct.pack(">II", *side)),
        _full_box(b"ispe", struct.pack(">II", *photo.size)),
        box(b"irot", bytes([quarter_turns])),
    ]
    essential = 0x80
    owned = [struct.pack(">HBBB", GRID, 2, 3, essential | 4)]
    owned += [struct.pack(">HBBB", number, 2, essential | 1, 2) for number in numbers]
    boxes = [
        _full_box(b"hdlr", bytes(4) + b"pict" + bytes(13)),
        _full_box(b"pitm", struct.pack(">H", GRID)),
        _full_box(b"iloc", bytes([0x44, 0]) + struct.pack(">H", len(extents)) + b"".join(extents)),
        _full_box(b"iinf", struct.pack(">H", len(entries)) + b"".join(entries)),
        _full_box(b"iref", box(b"dimg", made_of)),
        box(
            b"iprp",
            box(b"ipco", b"".join(properties)) + _full_box(b"ipma", struct.pack(">I", len(owned)) + b"".join(owned)),
        ),
    ]
    return _full_box(b"meta", b"".join(boxes))


def _child(file: bytes, kind: bytes) -> bytes:
    """Return the box of a kind, with its head, wherever it is in a file."""
    place = file.index(kind) - 4
    return file[place : place + int.from_bytes(file[place : place + 4], "big")]


def _content(file: bytes, kind: bytes) -> bytes:
    return _child(file, kind)[8:]
