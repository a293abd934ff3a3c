"""Tests of unpacking: what is whole arrives whole, and what is hostile, damaged or endless leaves nothing."""

from __future__ import annotations

import io
import stat
import tarfile
import zipfile
from pathlib import Path

import pytest

from pipeline.config import UserError
from pipeline.data.sources.archives import extract

FILES = {"LICENSE.txt": b"by", "roses/1.jpg": b"rose", "tulips/2.jpg": b"tulip"}


def tar_of(*members: tuple[tarfile.TarInfo, bytes], mode: str = "w:gz") -> bytes:
    buffer = io.BytesIO()
    with tarfile.open(fileobj=buffer, mode=mode) as archive:  # type: ignore[call-overload]
        for info, content in members:
            info.size = len(content)
            archive.addfile(info, io.BytesIO(content))
    return buffer.getvalue()


def member(
    name: str, content: bytes = b"", kind: bytes = tarfile.REGTYPE, link: str = ""
) -> tuple[tarfile.TarInfo, bytes]:
    info = tarfile.TarInfo(name)
    info.type, info.linkname = kind, link
    return info, content


def zip_of(*members: tuple[str, bytes, int]) -> bytes:
    """An archive of names, contents and Unix modes, of which 0 stands for a system without them."""
    buffer = io.BytesIO()
    with zipfile.ZipFile(buffer, "w", zipfile.ZIP_DEFLATED) as archive:
        for name, content, mode in members:
            info = zipfile.ZipInfo(name)
            info.external_attr = mode << 16
            archive.writestr(info, content, zipfile.ZIP_DEFLATED)
    return buffer.getvalue()


PHOTOS = tar_of(
    member("flower_photos", kind=tarfile.DIRTYPE), *(member(f"flower_photos/{name}", FILES[name]) for name in FILES)
)
PHOTOS_XZ, PHOTOS_BZ2 = (
    tar_of(*(member(f"flower_photos/{name}", FILES[name] * 5_000) for name in FILES), mode=f"w:{kind}")
    for kind in ("xz", "bz2")
)
ZIPPED = zip_of(*((f"flower_photos/{name}", content, 0) for name, content in FILES.items()))


def _flipped(data: bytes) -> bytes:
    """Return the data with one bit flipped in the middle."""
    return data[: len(data) // 2] + bytes([data[len(data) // 2] ^ 4]) + data[len(data) // 2 + 1 :]


def tree(folder: Path) -> list[str]:
    return sorted(path.relative_to(folder).as_posix() for path in folder.rglob("*") if path.is_file())


@pytest.mark.parametrize(
    ("name", "content"),
    [
        ("photos.tgz", PHOTOS),
        ("photos.tar", tar_of(*(member(f"flower_photos/{name}", FILES[name]) for name in FILES), mode="w")),
        ("photos.zip", ZIPPED),
        ("photos.ZIP", zip_of(*((f"flower_photos\\{name}", content, 0o100644) for name, content in FILES.items()))),
    ],
)
@pytest.mark.parametrize("strip_components", [0, 1])
def test_files_arrive_whole(name: str, content: bytes, strip_components: int, tmp_path: Path) -> None:
    (tmp_path / name).write_bytes(content)
    extract(tmp_path / name, tmp_path / "photos", strip_components=strip_components)
    root = tmp_path / "photos" / ("" if strip_components else "flower_photos")
    assert {file: (root / file).read_bytes() for file in tree(root)} == FILES


@pytest.mark.parametrize(
    "hostile",
    [
        member("{outside}/stolen.txt", b"x"),
        member("../stolen.txt", b"x"),
        member("top/../../stolen.txt", b"x"),
        member("top/link", kind=tarfile.SYMTYPE, link="{outside}"),
        member("top/hard", kind=tarfile.LNKTYPE, link="../outside"),
        member("top/pipe", kind=tarfile.FIFOTYPE),
    ],
    ids=["absolute", "parent", "parent inside", "symlink", "hard link", "pipe"],
)
def test_hostile_member_of_a_tar_writes_nothing(hostile: tuple[tarfile.TarInfo, bytes], tmp_path: Path) -> None:
    info, content = hostile
    info.name, info.linkname = (text.format(outside=tmp_path / "outside") for text in (info.name, info.linkname))
    (tmp_path / "outside").mkdir()
    archive = tmp_path / "photos.tgz"
    follow_up = member("top/link/stolen.txt", b"x")
    archive.write_bytes(tar_of(member("top/roses/1.jpg", b"rose"), (info, content), follow_up))
    with pytest.raises(UserError, match="only files and folders"):
        extract(archive, tmp_path / "raw" / "photos")
    assert tree(tmp_path) == ["photos.tgz"]


@pytest.mark.parametrize(
    ("name", "mode"),
    [
        ("{outside}/stolen.txt", 0o100644),
        ("../stolen.txt", 0o100644),
        ("..\\stolen.txt", 0),
        ("C:/stolen.txt", 0),
        ("C:stolen.txt", 0),
        ("top/link", stat.S_IFLNK | 0o777),
        ("top/pipe", stat.S_IFIFO | 0o644),
    ],
)
def test_hostile_member_of_a_zip_writes_nothing(name: str, mode: int, tmp_path: Path) -> None:
    archive = tmp_path / "photos.zip"
    archive.write_bytes(zip_of(("top/1.jpg", b"rose", 0), (name.format(outside=tmp_path / "outside"), b"x", mode)))
    with pytest.raises(UserError, match="only files and folders"):
        extract(archive, tmp_path / "photos")
    assert tree(tmp_path) == ["photos.zip"]


@pytest.mark.parametrize(("limit_files", "limit_bytes"), [(2, 1000), (100, 10)], ids=["files", "bytes"])
@pytest.mark.parametrize(("name", "content"), [("photos.tgz", PHOTOS), ("photos.zip", ZIPPED)])
def test_archive_beyond_the_limits_leaves_nothing(
    name: str, content: bytes, limit_files: int, limit_bytes: int, tmp_path: Path
) -> None:
    archive = tmp_path / name
    archive.write_bytes(content)
    with pytest.raises(UserError, match="at most"):
        extract(archive, tmp_path / "photos", limit_files, limit_bytes)
    assert tree(tmp_path) == [name]


def test_a_bomb_is_stopped_on_the_way(tmp_path: Path) -> None:
    """A member that says nothing true of its size is read no further than the limit."""
    archive = tmp_path / "photos.zip"
    archive.write_bytes(zip_of(("top/bomb.jpg", bytes(64 << 20), 0)))
    assert archive.stat().st_size < 1 << 20
    with pytest.raises(UserError, match="at most"):
        extract(archive, tmp_path / "photos", limit_bytes=1 << 20)
    assert tree(tmp_path) == ["photos.zip"]


@pytest.mark.parametrize(
    ("name", "content"),
    [
        ("photos.tgz", PHOTOS[:-40]),
        ("photos.tgz", b"<html>"),
        ("photos.tgz", PHOTOS[:60] + b"?" * 20 + PHOTOS[80:]),
        ("photos.zip", ZIPPED[:-40]),
        ("photos.zip", b"<html>"),
        ("photos.zip", ZIPPED[:50] + b"?" * 8 + ZIPPED[58:]),
        ("photos.zip", zip_of(("top/1.jpg", b"a", 0), ("top/1.jpg/2.jpg", b"b", 0))),
        ("photos.tar.xz", PHOTOS_XZ[:-40]),
        ("photos.tar.xz", _flipped(PHOTOS_XZ)),
        ("photos.tar.bz2", PHOTOS_BZ2[:-10]),
        ("photos.tar.bz2", _flipped(PHOTOS_BZ2)),
        ("photos.tgz", _flipped(PHOTOS)),
        ("photos.tar", tar_of(member("top/hard", kind=tarfile.LNKTYPE, link="top/none.jpg"), mode="w")),
    ],
)
def test_damaged_archive_is_named(name: str, content: bytes, tmp_path: Path) -> None:
    archive = tmp_path / name
    archive.write_bytes(content)
    with pytest.raises(UserError, match=r"must be a complete archive") as error:
        extract(archive, tmp_path / "photos")
    assert "\n" not in str(error.value)
    assert tree(tmp_path) == [name]


def test_a_name_twice_is_its_last_file(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    with pytest.warns(UserWarning, match="Duplicate name"):
        content = zip_of(("top/1.jpg", b"first", 0), ("top/2.jpg", b"other", 0), ("top/1.jpg", b"last", 0))
    (tmp_path / "photos.zip").write_bytes(content)
    extract(tmp_path / "photos.zip", tmp_path / "photos")
    assert (tmp_path / "photos/top/1.jpg").read_bytes() == b"last"
    assert "1 duplicate names, such as top/1.jpg" in caplog.text


def test_hard_links_inside_a_tar_become_copies(tmp_path: Path) -> None:
    linked = member("top/b/2.jpg", kind=tarfile.LNKTYPE, link="top/a/1.jpg")
    itself = member("top/a/1.jpg", kind=tarfile.LNKTYPE, link="top/a/1.jpg")  # as GNU tar writes what is named twice
    (tmp_path / "photos.tgz").write_bytes(tar_of(member("top/a/1.jpg", b"rose"), linked, itself))
    extract(tmp_path / "photos.tgz", tmp_path / "photos", strip_components=1)
    assert [(tmp_path / "photos" / name).read_bytes() for name in ("a/1.jpg", "b/2.jpg")] == [b"rose", b"rose"]


@pytest.mark.parametrize(
    ("name", "content", "kind"),
    [("a.zip", b"Rar!\x1a\7", "a RAR archive"), ("a.tar", ZIPPED, "a zip"), ("a.zip", b"<html>", "a web page")],
)
def test_an_archive_that_is_another_thing_is_named_for_it(name: str, content: bytes, kind: str, tmp_path: Path) -> None:
    (tmp_path / name).write_bytes(content)
    with pytest.raises(UserError, match=f"must be a complete archive without a password, got {kind}: "):
        extract(tmp_path / name, tmp_path / "photos")


def test_folders_of_a_zip_may_end_in_a_backslash(tmp_path: Path) -> None:
    content = zip_of(("top\\", b"", 0), ("top\\roses\\", b"", 0), ("top\\roses\\1.jpg", b"rose", 0))
    (tmp_path / "photos.zip").write_bytes(content)
    extract(tmp_path / "photos.zip", tmp_path / "photos")
    assert tree(tmp_path / "photos") == ["top/roses/1.jpg"]


def test_a_password_is_named(tmp_path: Path) -> None:
    archive = tmp_path / "photos.zip"
    content = bytearray(ZIPPED)
    for signature, flags in ((b"PK\x03\x04", 6), (b"PK\x01\x02", 8)):
        start = -1
        while (start := content.find(signature, start + 1)) >= 0:
            content[start + flags] |= 1  # says that it is encrypted
    archive.write_bytes(content)
    with pytest.raises(UserError, match="without a password"):
        extract(archive, tmp_path / "photos")
