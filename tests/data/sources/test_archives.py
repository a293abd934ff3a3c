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
ZIPPED = zip_of(*((f"flower_photos/{name}", content, 0) for name, content in FILES.items()))


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
        member("top/hard", kind=tarfile.LNKTYPE, link="top/roses/1.jpg"),
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
        ("photos.zip", zip_of(("top/1.jpg", b"a", 0), ("top/1.jpg", b"b", 0))),
    ],
)
@pytest.mark.filterwarnings("ignore:Duplicate name")
def test_damaged_archive_is_named(name: str, content: bytes, tmp_path: Path) -> None:
    archive = tmp_path / name
    archive.write_bytes(content)
    with pytest.raises(UserError, match=r"must be a whole archive") as error:
        extract(archive, tmp_path / "photos")
    assert "\n" not in str(error.value)
    assert tree(tmp_path) == [name]


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
