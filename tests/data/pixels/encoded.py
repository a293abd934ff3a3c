"""Photos of every odd kind as bytes, drawn and encoded for the tests of what decodes them."""

from __future__ import annotations

import io
import struct
import zlib

import cv2
import numpy as np
import pillow_heif
from PIL import Image, TiffImagePlugin


def encode(image: Image.Image, file_format: str, **options: object) -> bytes:
    buffer = io.BytesIO()
    image.save(buffer, file_format, **options)
    return buffer.getvalue()


def drawn(width: int = 200, height: int = 150, seed: int = 0, noise: float = 4.0) -> Image.Image:
    """A picture with soft areas and a little noise, as photos have."""
    rng = np.random.default_rng(seed)
    soft = cv2.resize(rng.integers(0, 256, (6, 8, 3), np.uint8), (width, height), interpolation=cv2.INTER_CUBIC)
    return Image.fromarray(np.clip(soft + rng.normal(0, noise, soft.shape), 0, 255).astype(np.uint8))


def heic(image: Image.Image, **options: object) -> bytes:
    buffer = io.BytesIO()
    pillow_heif.from_pillow(image).save(buffer, quality=90, **options)
    return buffer.getvalue()


def heic_10_bits(image: Image.Image) -> bytes:
    buffer = io.BytesIO()
    deep = (np.asarray(image).astype(np.uint16) << 8).tobytes()
    pillow_heif.from_bytes("RGB;16", image.size, deep).save(buffer, quality=90)
    return buffer.getvalue()


def chunk(name: bytes, content: bytes) -> bytes:
    return struct.pack(">I", len(content)) + name + content + struct.pack(">I", zlib.crc32(name + content))


def with_chunk(png: bytes, name: bytes, content: bytes) -> bytes:
    """A PNG with one more chunk behind its header."""
    return png[:33] + chunk(name, content) + png[33:]


def tiff(image: Image.Image, tags: dict[int, tuple[int, object]], **options: object) -> bytes:
    """A TIFF with further tags: number -> type and value."""
    directory = TiffImagePlugin.ImageFileDirectory_v2()
    for tag, (kind, value) in tags.items():
        directory.tagtype[tag] = kind
        directory[tag] = value
    return encode(image, "TIFF", tiffinfo=directory, **options)


def with_scans(jpeg: bytes, times: int) -> bytes:
    """A progressive JPEG whose last scan is repeated."""
    last = jpeg.rindex(b"\xff\xda")
    return jpeg[:last] + jpeg[last:-2] * times + jpeg[-2:]


def exif_with_long_orientation(orientation: int, order: str) -> bytes:
    """EXIF whose orientation has the type LONG, as some editors write it."""
    mark = {"<": b"II", ">": b"MM"}[order]
    entry = struct.pack(order + "HHII", 0x0112, 4, 1, orientation)
    return b"Exif\0\0" + mark + struct.pack(order + "HIH", 42, 8, 1) + entry + bytes(4)


def xmp_with_orientation(orientation: int) -> bytes:
    return (
        b'<x:xmpmeta xmlns:x="adobe:ns:meta/"><rdf:RDF xmlns:rdf="http://www.w3.org/1999/02/22-rdf-syntax-ns#">'
        b'<rdf:Description rdf:about="" xmlns:tiff="http://ns.adobe.com/tiff/1.0/" tiff:Orientation="%d"/>'
        b"</rdf:RDF></x:xmpmeta>" % orientation
    )


def jpeg_with_xmp(image: Image.Image, xmp: bytes) -> bytes:
    return encode(image, "JPEG", quality=95, xmp=xmp)


def bmp_565(image: Image.Image, header_size: int = 40) -> bytes:
    """A BMP of 16 bits a pixel: 5 of red, 6 of green, 5 of blue."""
    pixels = np.asarray(image).astype(np.uint16)
    packed = (pixels[..., 0] >> 3) << 11 | (pixels[..., 1] >> 2) << 5 | pixels[..., 2] >> 3
    padding = bytes(-2 * image.width % 4)
    body = b"".join(row.astype("<u2").tobytes() + padding for row in packed[::-1])
    masks = struct.pack("<III", 0xF800, 0x07E0, 0x001F) + bytes(max(0, header_size - 52))
    head = struct.pack("<IiiHHIIiiII", header_size, *image.size, 1, 16, 3, len(body), 2835, 2835, 0, 0) + masks
    return b"BM" + struct.pack("<IHHI", 14 + len(head) + len(body), 0, 0, 14 + len(head)) + head + body
