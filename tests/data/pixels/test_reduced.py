"""Large JPEGs are decoded at 1/2, 1/4 or 1/8: to pixels as good, to the same duplicates, and in bounded memory."""

from __future__ import annotations

import hashlib
import subprocess
import sys
import threading
import time
from pathlib import Path

import cv2
import numpy as np
import pytest
from PIL import Image

from pipeline.config import DataConfig
from pipeline.data.intake import Candidate
from pipeline.data.pixels import large_photos
from pipeline.data.pixels.decode import RESIZERS, decode, decode_with_notes, prepare
from pipeline.data.pixels.shards import Record, examine_photo
from tests.data.pixels.encoded import drawn, encode

LARGE = drawn(4000, 3000)
JPEG = encode(LARGE, "JPEG", quality=92)


@pytest.mark.parametrize(
    ("image_size", "reduced_by"), [(32, 4), (64, 4), (224, 4), (256, 4), (384, 2), (512, 2), (768, 1), (1024, 1)]
)
def test_at_least_twice_the_image_size_is_left(image_size: int, reduced_by: int) -> None:
    decoded = decode_with_notes(JPEG, image_size=image_size)
    assert decoded.reduced_by == reduced_by
    assert decoded.pixels.shape == (3000 // reduced_by, 4000 // reduced_by, 3)
    assert (decoded.width, decoded.height) == (4000, 3000)
    assert decode_with_notes(JPEG).pixels.shape == decode_with_notes(JPEG, 10**9, 1, image_size).pixels.shape


@pytest.mark.parametrize("resize", RESIZERS)
@pytest.mark.parametrize("image_size", [64, 224, 384])
def test_the_network_sees_the_same(resize: str, image_size: int) -> None:
    whole = prepare(decode(JPEG), image_size, resize)
    reduced = prepare(decode(JPEG, image_size=image_size), image_size, resize)
    assert np.abs(whole.astype(int) - reduced).mean() < 1.0


@pytest.mark.parametrize("orientation", range(1, 9))
def test_a_reduced_photo_is_upright_and_keeps_its_size(orientation: int) -> None:
    exif = Image.Exif()
    exif[0x0112] = orientation
    photo = LARGE.resize((2000, 900))
    data = encode(photo, "JPEG", exif=exif)
    whole, reduced = decode_with_notes(data), decode_with_notes(data, image_size=64)
    assert (reduced.reduced_by, whole.reduced_by) == (2, 1)
    assert (reduced.width, reduced.height) == (whole.width, whole.height) == whole.pixels.shape[1::-1]
    shape = (whole.width // 2, whole.height // 2)
    by_hand = cv2.resize(whole.pixels, shape, interpolation=cv2.INTER_AREA)
    assert np.abs(by_hand.astype(int) - reduced.pixels).mean() < 1


@pytest.mark.parametrize("mode", ["L", "CMYK"])
def test_grey_and_cmyk_are_reduced_too(mode: str) -> None:
    data = encode(LARGE.convert(mode), "JPEG")
    assert decode(data, image_size=64).shape == (750, 1000, 3)
    assert (
        np.abs(prepare(decode(data), 64, "crop").astype(int) - prepare(decode(data, image_size=64), 64, "crop")).mean()
        < 1
    )


def test_other_formats_and_small_photos_are_decoded_whole() -> None:
    assert decode(encode(LARGE, "PNG"), image_size=32).shape == (3000, 4000, 3)
    assert decode(encode(drawn(1000, 800), "JPEG"), image_size=32).shape == (800, 1000, 3)


def _record(file: Path, image_size: int, version: int = 2) -> Record:
    photo = Candidate(file, "daisy", hashlib.sha256(file.read_bytes()).hexdigest())
    return examine_photo(photo, DataConfig(image_size=image_size), version)[0]


def test_no_image_size_changes_which_photos_are_duplicates(tmp_path: Path) -> None:
    (tmp_path / "1.jpg").write_bytes(JPEG)
    records = [_record(tmp_path / "1.jpg", size) for size in (32, 224, 256, 512, 1024)]
    assert len({(record["pixels"], record["phash"], record["mirrored_phash"]) for record in records}) == 1
    assert {(record["width"], record["height"]) for record in records} == {(4000, 3000)}
    first = [_record(tmp_path / "1.jpg", size, version=1) for size in (32, 512)]
    assert first[0]["pixels"] == first[1]["pixels"] != records[0]["pixels"]


def test_a_copy_with_other_metadata_has_equal_pixels(tmp_path: Path) -> None:
    comment = b"\xff\xfe\0\x08a copy"
    (tmp_path / "1.jpg").write_bytes(JPEG)
    (tmp_path / "2.jpg").write_bytes(JPEG[:2] + comment + JPEG[2:])
    first, second = (_record(tmp_path / name, 64) for name in ("1.jpg", "2.jpg"))
    assert first["pixels"] == second["pixels"]


def test_large_photos_take_turns() -> None:
    inside, most = 0, 0

    def decode_one(pixels: int) -> None:
        nonlocal inside, most
        with large_photos.turn(pixels):
            inside += 1
            most = max(most, inside)
            time.sleep(0.02)
            inside -= 1

    for pixels, expected in ((large_photos.LARGE_PIXELS + 1, 1), (10**6, 4)):
        most = 0
        threads = [threading.Thread(target=decode_one, args=(pixels,)) for _ in range(4)]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join()
        assert most == expected


PEAK = """
import re, sys
from pathlib import Path
from pipeline.data.pixels.decode import decode_with_notes
import cv2

def peak():
    return int(re.search(r"VmHWM:\\s+(\\d+)", Path("/proc/self/status").read_text())[1]) // 1024

cv2.setNumThreads(1)
before = peak()
decoded = decode_with_notes(Path(sys.argv[1]).read_bytes(), image_size=64)
print(peak() - before, decoded.width, decoded.height)
"""


@pytest.mark.skipif(sys.platform != "linux", reason="reads the peak from /proc")
@pytest.mark.slow
@pytest.mark.parametrize(("progressive", "limit_mb"), [(False, 150), (True, 900)])
def test_a_photo_of_200_megapixels_is_taken_in_bounded_memory(tmp_path: Path, progressive: bool, limit_mb: int) -> None:
    side = np.asarray(drawn(4080, 3060))
    file = tmp_path / "200.jpg"
    Image.fromarray(np.tile(side, (4, 4, 1))).save(file, quality=88, progressive=progressive)
    done = subprocess.run([sys.executable, "-c", PEAK, str(file)], capture_output=True, text=True, check=True)
    peak, width, height = map(int, done.stdout.split())
    assert (width, height) == (16_320, 12_240)
    assert peak < limit_mb
