"""Every rule on a file of its own: a corpus is drawn and prepared once, and what became of each file is looked up."""

from __future__ import annotations

import io
import os
import shutil
import struct
import subprocess
import sys
import zlib
from pathlib import Path
from typing import NamedTuple

import cv2
import numpy as np
import pandas as pd
import pytest
from PIL import Image, features

from pipeline.config import DataConfig
from pipeline.data.intake import Candidate
from pipeline.data.pixels import shards
from pipeline.data.pixels.decode import BadImage, decode, prepare
from pipeline.data.pixels.shards import examine_photo
from pipeline.data.rule_versions import NEWEST
from pipeline.data.rules import RULES, rule_of
from pipeline.data.store.report import PAGE, TABLE, count_rules, report_on, write_report
from pipeline.data.store.store import Store, prepared_store
from tests import icc
from tests.conftest import images_of
from tests.data.pixels.encoded import heic, with_scans

ROOT = Path(__file__).parents[2]
RED = (220, 30, 40)
RED_OF_P3 = (240, 0, 24)  # the sRGB of that colour in Display P3
ORIENTATION = 0x0112
SIDE, PHOTOS = 32, 6


def _encoded(image: Image.Image, file_format: str, **options: object) -> bytes:
    buffer = io.BytesIO()
    image.save(buffer, file_format, **options)
    return buffer.getvalue()


def _red(mode: str = "RGB", size: tuple[int, int] = (20, 12)) -> Image.Image:
    return Image.new("RGB", size, RED).convert(mode)


def _noise(*seed: int) -> Image.Image:
    return Image.fromarray(np.random.default_rng(seed).integers(0, 256, (48, 64, 3), np.uint8))


def _draw_noise(folder: Path, label: str, seed: int) -> None:
    """Draw `PHOTOS` photos of a class, each unlike all others."""
    (folder / label).mkdir(parents=True, exist_ok=True)
    for number in range(PHOTOS):
        (folder / label / f"{number}.png").write_bytes(_encoded(_noise(seed, number), "PNG"))


def _upright(orientation: int) -> bytes:
    exif = Image.Exif()
    exif[ORIENTATION] = orientation
    return _encoded(_red(), "JPEG", exif=exif)


def _transparent(alpha: int) -> bytes:
    photo = _red("RGBA")
    photo.putalpha(alpha)
    return _encoded(photo, "PNG")


def _ycck() -> bytes:
    """A CMYK JPEG whose channels hold YCbCr and K, as its Adobe marker says; Pillow writes all values inverted."""
    luma = Image.new("RGB", (20, 12), tuple(255 - value for value in RED)).convert("YCbCr")
    inverted = [channel.point(lambda value: 255 - value) for channel in luma.split()]
    data = bytearray(_encoded(Image.merge("CMYK", [*inverted, Image.new("L", (20, 12), 0)]), "JPEG", quality=95))
    transform = data.index(b"Adobe") + 11
    assert data[transform] == 0
    data[transform] = 2
    return bytes(data)


def _chunk(name: bytes, content: bytes) -> bytes:
    return struct.pack(">I", len(content)) + name + content + struct.pack(">I", zlib.crc32(name + content))


def _bomb() -> bytes:
    """A PNG of some 60 bytes whose header promises 900 million pixels."""
    header = struct.pack(">IIBBBBB", 30_000, 30_000, 8, 2, 0, 0, 0)
    return b"\x89PNG\r\n\x1a\n" + _chunk(b"IHDR", header) + _chunk(b"IDAT", zlib.compress(b"")) + _chunk(b"IEND", b"")


def _animated(file_format: str) -> bytes:
    return _encoded(_red(), file_format, save_all=True, append_images=[Image.new("RGB", (20, 12), (40, 30, 220))])


class Case(NamedTuple):
    """A file's bytes, what is said of it, and the colour that it shows, if it is one colour."""

    data: bytes
    said: str = ""
    colour: tuple[int, int, int] | None = None


AVIF = features.check("avif")
GREY_16 = Image.fromarray(np.full((12, 20), 0x8000, np.uint16))
COLOUR_16 = cv2.imencode(".png", np.full((12, 20, 3), (0x2800, 0x1E00, 0xDC00), np.uint16))[1].tobytes()
CASES = {
    "plain.jpg": Case(_encoded(_red(), "JPEG"), "", RED),
    "plain.png": Case(_encoded(_red(), "PNG"), "", RED),
    "plain.webp": Case(_encoded(_red(), "WEBP"), "", RED),
    "plain.bmp": Case(_encoded(_red(), "BMP"), "", RED),
    "plain.tiff": Case(_encoded(_red(), "TIFF"), "", RED),
    "plain.gif": Case(_encoded(_red(), "GIF"), "palette made colour", RED),
    **({"plain.avif": Case(_encoded(_red(), "AVIF"), "", RED)} if AVIF else {}),
    "png.jpg": Case(_encoded(_red(), "PNG"), "named like another format (PNG named .jpg)", RED),
    "photo.txt": Case(_encoded(_red(), "JPEG"), "named like another format (JPEG named .txt)", RED),
    "no-suffix": Case(_encoded(_red(), "JPEG"), "", RED),
    "cmyk.jpg": Case(_encoded(_red("CMYK"), "JPEG"), "CMYK made RGB", RED),
    "cmyk.tiff": Case(_encoded(_red("CMYK"), "TIFF"), "CMYK made RGB", RED),
    "display-p3.jpg": Case(
        _encoded(_red(), "JPEG", icc_profile=icc.DISPLAY_P3), "colours made sRGB (Display P3)", RED_OF_P3
    ),
    "broken-profile.jpg": Case(_encoded(_red(), "JPEG", icc_profile=b"none" * 40), "colour profile ignored", RED),
    "ycck.jpg": Case(_ycck(), "YCCK made RGB", RED),
    "grey.jpg": Case(_encoded(Image.new("L", (20, 12), 90), "JPEG"), "grey made colour", (90, 90, 90)),
    "bilevel.png": Case(_encoded(Image.new("1", (20, 12), 1), "PNG"), "grey made colour", (255, 255, 255)),
    "grey-16.png": Case(_encoded(GREY_16, "PNG"), "grey made colour; 16 bits made 8", (128, 128, 128)),
    "grey-16.tiff": Case(_encoded(GREY_16, "TIFF"), "grey made colour; 16 bits made 8", (128, 128, 128)),
    "colour-16.png": Case(COLOUR_16, "16 bits made 8", RED),
    "palette.png": Case(_encoded(_red().quantize(4), "PNG"), "palette made colour", RED),
    "transparent.png": Case(_transparent(0), "laid on white", (255, 255, 255)),
    "half-transparent.png": Case(_transparent(128), "laid on white", (237, 142, 147)),
    "opaque.png": Case(_transparent(255), "", RED),
    "no-end.jpg": Case(_encoded(_red(), "JPEG")[:-2], "last bytes missing", RED),
    "no-end.png": Case(_encoded(_red(), "PNG")[:-12], "last bytes missing", RED),
    "phone.heic": Case(heic(_red(size=(64, 48))), "", RED),
    "heic.jpg": Case(heic(_red(size=(64, 48))), "named like another format (HEIF named .jpg)", RED),
    "upright-1.jpg": Case(_upright(1), "", RED),
    **{f"upright-{n}.jpg": Case(_upright(n), f"turned upright (EXIF orientation {n})", RED) for n in range(2, 9)},
    "animated.gif": Case(_animated("GIF"), "first picture taken; palette made colour", RED),
    "animated.webp": Case(_animated("WEBP"), "first picture taken", RED),
    "animated.png": Case(_animated("PNG"), "first picture taken", RED),
    "pages.tiff": Case(_animated("TIFF"), "first picture taken", RED),
    "smallest.png": Case(_encoded(_red(size=(8, 8)), "PNG"), "", RED),
    "longest.png": Case(_encoded(_red(size=(160, 8)), "PNG"), "", RED),
    "empty.jpg": Case(b"", "empty file"),
    "page.jpg": Case(b"<!DOCTYPE html><html><body>404</body></html>", "not an image (HTML)"),
    "drawing.jpg": Case(b"<?xml version='1.0'?><svg xmlns='http://www.w3.org/2000/svg'/>", "not an image (SVG)"),
    "paper.jpg": Case(b"%PDF-1.7\n%\xe2\xe3", "not an image (PDF)"),
    "text.jpg": Case(b"bought on Tuesday", "not an image (text)"),
    "half.heic": Case(b"\0\0\0\x18ftypheic\0\0\0\0mif1heic", "truncated or damaged (HEIC)"),
    "film.jpg": Case(b"\0\0\0\x18ftypisom\0\0\0\0isommp41", "not an image (video)"),
    "zeros.jpg": Case(bytes(1000), "not an image"),
    "five-percent.jpg": Case(_encoded(_noise(), "JPEG")[:300], "truncated or damaged"),
    "half.jpg": Case(_encoded(_noise(), "JPEG")[:1500], "truncated or damaged"),
    "half.png": Case(_encoded(_noise(), "PNG")[:4000], "truncated or damaged"),
    "half.webp": Case(_encoded(_noise(), "WEBP", lossless=True)[:4000], "truncated or damaged"),
    "half.bmp": Case(_encoded(_noise(), "BMP")[:4000], "truncated or damaged"),
    "half.tiff": Case(_encoded(_noise(), "TIFF")[:4000], "truncated or damaged"),
    "half.gif": Case(_encoded(_noise(), "GIF")[:2000], "truncated or damaged"),
    **({"half.avif": Case(_encoded(_noise(), "AVIF")[:1000], "truncated or damaged")} if AVIF else {}),
    "scans.jpg": Case(
        with_scans(_encoded(_noise(), "JPEG", progressive=True), 200), "too many scans (209 of 64 x 48, more than 100)"
    ),
    "bomb.png": Case(
        _bomb(), "too many pixels (30000 x 30000, more than max_pixels=201326592, raise it with max_pixels=900000000)"
    ),
    "tiny.png": Case(_encoded(_red(size=(7, 30)), "PNG"), "too small (7 x 30)"),
    "banner.png": Case(_encoded(_red(size=(8, 161)), "PNG"), "too long (8 x 161)"),
    "float.tiff": Case(_encoded(Image.new("F", (20, 12), 0.5), "TIFF"), "unknown pixel values (F)"),
    "with space.jpg": Case(_encoded(_red(), "JPEG"), "", RED),
    "Löwenzahn 🌼.jpg": Case(_encoded(_red(), "JPEG"), "", RED),
    "two\nlines.jpg": Case(_encoded(_red(), "JPEG"), "", RED),
    "deep/er/nested.jpg": Case(_encoded(_red(), "JPEG"), "", RED),
}
NOT_UTF_8 = b"caf\xe9.jpg"
PLACES = {  # what lies in the folder besides: its name there -> what is said of it
    "daisy/.DS_Store": "hidden",
    "daisy/._plain.jpg": "hidden",
    "daisy/.hidden": "hidden",
    ".git": "hidden",
    "daisy/Thumbs.db": "left by a system",
    "daisy/desktop.ini": "left by a system",
    "daisy/Icon\r": "left by a system",
    "roses/@eaDir": "left by a system",
    "roses/.thumbnails": "hidden",
    "daisy/plain.jpg.json": "note beside photos (.json)",
    "daisy/IMG_1.AAE": "note beside photos (.aae)",
    "daisy/IMG_1.xmp": "note beside photos (.xmp)",
    "daisy/IMG_1.MOV": "film or sound (.mov)",
    "notes": "folder without a photo",
    "__MACOSX": "left by a system",
    "LICENSE.txt": "beside the class folders",
    "loop": "link to a folder (that it is in)",
    "daisy/loop": "link to a folder",
    "flowers": "repeats the class folders",
    "yellow": "class without a file",
    "daisy/round.jpg": "cannot be read (Too many levels of symbolic links)",
    "daisy/dangling.jpg": "cannot be read (No such file or directory)",
    "daisy/outside.jpg": "link out of the folder",
    "daisy/inside.jpg": "",
    "daisy/pipe.jpg": "not a regular file",
    "daisy/caf\\xe9.jpg": "",
}


def _draw_places(folder: Path) -> None:
    for name in ("daisy/.DS_Store", "daisy/._plain.jpg", "daisy/Thumbs.db", "daisy/desktop.ini", "LICENSE.txt"):
        (folder / name).write_bytes(b"\0\0\0\1Bud1")
    for name in ("daisy/Icon\r", "daisy/plain.jpg.json", "daisy/IMG_1.AAE", "daisy/IMG_1.xmp", "daisy/IMG_1.MOV"):
        (folder / name).write_bytes(b"\0\0\0\x14ftypqt  ")
    (folder / "notes").mkdir()
    (folder / "notes/1.xml").write_text("<annotation/>")
    systems = ("roses/@eaDir", "roses/.thumbnails")
    for name in (".git", "__MACOSX", "daisy/.hidden", "yellow", "flowers/daisy", "flowers/roses", *systems):
        (folder / name).mkdir(parents=True)
        if name != "yellow":
            (folder / name / "1.jpg").write_bytes(b"x")
    (folder / "loop").symlink_to(folder)
    (folder / "daisy/loop").symlink_to(folder / "daisy")
    (folder / "daisy/round.jpg").symlink_to(folder / "daisy/round.jpg")
    (folder / "daisy/dangling.jpg").symlink_to("nowhere.jpg")
    (folder.parent / "elsewhere.jpg").write_bytes(CASES["plain.jpg"].data)
    (folder / "daisy/outside.jpg").symlink_to(folder.parent / "elsewhere.jpg")
    (folder / "daisy/inside.jpg").symlink_to("plain.jpg")
    os.mkfifo(folder / "daisy/pipe.jpg")
    Path(os.fsdecode(os.fsencode(folder / "daisy") + b"/" + NOT_UTF_8)).write_bytes(CASES["plain.jpg"].data)


@pytest.fixture(scope="module")
def store(tmp_path_factory: pytest.TempPathFactory) -> Store:
    """The corpus, prepared: its odd files are daisies, beside a few photos of roses."""
    folder = tmp_path_factory.mktemp("corpus") / "photos"
    for name, case in CASES.items():
        (folder / "daisy" / name).parent.mkdir(parents=True, exist_ok=True)
        (folder / "daisy" / name).write_bytes(case.data)
    _draw_noise(folder, "daisy", 1)
    _draw_noise(folder, "roses", 2)
    _draw_places(folder)
    return prepared_store(DataConfig(data=str(folder), image_size=SIDE), folder.parent / "root")


@pytest.fixture(scope="module")
def table(store: Store) -> pd.DataFrame:
    return report_on(store).files.set_index("path")


def _without_looks(reason: str) -> str:
    """Return a reason without what is said of the looks of the corpus: most of it is drawn in one colour."""
    return "; ".join(text for text in reason.split("; ") if text != "of one colour")


@pytest.mark.parametrize("name", CASES)
def test_a_file_becomes_what_its_rules_say(name: str, table: pd.DataFrame, store: Store) -> None:
    case, row = CASES[name], table.loc[f"daisy/{name}"]
    assert row["label"] == "daisy"
    said = _without_looks(row["reason"])
    assert said.startswith(case.said)
    assert case.said or not said
    outcomes = {RULES[rule_of(text)].outcome for text in case.said.split("; ")} if case.said else {"accepted"}
    assert row["outcome"] == (outcomes - {"accepted"} or {"accepted"}).pop()
    if case.colour is None:
        assert row["outcome"] == "quarantined"
        return
    place = store.manifest.set_index("path").loc[f"daisy/{name}"]
    pixels = images_of(store, place["split"])[place["row"]]
    assert np.abs(pixels.astype(int) - case.colour).max() <= 6


@pytest.mark.parametrize("name", CASES)
def test_a_single_photo_is_treated_like_one_of_a_data_set(name: str, table: pd.DataFrame, store: Store) -> None:
    case, row = CASES[name], table.loc[f"daisy/{name}"]
    if row["outcome"] == "quarantined":
        with pytest.raises(BadImage) as error:
            decode(case.data)
        assert str(error.value) == row["reason"]
    else:
        place = store.manifest.set_index("path").loc[f"daisy/{name}"]
        expected = images_of(store, place["split"])[place["row"]]
        np.testing.assert_array_equal(prepare(decode(case.data), SIDE, "crop"), expected)


@pytest.mark.parametrize("name", PLACES)
def test_what_lies_in_a_folder_besides_is_told(name: str, table: pd.DataFrame) -> None:
    row = table.loc[name]
    said = _without_looks(row["reason"])
    assert said == PLACES[name]
    assert row["outcome"] == (RULES[rule_of(said)].outcome if said else "accepted")


def test_nothing_is_silent(store: Store, table: pd.DataFrame) -> None:
    noise = {f"{label}/{number}.png" for label in ("daisy", "roses") for number in range(PHOTOS)}
    expected = {f"daisy/{name}" for name in CASES} | set(PLACES) | noise
    assert set(table.index) == expected
    assert not table.index.duplicated().any()
    assert len(store.manifest) + len(store.quarantined) + len(store.ignored) == len(table)


def _examined(path: Path, data: bytes, monkeypatch: pytest.MonkeyPatch | None = None, **flags: object) -> str:
    import hashlib

    photo = Candidate(path, "daisy", hashlib.sha256(data).hexdigest())
    return str(examine_photo(photo, DataConfig(image_size=SIDE, **flags), NEWEST.pixels)[0]["reason"])


def test_what_needs_a_fault_or_a_flag(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    file = tmp_path / "1.png"
    file.write_bytes(data := _encoded(_red(), "PNG"))
    assert _examined(file, data) == ""
    assert _examined(file, data + b"\0") == "changed on the disk"
    assert (
        _examined(file, data, max_pixels=100)
        == "too many pixels (20 x 12, more than max_pixels=100, raise it with max_pixels=240)"
    )
    large = tmp_path / "large.png"
    large.write_bytes(data + bytes(801))
    assert _examined(large, data, max_pixels=100).startswith("too many bytes")

    def fails(*_: object) -> np.ndarray:
        raise cv2.error("it fails")

    monkeypatch.setattr(shards, "prepare", fails)
    assert _examined(file, data) == "cannot be prepared (it fails)"


ASK = """
import sys
from pathlib import Path
from pipeline.config import DataConfig
from pipeline.data.store import prepared_store

store = prepared_store(DataConfig(data=sys.argv[1], image_size=32), Path(sys.argv[2]))
print(*store.quarantined["reason"], sep="\\n")
"""


@pytest.mark.skipif(not shutil.which("setpriv"), reason="needs setpriv")
def test_a_file_without_permission_is_quarantined(tmp_path: Path) -> None:
    for seed, label in enumerate(("daisy", "roses")):
        _draw_noise(tmp_path / "photos", label, seed)
    (tmp_path / "photos" / "roses" / "3.png").chmod(0)
    # The administrator may read anything, unless without the privileges that make one.
    unprivileged = ["setpriv", "--bounding-set=-all", "--inh-caps=-all"] if os.geteuid() == 0 else []
    command = [*unprivileged, sys.executable, "-c", ASK, str(tmp_path / "photos"), str(tmp_path / "root")]
    done = subprocess.run(command, env=os.environ | {"PYTHONPATH": str(ROOT)}, capture_output=True, text=True)
    assert done.stdout.splitlines() == ["cannot be read (Permission denied)"], done.stderr


def test_classes_that_are_not_wanted_are_told(tmp_path: Path) -> None:
    for seed, label in enumerate(("daisy", "roses", "tulips")):
        _draw_noise(tmp_path / "photos", label, seed)
    config = DataConfig(data=str(tmp_path / "photos"), classes=("daisy", "roses"), image_size=SIDE, split_seed=0)
    ignored = prepared_store(config, tmp_path / "root").ignored
    assert {item.reason for item in ignored} == {"class not wanted"}
    assert {item.label for item in ignored} == {"tulips"}
    assert len(ignored) == PHOTOS


ELSEWHERE = {
    *("crashed the decoder", "decoder took too long", "decoder was killed"),  # in test_shards.py
    *("same picture under two labels", "alike across given splits"),  # in test_grouping.py
    *("excluded", "excluded, but not there"),  # in test_exclusion.py
    *("nearly black", "nearly white", "of one colour", "blurred"),  # in test_quality.py
    *("beside the split folders", "photos without a class"),  # in test_layout.py
}


def test_every_rule_has_a_case() -> None:
    said = [text for case in CASES.values() for text in case.said.split("; ")] + list(PLACES.values())
    here = {"changed on the disk", "too many bytes", "cannot be prepared", "class not wanted"}
    assert {rule_of(text) for text in said if text} | here | ELSEWHERE == set(RULES)


def test_the_report_has_every_file_and_shows_what_it_can(store: Store, table: pd.DataFrame, tmp_path: Path) -> None:
    counts = write_report(report_on(store), tmp_path)
    written = pd.read_csv(tmp_path / TABLE, dtype=str, keep_default_na=False)
    assert written.columns.tolist() == ["path", "label", "outcome", "reason"]
    assert written["path"].tolist() == table.index.tolist()
    assert counts.equals(count_rules(written))
    files = counts.set_index("rule")["files"]
    assert files["turned upright"] == 7
    assert files["hidden"] == 5
    page = (tmp_path / PAGE).read_text()
    assert "http://" not in page.replace("http://www.w3.org/2000/svg", "")
    assert "<script" not in page
    assert page.count("<img ") == page.count(" alt=") > 20
    assert page.count("no picture") >= 5  # what is no image has none
    for name in ("half.jpg", "tiny.png", "banner.png"):
        assert f"daisy/{name}" in page
    assert 'alt="a photo of roses"' in page
    assert f"24 of {files['not an image']}" in page or files["not an image"] <= 24


def test_names_are_text_in_the_report(tmp_path: Path) -> None:
    folder = tmp_path / "photos"
    for seed, label in enumerate(("daisy", "roses")):
        _draw_noise(folder, label, seed)
    (folder / "daisy" / "<script>alert(1)<script>.jpg").write_bytes(b"no photo")
    store = prepared_store(DataConfig(data=str(folder), image_size=SIDE), tmp_path / "root")
    write_report(report_on(store), tmp_path / "report")
    page = (tmp_path / "report" / PAGE).read_text()
    assert "<script>" not in page
    assert "&lt;script&gt;" in page


def test_the_documentation_has_every_rule() -> None:
    text = (ROOT / "docs" / "intake.md").read_text()
    for rule, (outcome, about) in RULES.items():
        assert f"| {rule} | {outcome} | {about} |" in text
