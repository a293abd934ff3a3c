"""JPEGs whose data end early are found out, and no good photo is taken for one of them."""

from __future__ import annotations

import random
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from pipeline.data.pixels.decode import BadImage, decode, decode_with_notes
from pipeline.data.pixels.jpeg_data import missing_share, read_structure
from tests.data.pixels import encoded
from tests.data.pixels.encoded import drawn, encode

END = b"\xff\xd9"
KINDS: dict[str, dict[str, object]] = {
    "baseline": {},
    "4:4:4": {"subsampling": 0},
    "4:2:2": {"subsampling": 1},
    "grey": {"mode": "L"},
    "CMYK": {"mode": "CMYK"},
    "restarts": {"restart_marker_blocks": 4},
    "a restart a row": {"restart_marker_rows": 1},
    "optimized": {"optimize": True},
    "progressive": {"progressive": True},
    "progressive grey": {"progressive": True, "mode": "L"},
}


def _jpeg(kind: str, seed: int = 0) -> bytes:
    options = dict(KINDS[kind])
    photo = drawn(320, 240, seed).convert(str(options.pop("mode", "RGB")))
    return encode(photo, "JPEG", quality=90, **options)


def _notes(data: bytes) -> str:
    return "; ".join(note for note in decode_with_notes(data).notes if "made" not in note)


@pytest.mark.parametrize("kind", KINDS)
def test_a_whole_jpeg_has_no_note(kind: str) -> None:
    for seed in range(5):
        data = _jpeg(kind, seed)
        assert missing_share(data, read_structure(data)) == 0
        assert _notes(data) == ""


@pytest.mark.parametrize("kind", [kind for kind in KINDS if "progressive" not in kind])
def test_a_jpeg_that_is_grey_from_anywhere_is_damaged_although_it_has_an_end_marker(kind: str) -> None:
    rng = random.Random(0)
    for seed in range(4):
        data = _jpeg(kind, seed)
        start = data.index(b"\xff\xda") + 20
        stuffed = [place + 1 for place in range(start, len(data) // 2) if data.startswith(b"\xff\0", place)]
        for cut in (*(rng.randrange(start, len(data) * 97 // 100) for _ in range(5)), *stuffed[:1]):
            with pytest.raises(BadImage, match=r"truncated or damaged \(its data end early, \d+% of it is missing\)"):
                decode(data[:cut] + END)


@pytest.mark.parametrize("kind", ["progressive", "progressive grey"])
def test_a_progressive_jpeg_is_damaged_where_it_has_no_detail(kind: str) -> None:
    data = _jpeg(kind)
    scans = [place for place in range(len(data)) if data.startswith(b"\xff\xda", place)]
    for early in (scans[0] + 100, scans[1] + 50, (scans[1] + scans[2]) // 2):
        with pytest.raises(BadImage, match="truncated or damaged"):
            decode(data[:early] + END)
    late = (scans[-2] + scans[-1]) // 2
    assert decode(data[:late] + END).shape == (240, 320, 3)
    assert _notes(data[:late] + END) == "last bytes missing (its finest detail)"
    assert np.abs(decode(data[:late] + END).astype(int) - decode(data)).mean() < 3


@pytest.mark.parametrize("kind", KINDS)
def test_a_jpeg_that_lacks_its_last_bytes_is_accepted_with_a_note(kind: str) -> None:
    data = _jpeg(kind)
    assert _notes(data[:-2]) == "last bytes missing"
    np.testing.assert_array_equal(decode(data[:-2]), decode(data))
    for cut in (3, 4, 6):
        assert _notes(data[:-cut]).startswith("last bytes missing")
        assert np.abs(decode(data[:-cut]).astype(int) - decode(data)).mean() < 0.5


def test_a_grey_photo_is_no_damage() -> None:
    for mode, grey in (("L", 128), ("RGB", (128, 128, 128)), ("CMYK", (127, 127, 127, 0))):
        for progressive in (False, True):
            data = encode(Image.new(mode, (64, 48), grey), "JPEG", progressive=progressive)
            assert _notes(data) == ""
    part = drawn(320, 240)
    part.paste((128, 128, 128), (0, 120, 320, 240))
    assert _notes(encode(part, "JPEG", subsampling=0)) == ""


def test_an_end_marker_in_front_of_more_photos_is_no_damage() -> None:
    """A phone puts further pictures behind the first: an MPO, a gain map, a film."""
    data = _jpeg("baseline")
    assert _notes(data + _jpeg("progressive")) == ""
    assert _notes(data + bytes(5000)) == ""
    with pytest.raises(BadImage, match="data end early"):
        decode(data[: len(data) // 2] + END + _jpeg("baseline"))


def test_a_png_that_lacks_its_end_alone_is_accepted_with_a_note() -> None:
    photo = drawn()
    for image in (photo, photo.convert("L"), photo.quantize(16)):
        data = encode(image, "PNG")
        end = data.rindex(b"IEND") - 4
        np.testing.assert_array_equal(decode(data[:end]), decode(data))
        assert _notes(data[:end]) == "last bytes missing"
        with pytest.raises(BadImage, match="truncated or damaged"):
            decode(data[: end // 2])
    photo.putalpha(128)
    data = encode(photo, "PNG")
    end = data.rindex(b"IEND") - 4
    np.testing.assert_array_equal(decode(data[:end]), decode(data))
    assert "last bytes missing" in _notes(data[:end])


def test_scans_are_counted() -> None:
    data = _jpeg("progressive")
    assert read_structure(_jpeg("baseline")).scans == 1
    assert 6 <= read_structure(data).scans <= 12
    assert read_structure(encoded.with_scans(data, 50)).scans == read_structure(data).scans + 49


@pytest.mark.photos
@pytest.mark.slow
def test_no_real_photo_is_taken_for_a_damaged_one(real_photos: Path) -> None:
    photos = sorted(real_photos.glob("*/*.jpg"))
    assert len(photos) == 3670
    for photo in photos:
        data = photo.read_bytes()
        assert missing_share(data, read_structure(data)) == 0, photo
        assert decode_with_notes(data).notes == (), photo
