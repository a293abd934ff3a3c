"""What counts as a photo in a folder or a table: names, links, pipes, and folders that nobody meant."""

from __future__ import annotations

import os
from pathlib import Path

import pandas as pd
import pytest

from pipeline.config import UserError
from pipeline.data.intake import Candidate, find_photos, photos_in_table
from pipeline.data.intake.digest_cache import add_digests


@pytest.fixture
def photos(tmp_path: Path) -> Path:
    for name in ("roses/1.jpg", "roses/deep/er/2.jpg", "tulips/3.jpg"):
        file = tmp_path / "photos" / name
        file.parent.mkdir(parents=True, exist_ok=True)
        file.write_text(name)
    return tmp_path / "photos"


def _found(folder: Path) -> dict[str, str]:
    found = add_digests(find_photos(folder, ()).photos, folder.parent / "digests.sqlite")
    return {os.fsdecode(photo.path.relative_to(folder)): photo.problem or photo.label for photo in found}


PLAIN = {"roses/1.jpg": "roses", "roses/deep/er/2.jpg": "roses", "tulips/3.jpg": "tulips"}


def test_folders_below_a_class_folder_belong_to_it(photos: Path) -> None:
    assert _found(photos) == PLAIN


def test_what_systems_leave_behind_is_passed_over(photos: Path) -> None:
    for name in (
        "roses/.DS_Store",
        "roses/Thumbs.db",
        "tulips/._3.jpg",
        "tulips/desktop.ini",
        "__MACOSX/roses/._1.jpg",
    ):
        (photos / name).parent.mkdir(parents=True, exist_ok=True)
        (photos / name).write_text("x")
    (photos / "empty").mkdir()
    (photos / "LICENSE.txt").write_text("a file beside the class folders")
    assert _found(photos) == PLAIN


def test_a_folder_that_repeats_the_others_is_left_out(photos: Path) -> None:
    for name in ("flowers/roses/1.jpg", "flowers/tulips/3.jpg"):
        (photos / name).parent.mkdir(parents=True, exist_ok=True)
        (photos / name).write_text(name)
    assert _found(photos) == PLAIN


def test_links_to_files_are_followed_and_links_to_folders_are_not(photos: Path) -> None:
    (photos.parent / "elsewhere.jpg").write_text("rose")
    (photos / "roses/link.jpg").symlink_to(photos.parent / "elsewhere.jpg")
    (photos / "roses/loop").symlink_to(photos / "roses")
    (photos / "roses/round.jpg").symlink_to(photos / "roses/round.jpg")
    (photos / "roses/dangling.jpg").symlink_to(photos / "nowhere.jpg")
    assert _found(photos) == PLAIN | {
        "roses/link.jpg": "roses",
        "roses/round.jpg": "cannot be read (Too many levels of symbolic links)",
        "roses/dangling.jpg": "cannot be read (No such file or directory)",
    }


def test_a_pipe_is_not_opened(photos: Path) -> None:
    os.mkfifo(photos / "roses/pipe.jpg")
    assert _found(photos)["roses/pipe.jpg"] == "not a regular file"


def test_any_name_will_do(photos: Path) -> None:
    names = ["with space.jpg", "línea\nnueva.jpg", "🌹.jpg", os.fsdecode(b"\xff\xfe.jpg"), "x" * 250 + ".jpg"]
    for name in names:
        (photos / "roses" / name).write_text("x")
    assert {f"roses/{name}" for name in names} <= set(_found(photos))


def test_a_table_names_photos_anywhere_with_split_and_group(photos: Path) -> None:
    elsewhere = photos.parent / "elsewhere.jpg"
    elsewhere.write_text("rose")
    rows = [
        ("tulips/3.jpg", "tulip", "test", "a"), (str(elsewhere), "rose", "train", ""),
        ("gone.jpg", "rose", "train", ""), ("roses/1.jpg", "weed", "train", ""), ("nul\0.jpg", "rose", "", ""),
    ]  # fmt: skip
    table = pd.DataFrame(rows, columns=["path", "label", "split", "group"])
    found = photos_in_table(table, photos, ["tulip", "rose"]).photos
    first, second, third, fourth = add_digests(found, photos.parent / "digests.sqlite")
    assert first == Candidate(photos / "tulips/3.jpg", "tulip", first.sha256, "", "test", "a")
    assert second.path == elsewhere
    assert second.sha256
    assert third.problem == "cannot be read (No such file or directory)"
    assert "null" in fourth.problem
    with pytest.raises(UserError, match="classes must name folders"):
        photos_in_table(table, photos, ["oak"])


@pytest.mark.parametrize(
    ("names", "words"),
    [
        (["cat.0.jpg", "dog.0.jpg"], "2 photos that are in no class folder ('cat.0.jpg', 'dog.0.jpg')"),
        (["photos.zip"], "1 archives ('photos.zip', to be unpacked first)"),
        (["roses/1.jpg", "README"], "1 folders ('roses'); 1 other files ('README')"),
        (
            ["images/1.jpg", "labels.csv"],
            "('labels.csv', whose columns path and label may name the photos: data=",
        ),
        ([".hidden/1.jpg"], "found: nothing"),
    ],
)
def test_where_there_are_no_classes_what_is_there_is_told(names: list[str], words: str, tmp_path: Path) -> None:
    for name in names:
        (tmp_path / name).parent.mkdir(exist_ok=True)
        (tmp_path / name).write_text("x")
    with pytest.raises(UserError) as error:
        find_photos(tmp_path, ())
    assert words in str(error.value)
    assert "at least two classes" in str(error.value)


def _folders(folder: Path, *names: str) -> Path:
    for name in names:
        (folder / name).mkdir()
        (folder / name / "1.jpg").write_text(name)
    return folder


@pytest.mark.parametrize(
    ("names", "shown"),
    [
        (("Rose", "rose"), "'Rose' and 'rose'"),
        (("caf\u00e9", "cafe\u0301"), r"'cafe\u0301' and 'caf\xe9'"),
        (("rose", "rose "), "'rose' and 'rose '"),
        (("tea rose", "tearose"), "'tea rose' and 'tearose'"),
    ],
)
def test_names_that_are_easily_confused_are_named(names: tuple[str, str], shown: str, tmp_path: Path) -> None:
    (remark,) = find_photos(_folders(tmp_path, *names), ()).remarks
    assert remark.startswith(f"warning: the classes {shown} differ only in")


def test_classes_are_found_in_any_form_of_their_name(tmp_path: Path) -> None:
    folder = _folders(tmp_path, "cafe\u0301", "Rose", "rose", "salt, fine")
    scan = find_photos(folder, ("caf\u00e9", "salt, fine"))
    assert {photo.label for photo in scan.photos} == {"cafe\u0301", "salt, fine"}
    assert {photo.label for photo in find_photos(folder, ("rose", "SALT, FINE")).photos} == {"rose", "salt, fine"}
    with pytest.raises(UserError, match=r"got 'ROSE' \(possible matches: Rose, rose\)"):
        find_photos(folder, ("ROSE", "salt, fine"))


def test_a_note_that_is_a_photo_is_a_photo(photos: Path) -> None:
    (photos / "roses/mailed.txt").write_bytes(b"\xff\xd8\xff\xe0" + bytes(20))
    (photos / "roses/list.txt").write_text("roses")
    found = find_photos(photos, ())
    assert "mailed.txt" in {photo.path.name for photo in found.photos}
    assert {ignored.path.name: ignored.reason for ignored in found.ignored} == {"list.txt": "note beside photos (.txt)"}
