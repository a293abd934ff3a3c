"""What the bytes of a PNG say without decoding: its texts, which may be longer than the picture, and its end."""

from __future__ import annotations

PNG = b"\x89PNG\r\n\x1a\n"
TEXTS = (b"tEXt", b"zTXt", b"iTXt")
KEPT_TEXT = b"XML:com.adobe.xmp\0\0"  # XMP, uncompressed: it may hold the orientation
LONG_TEXT_BYTES = 1024  # as compressed: a thousand times as much, at most, when it is not


def without_text(data: bytes) -> bytes:
    """Return a PNG without its long texts, in which programs keep their history; a decoder may refuse them."""
    kept, copied, place = [], 0, len(PNG)
    while place + 12 <= len(data):
        length, name = int.from_bytes(data[place : place + 4], "big"), data[place + 4 : place + 8]
        end = place + 12 + length
        if name in TEXTS and length > LONG_TEXT_BYTES and not data.startswith(KEPT_TEXT, place + 8):
            kept.append(data[copied:place])
            copied = end
        place = end
    return b"".join([*kept, data[copied:]]) if kept else data


def lacks_its_end(data: bytes) -> bool:
    """Return whether a PNG's last chunk, which says that it ends, is missing."""
    return data.rfind(b"IEND") < 0
