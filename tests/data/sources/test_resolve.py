"""Tests of the data flag and of the built-in photos' way into the raw folder."""

from __future__ import annotations

import hashlib
import io
import shutil
import tarfile
import time
import zipfile
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pytest
from mlflow import MlflowClient

from pipeline.config import DataConfig, UserError
from pipeline.data.sources import resolve as sources
from pipeline.data.sources.resolve import BUILT_IN, FLOWER_PHOTOS_URL, Source, download_flower_photos, photo_source

UNREACHABLE = "http://127.0.0.1:9/flower_photos.tgz"  # nothing listens on the discard port


@pytest.fixture(scope="module")
def archive_bytes() -> bytes:
    buffer = io.BytesIO()
    with tarfile.open(fileobj=buffer, mode="w:gz") as archive:
        for name in ("LICENSE.txt", "roses/1.jpg", "tulips/2.jpg"):
            info = tarfile.TarInfo(f"flower_photos/{name}")
            info.size = len(name)
            archive.addfile(info, io.BytesIO(name.encode()))
    return buffer.getvalue()


def tree(folder: Path) -> list[str]:
    return sorted(path.relative_to(folder).as_posix() for path in folder.rglob("*") if path.is_file())


def test_built_in_names_are_those_of_the_config() -> None:
    about = DataConfig.model_fields["data"].description or ""
    assert [name for name in BUILT_IN if name not in about] == []


def test_synthetic_is_drawn_once(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    drawn: list[Path] = []

    def draw(folder: Path) -> None:
        drawn.append(folder)
        (folder / "daisy").mkdir(parents=True)

    monkeypatch.setattr(sources, "write_synthetic", draw)
    folders = {photo_source("synthetic", tmp_path / "raw").folder for _ in range(2)}
    assert folders == {tmp_path / "raw" / "synthetic-v1"} == set(drawn)
    assert len(drawn) == 1


def test_flower_photos_already_there_need_no_network(tmp_path: Path) -> None:
    (tmp_path / "flower_photos" / "roses").mkdir(parents=True)
    assert photo_source("flower_photos", tmp_path) == Source(tmp_path / "flower_photos")


def test_folder_of_the_user(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("HOME", str(tmp_path))
    (tmp_path / "photos").mkdir()
    assert photo_source("~/photos", tmp_path / "raw") == Source(tmp_path / "photos")
    assert not (tmp_path / "raw").exists()


@pytest.mark.parametrize("data", ["nowhere", "photos.pdf", "~nobody-of-this-name/photos", "x" * 300])
def test_what_is_no_folder_is_named_with_the_remedies(
    data: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    (tmp_path / "photos.pdf").write_bytes(b"%PDF")
    with pytest.raises(UserError) as caught:
        photo_source(data, tmp_path)
    message = str(caught.value)
    assert "\n" not in message
    assert all(part in message for part in (data, "flower_photos", "synthetic", "folder"))


@pytest.mark.parametrize(("name", "tool"), [("a.7z", "7z x"), ("a.RAR", "unrar x"), ("a.tar.zst", "tar --zstd")])
def test_an_archive_of_another_kind_is_named_for_what_it_is(name: str, tool: str, tmp_path: Path) -> None:
    (tmp_path / name).write_bytes(b"7z")
    with pytest.raises(UserError, match=rf"got the file .*{name} \(unpack it with {tool}"):
        photo_source(str(tmp_path / name), tmp_path / "raw")


def test_raw_folder_that_cannot_be_written_is_named(tmp_path: Path) -> None:
    (tmp_path / "raw").write_text("a file where the folder should be")
    with pytest.raises(UserError, match="raw"):
        photo_source("synthetic", tmp_path / "raw")


def test_without_a_network_one_line_names_the_alternatives(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("NO_PROXY", "127.0.0.1")
    with pytest.raises(UserError) as caught:
        download_flower_photos(tmp_path, UNREACHABLE)
    message = str(caught.value)
    assert "\n" not in message
    for alternative in ("data=synthetic", "data=path/to/folder", str(tmp_path / "flower_photos.tgz")):
        assert alternative in message
    assert tree(tmp_path) in ([], [".flower_photos.lock"])


def test_processes_that_start_together_download_once(
    archive_bytes: bytes, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    downloads: list[str] = []

    def slow_download(url: str, target: Path, sha256: str, size: int) -> None:
        downloads.append(url)
        time.sleep(0.2)
        target.write_bytes(archive_bytes)

    monkeypatch.setattr(sources, "download", slow_download)
    with ThreadPoolExecutor(3) as pool:
        folders = list(pool.map(lambda _: photo_source("flower_photos", tmp_path / "raw").folder, range(3)))
    assert folders == [tmp_path / "raw" / "flower_photos"] * 3
    assert tree(folders[0]) == ["LICENSE.txt", "roses/1.jpg", "tulips/2.jpg"]
    assert downloads == [FLOWER_PHOTOS_URL]


def test_archive_put_there_by_hand_is_verified_and_used(archive_bytes: bytes, tmp_path: Path) -> None:
    archive = tmp_path / "flower_photos.tgz"
    archive.write_bytes(archive_bytes)
    with pytest.raises(UserError, match="SHA-256"):
        download_flower_photos(tmp_path, UNREACHABLE)
    folder = download_flower_photos(tmp_path, UNREACHABLE, hashlib.sha256(archive_bytes).hexdigest())
    assert tree(folder) == ["LICENSE.txt", "roses/1.jpg", "tulips/2.jpg"]
    assert archive.read_bytes() == archive_bytes, "a file of the user is never deleted"


def _zipped(file: Path, *names: str) -> Path:
    with zipfile.ZipFile(file, "w") as archive:
        for name in names:
            archive.writestr(name, name)
    return file


@pytest.mark.parametrize("packed_into", ["", "photos/", "a/b/"])
def test_an_archive_is_unpacked_once_and_again_when_it_changes(packed_into: str, tmp_path: Path) -> None:
    archive = _zipped(tmp_path / "my.zip", *(f"{packed_into}{name}" for name in ("roses/1.jpg", "tulips/2.jpg")))
    first = photo_source(str(archive), tmp_path / "raw")
    assert first.table is None
    assert tree(first.folder) == ["roses/1.jpg", "tulips/2.jpg"]
    assert photo_source(str(archive), tmp_path / "raw") == first
    _zipped(archive, "roses/1.jpg", "tulips/2.jpg", "tulips/3.jpg")
    assert tree(photo_source(str(archive), tmp_path / "raw").folder) == ["roses/1.jpg", "tulips/2.jpg", "tulips/3.jpg"]


def test_a_table_stands_for_the_photos_that_it_names(tmp_path: Path) -> None:
    (tmp_path / "photos.csv").write_text("path,label\n")
    assert photo_source(str(tmp_path / "photos.csv"), tmp_path) == Source(tmp_path, tmp_path / "photos.csv")


def test_an_artifact_is_fetched_again_when_it_has_changed(tracking_store: MlflowClient, tmp_path: Path) -> None:
    for name in ("roses/1.jpg", "tulips/2.jpg"):
        (tmp_path / "set" / name).parent.mkdir(parents=True)
        (tmp_path / "set" / name).write_text(name)
    run_id = tracking_store.create_run("0").info.run_id
    tracking_store.log_artifacts(run_id, str(tmp_path / "set"), "set")
    first = photo_source(f"runs:/{run_id}/set", tmp_path / "raw")
    assert photo_source(f"runs:/{run_id}/set", tmp_path / "raw") == first
    (tmp_path / "set/roses/3.jpg").write_text("another")
    tracking_store.log_artifacts(run_id, str(tmp_path / "set"), "set")
    second = photo_source(f"runs:/{run_id}/set", tmp_path / "raw")
    assert tree(second.folder) == ["roses/1.jpg", "roses/3.jpg", "tulips/2.jpg"]
    assert tree(first.folder) == ["roses/1.jpg", "tulips/2.jpg"]
    zipped = _zipped(tmp_path / "my.zip", "roses/1.jpg", "tulips/2.jpg")
    tracking_store.log_artifact(run_id, str(zipped))
    assert tree(photo_source(f"runs:/{run_id}/my.zip", tmp_path / "raw").folder) == ["roses/1.jpg", "tulips/2.jpg"]
    _zipped(tmp_path / "my.zip", "roses/1.jpg", "tulips/2.jpg", "tulips/3.jpg")
    tracking_store.log_artifact(run_id, str(zipped))
    assert "tulips/3.jpg" in tree(photo_source(f"runs:/{run_id}/my.zip", tmp_path / "raw").folder)


def test_an_artifact_of_mlflow_is_fetched_once(
    tracking_store: MlflowClient, tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    archive = _zipped(tmp_path / "my.zip", "roses/1.jpg", "tulips/2.jpg")
    run_id = tracking_store.create_run("0").info.run_id
    tracking_store.log_artifact(run_id, str(archive))
    first = photo_source(f"runs:/{run_id}/my.zip", tmp_path / "raw")
    assert tree(first.folder) == ["roses/1.jpg", "tulips/2.jpg"]
    assert not caplog.records
    tracking_store.delete_run(run_id)
    shutil.rmtree(tmp_path / "mlruns", ignore_errors=True)
    assert photo_source(f"runs:/{run_id}/my.zip", tmp_path / "raw") == first
    with pytest.raises(UserError, match=r"data=runs:/none/x must be an artifact that can be fetched, got [^\n]+$"):
        photo_source("runs:/none/x", tmp_path / "raw")
