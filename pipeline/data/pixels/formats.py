"""What a file is by its first bytes: the formats that are taken, and the names of those that are not.

A format that is often met beside photos is named with its remedy. `filetype` and libmagic know hundreds more, but not
whether a TIFF is a camera's raw data.
"""

from __future__ import annotations

import struct
from typing import NamedTuple

from PIL import Image

# The formats that Pillow may open, with their suffixes: the fewer decoders a malicious file can reach, the better.
FORMATS = {
    "JPEG": (".jpg", ".jpeg", ".jpe", ".jfif", ".mpo"), "PNG": (".png", ".apng"), "WEBP": (".webp",),
    "BMP": (".bmp",), "DIB": (".dib", ".bmp"), "TIFF": (".tif", ".tiff"), "GIF": (".gif",), "AVIF": (".avif",),
    "JPEG2000": (".jp2", ".j2k", ".jpx", ".jpf", ".j2c"), "HEIF": (".heic", ".heif", ".hif", ".heics", ".heifs"),
    "PPM": (".ppm", ".pgm", ".pbm", ".pnm"), "ICO": (".ico",), "TGA": (".tga",),
}  # fmt: skip
IMAGE_FORMATS = frozenset({"JPEG", "PNG", "GIF", "WebP", "BMP", "TIFF", "AVIF", "HEIC"})  # of which damage is said
SIGNATURES = {
    b"\xff\xd8": "JPEG", b"\x89PNG": "PNG", b"GIF8": "GIF", b"BM": "BMP", b"II*\0": "TIFF", b"MM\0*": "TIFF",
    b"%PDF": "PDF", b"PK": "ZIP or office document", b"\0\5\x16\7": "macOS resource fork", b"7z\xbc\xaf": "7z archive",
    b"Rar!": "RAR archive", b"\x1f\x8b": "gzip archive", b"\x1aE\xdf\xa3": "video", b"OggS": "sound or film",
    b"ID3": "sound or film", b"\0\0\1\xba": "video", b"SQLite format 3": "SQLite database",
}  # fmt: skip
# Pictures that no decoder here takes: they are to be exported, as `sniff_format` says.
OTHER_PICTURES = {
    b"8BPS": "Photoshop PSD", b"\x76\x2f\x31\x01": "OpenEXR", b"#?RADIANCE": "Radiance HDR", b"#?RGBE": "Radiance HDR",
    b"gimp xcf": "GIMP XCF", b"\xff\x0a": "JPEG XL", b"\0\0\0\x0cJXL ": "JPEG XL", b"%!PS": "PostScript",
    b"\xc5\xd0\xd3\xc6": "PostScript", b"SIMPLE  =": "FITS", b"DDS ": "DDS", b"icns": "Apple icon",
    b"II\xbc\1": "JPEG XR", b"II+\0": "BigTIFF", b"MM\0+": "BigTIFF", b"PF\n": "PFM", b"Pf\n": "PFM",
}  # fmt: skip
TIFF_SIGNATURES = (b"II*\0", b"MM\0*")
CR2_MARK = b"CR"  # behind the place of a TIFF's first directory
RAW = "a camera's raw data"
RAW_SIGNATURES = {
    b"FUJIFILMCCD-RAW": "RAF", b"IIRO": "ORF", b"IIRS": "ORF", b"MMOR": "ORF", b"IIU\0": "RW2", b"FOVb": "X3F",
    b"\0MRM": "MRW", b"II\x1a\0\0\0HEAPCCDR": "CRW",
}  # fmt: skip
REMEDY = "export it as JPEG"
AVIF_BRANDS = (b"avif", b"avis")
HEIF_BRANDS = (b"heic", b"heix", b"heim", b"heis", b"hevc", b"hevx", b"mif1", b"msf1")
# Tags of TIFF, and values that only raw data have: a colour filter's mosaic, or its linear values.
SUBFILE_TYPE, PHOTOMETRIC, MAKE, SUB_DIRECTORIES, DNG_VERSION = 254, 262, 271, 330, 50706
RAW_PHOTOMETRICS = {32803, 34892}
MOST_DIRECTORIES = 32  # of a TIFF that are looked at
RAW_OF_MAKER = {"nikon": "NEF", "sony": "ARW", "canon": "CR2", "pentax": "PEF", "samsung": "SRW", "hasselblad": "3FR"}
TGA_FOOTER = b"TRUEVISION-XFILE.\0"


class _Directory(NamedTuple):
    """The integers of a TIFF's directory by tag (none for other values), and the place of the following directory."""

    tags: dict[int, tuple[int, ...]]
    following: int


def pillow_formats(data: bytes) -> list[str]:
    """Return the names of the Pillow plugins that may open these bytes."""
    if data[4:8] == b"ftyp":
        return ["AVIF"] if _brands(data).intersection(AVIF_BRANDS) else ["HEIF"]
    if _is_tga(data):
        return ["TGA"]
    return [name for name in FORMATS if name not in ("AVIF", "HEIF", "TGA")]


def sniff_format(data: bytes) -> str:
    """Return the likely format of bytes that Pillow cannot open, with a remedy if there is one, or an empty string."""
    start = data[:1024].lstrip().lower()
    if data[4:8] == b"ftyp":
        brands = _brands(data)
        if brands.intersection(AVIF_BRANDS):
            return "AVIF"
        if b"crx " in brands:
            return f"CR3, {RAW}, {REMEDY}"
        if not brands.intersection(HEIF_BRANDS):
            return "video"
        is_film = b"moov" in (boxes := _boxes(data)) and b"meta" not in boxes
        return f"HEIC film without a still picture, {REMEDY}" if is_film else "HEIC"
    if data.startswith(b"RIFF"):
        return "WebP" if data[8:12] == b"WEBP" else "sound or film"
    is_cr2 = data[:4] in TIFF_SIGNATURES and data[8:10] == CR2_MARK
    if kind := "CR2" if is_cr2 else _of_signature(RAW_SIGNATURES, data):
        return f"{kind}, {RAW}, {REMEDY}"
    if kind := _of_signature(OTHER_PICTURES, data):
        return f"{kind}, {REMEDY}"
    if data[128:132] == b"DICM":
        return f"DICOM, {REMEDY}"
    if b"<svg" in start:
        return "SVG"
    if start.startswith((b"<!doctype html", b"<html")):
        return "HTML"
    if kind := _of_signature(SIGNATURES, data):
        return kind
    if data[4:8] in (b"moov", b"mdat", b"wide", b"free") and data[:2] == b"\0\0":  # QuickTime before it had brands
        return "video"
    return "text" if start.isascii() and b"\0" not in start else ""


def raw_kind(header: Image.Image, data: bytes) -> str:
    """Return which camera's raw data an opened TIFF is, as text, or an empty string if it is none.

    Pillow would take the small preview, which such a file has for its first picture.
    """
    if header.format != "TIFF":
        return ""
    order = "<" if data[:2] == b"II" else ">"
    first = _tiff_directory(data, int.from_bytes(data[4:8], "little" if order == "<" else "big"), order)
    maker = str(header.tag_v2.get(MAKE, "")).lower()  # type: ignore[attr-defined]
    kind = next((kind for name, kind in RAW_OF_MAKER.items() if name in maker), "RAW")
    if DNG_VERSION in first.tags:
        return f"DNG, {RAW}"
    if data[8:10] == CR2_MARK:
        return f"CR2, {RAW}"
    waiting, seen = [first], 0
    while waiting and seen < MOST_DIRECTORIES:
        directory, seen = waiting.pop(0), seen + 1
        if set(directory.tags.get(PHOTOMETRIC, ())) & RAW_PHOTOMETRICS:
            return f"{kind}, {RAW}"
        places = [*directory.tags.get(SUB_DIRECTORIES, ()), *([directory.following] if directory.following else [])]
        waiting += [_tiff_directory(data, place, order) for place in places[:MOST_DIRECTORIES]]
    is_preview = first.tags.get(SUBFILE_TYPE, (0,))[0] & 1
    return f"{kind}, {RAW}" if is_preview and (maker or SUB_DIRECTORIES in first.tags) else ""


def _tiff_directory(data: bytes, place: int, order: str) -> _Directory:
    tags: dict[int, tuple[int, ...]] = {}
    try:
        (entries,) = struct.unpack_from(order + "H", data, place)
        for number in range(entries):
            tag, kind, count, value = struct.unpack_from(order + "HHII", data, entry := place + 2 + 12 * number)
            code, size = {1: ("B", 1), 3: ("H", 2), 4: ("I", 4), 13: ("I", 4)}.get(kind, ("", 0))
            if not code or count > 1024:
                tags[tag] = ()
                continue
            tags[tag] = struct.unpack_from(f"{order}{count}{code}", data, entry + 8 if size * count <= 4 else value)
        (following,) = struct.unpack_from(order + "I", data, place + 2 + 12 * entries)
    except struct.error:  # it points behind the end
        return _Directory(tags, 0)
    return _Directory(tags, following)


def _brands(data: bytes) -> set[bytes]:
    """Return the brands of an ISO media file: the major one and those that it is compatible with."""
    end = min(int.from_bytes(data[:4], "big"), 512)
    return {data[8:12], *(data[place : place + 4] for place in range(16, end, 4))}


def _boxes(data: bytes) -> set[bytes]:
    """Return the kinds of an ISO media file's outermost boxes."""
    place, size, kinds = 0, 8, set()
    while size >= 8 and place + 8 <= len(data):  # one without a length of its own is the last that can be told
        size = int.from_bytes(data[place : place + 4], "big")
        kinds.add(data[place + 4 : place + 8])
        place += size
    return kinds


def _is_tga(data: bytes) -> bool:
    """Return whether bytes are a TGA, which begins with no signature: by its footer, or a header that fits its size."""
    if data[-len(TGA_FOOTER) :] == TGA_FOOTER:
        return True
    if len(data) < 18 or data[1] != 0 or data[2] not in (2, 3) or data[16] not in (8, 24, 32):
        return False
    width, height = struct.unpack_from("<HH", data, 12)
    return bool(width and height) and len(data) == 18 + data[0] + width * height * data[16] // 8


def _of_signature(names: dict[bytes, str], data: bytes) -> str:
    return next((name for signature, name in names.items() if data.startswith(signature)), "")
