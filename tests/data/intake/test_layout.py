"""Where the classes are: in given splits of any name, below wrapping folders, beside what is no photo."""

from __future__ import annotations

import os
from collections import Counter
from collections.abc import Callable
from pathlib import Path

import pytest

from pipeline.config import UserError
from pipeline.data.intake.candidates import ScanResult, find_photos
from pipeline.data.intake.layout import beside as layout_beside
from pipeline.data.intake.layout import class_root, split_of

Make = Callable[..., Path]


@pytest.fixture
def make(tmp_path: Path) -> Make:
    """A function that makes files in a folder and returns it."""

    def make(*names: str) -> Path:
        folder = tmp_path / "set"
        for name in names:
            (folder / name).parent.mkdir(parents=True, exist_ok=True)
            (folder / name).write_text(name)
        return folder

    return make


def _splits(scan: ScanResult) -> Counter[tuple[str, str]]:
    return Counter((photo.label, photo.split) for photo in scan.photos)


def _reasons(scan: ScanResult) -> dict[str, str]:
    return {ignored.path.name: ignored.reason for ignored in scan.ignored}


@pytest.mark.parametrize(
    ("train", "validation", "test"),
    [
        ("train", "val", "test"), ("Train", "Valid", "Testing"), ("TRAINING", "validation", "Test"),
        ("train", "dev", "test"), ("seg_train/seg_train", "seg_val", "seg_test/seg_test"),
        ("training_set", "validation_set", "test_set"), ("train", "val", ""), ("train", "", "test"),
        ("all/train", "all/val", "all/test"), ("1/2/train", "1/2/val", "1/2/test"),
    ],
)  # fmt: skip
def test_folders_named_after_splits_are_given_splits(make: Make, train: str, validation: str, test: str) -> None:
    splits = {"train": train, "validation": validation, "test": test}
    folder = class_root(
        make(*(f"{name}/{label}/1.jpg" for name in splits.values() if name for label in ("a", "b")), "README.md")
    )
    scan = find_photos(folder, ())
    assert _splits(scan) == {(label, split): 1 for split, name in splits.items() if name for label in ("a", "b")}
    (remark,) = scan.remarks
    assert remark.startswith("the splits are as given: train from ")
    missing = [split for split, name in splits.items() if not name]
    assert (f"{missing[0]} photos are drawn" in remark) if missing else ("drawn" not in remark)


def test_unlabelled_test_photos_and_other_folders_are_named(make: Make) -> None:
    folder = make(
        *(f"{split}/{label}/1.jpg" for split in ("train", "valid", "set/train", "set/valid") for label in "ab"),
        "test/1.jpg", "notes/a.xml", "labels.csv",
    )  # fmt: skip
    scan = find_photos(class_root(folder), ())
    assert set(_splits(scan)) == {(label, split) for label in "ab" for split in ("train", "validation")}
    assert _reasons(scan) == {
        "test": "photos without a class (1 files)",
        "set": "beside the split folders (4 files)",
        "notes": "folder without a photo (1 files)",
        "labels.csv": "beside the class folders",
    }
    assert "'test' (photos without a class (1 files))" in scan.remarks[1]
    assert "notes" not in scan.remarks[1]


def test_training_photos_beside_unlabelled_ones_are_split_as_usual(make: Make) -> None:
    folder = make("train/a/1.jpg", "train/b/1.jpg", "test1/1.jpg", "test1/2.jpg")
    scan = find_photos(class_root(folder), ())
    assert set(_splits(scan)) == {("a", ""), ("b", "")}
    assert _reasons(scan) == {"test1": "photos without a class (2 files)"}


@pytest.mark.parametrize(
    ("names", "parts"),
    [
        (["train/a/1.jpg", "train/b/1.jpg", "more/1.jpg"], ["'train', which is named after a split", "'more'"]),
        (["train/a/1.jpg", "training/a/1.jpg", "test/a/1.jpg"], ["'train' and 'training'", "one split, train"]),
        (["train/1.jpg", "test/1.jpg"], ["'test' and 'train'", "in no class folder"]),
        (["val/a/1.jpg", "test/a/1.jpg"], ["would not be for training"]),
        (
            [f"x/{split}/{label}/1.jpg" for split in ("train", "test") for label in "ab"] + ["y/a/1.jpg"],
            ["'x', which holds split folders", "data=", "set/x)"],
        ),
        (["train/a/1.jpg", "train/b/1.jpg", "test/c/1.jpg", "test/d/1.jpg"], ["got none of 'c', 'd'"]),
        (
            ["cat/train/1.jpg", "cat/test/1.jpg", "dog/train/1.jpg", "dog/test/1.jpg", "dog/loose.jpg"],
            ["got others in 'dog'", "columns path, label and split"],
        ),
        (["cat/val/1.jpg", "cat/test/1.jpg", "dog/1.jpg"], ["got others in 'cat' and 'dog'"]),
        (["train/a/1.jpg", "train/b/1.jpg", "val/a/1.jpg", "val/c/1.jpg"], ["got none of 'c'", "set/train"]),
    ],
)
def test_what_cannot_be_meant_is_refused_with_a_remedy(make: Make, names: list[str], parts: list[str]) -> None:
    folder = make(*names)
    with pytest.raises(UserError) as error:
        find_photos(class_root(folder), ())
    assert "\n" not in str(error.value)
    assert all(part in str(error.value) for part in parts), error.value


def test_given_splits_may_lie_in_the_class_folders(make: Make) -> None:
    names = [f"{label}/{split}/1.jpg" for label in "ab" for split in ("Train", "val")]
    scan = find_photos(class_root(make(*names, "b/test/deep/1.jpg", "a/readme.txt")), ())
    assert _splits(scan) == {(label, split): 1 for label in "ab" for split in ("train", "validation")} | {
        ("b", "test"): 1
    }
    assert scan.remarks[0].startswith("the splits are as given: train from 'Train'")
    assert len(scan.remarks) == 1


def test_spellings_of_a_class_in_several_splits_are_one(make: Make) -> None:
    folder = make("train/caf\u00e9/1.jpg", "train/Cat/1.jpg", "val/cafe\u0301/1.jpg", "val/cat/1.jpg")
    scan = find_photos(class_root(folder), ())
    assert set(_splits(scan)) == {(name, split) for name in ("caf\u00e9", "Cat") for split in ("train", "validation")}
    assert any("val/cat is taken for 'Cat'" in remark for remark in scan.remarks)


def test_split_folders_may_hold_more_than_the_classes(make: Make) -> None:
    names = [f"{split}/{name}" for split in ("train", "valid") for name in ("images/a/1.jpg", "images/b/1.jpg")]
    scan = find_photos(class_root(make(*names, "train/labels/1.txt", "valid/labels/1.txt")), ())
    assert set(_splits(scan)) == {(label, split) for label in "ab" for split in ("train", "validation")}


def test_classes_may_all_be_named_after_one_split(make: Make) -> None:
    scan = find_photos(class_root(make("covid test/1.jpg", "pregnancy test/1.jpg")), ())
    assert set(_splits(scan)) == {("covid test", ""), ("pregnancy test", "")}


def test_a_class_may_be_called_train(make: Make) -> None:
    scan = find_photos(class_root(make("bus/1.jpg", "car/1.jpg", "train/1.jpg")), ())
    assert _splits(scan) == {(label, ""): 1 for label in ("bus", "car", "train")}
    assert scan.remarks == ()


def test_given_splits_were_classes_before(make: Make) -> None:
    scan = find_photos(make("train/a/1.jpg", "train/b/1.jpg", "val/a/1.jpg", "val/b/1.jpg"), (), version=1)
    assert _splits(scan) == {("train", ""): 2, ("val", ""): 2}


@pytest.mark.parametrize(
    "beside",
    [
        ["README"], ["LICENSE", "about.json", "labels.csv"], ["annotations/1.xml", "annotations/2.xml"],
        ["Annotation/a/n1", "Annotation/b/n2"], [".git/config", "__MACOSX/images/._a"], ["docs/x/y.md", "main.py"],
    ],
)  # fmt: skip
@pytest.mark.parametrize("wrapped", ["images", "data/images", "a b/c d/e"])
def test_class_folders_are_found_below_wrapping_folders(make: Make, wrapped: str, beside: list[str]) -> None:
    folder = make(f"{wrapped}/a/1.jpg", f"{wrapped}/b/1", *beside)
    (folder / wrapped / "b/1").write_bytes(b"\xff\xd8\xff\xe0" + bytes(20))  # a photo without a suffix
    root = class_root(folder)
    assert root == folder / wrapped
    told = {path.relative_to(folder).parts[0] for path in layout_beside(folder, root)}
    assert told == {Path(name).parts[0] for name in beside}
    assert set(_splits(find_photos(root, ()))) == {("a", ""), ("b", "")}


def test_a_folder_of_notes_is_no_class(make: Make) -> None:
    scan = find_photos(class_root(make("a/1.jpg", "b/1.heic", "notes/1.txt", "boxes/1.xml", "empty/.keep")), ())
    assert set(_splits(scan)) == {("a", ""), ("b", "")}
    assert _reasons(scan) == {
        "notes": "folder without a photo",
        "boxes": "folder without a photo",
        "empty": "class without a file",
        ".keep": "hidden",
    }


def test_a_class_that_is_still_an_archive_is_named(make: Make) -> None:
    scan = find_photos(class_root(make("a/1.jpg", "b/1.jpg", "c/photos.zip", "d/README.txt")), ())
    assert set(_splits(scan)) == {("a", ""), ("b", "")}
    assert _reasons(scan)["c"] == "folder without a photo (it holds the archive photos.zip)"
    assert scan.remarks == ("warning: 'c' not used as a class: it holds an archive and no photo (unpack the archive)",)


def test_classes_that_all_hold_the_same_folders_are_questioned(make: Make) -> None:
    folder = make(*(f"{camera}/{label}/1.jpg" for camera in ("left", "right") for label in ("good", "bad")))
    (remark,) = find_photos(class_root(folder), ()).remarks
    assert "the classes are 'left', 'right'" in remark
    assert "'bad', 'good'" in remark
    assert f"data={folder / 'left'}" in remark


@pytest.mark.parametrize(
    ("name", "split"),
    [
        ("Train", "train"), ("train1", "train"), ("train-test", ""), ("strain", ""), ("latest", ""), ("device", ""),
        ("valid_2", "validation"), ("testing", "test"), ("trainers", ""),
    ],
)  # fmt: skip
def test_a_split_is_named_by_a_whole_word(name: str, split: str) -> None:
    assert split_of(name) == split


@pytest.mark.parametrize(
    "layout", ["{label}/{number}.jpg", "set/{split}/{label}/{number}.jpg", "{label}/{split}/{number}.jpg"]
)
def test_each_folder_is_listed_once(layout: str, make: Make, monkeypatch: pytest.MonkeyPatch) -> None:
    splits = ("train", "val")
    names = [
        layout.format(label=label, number=number, split=splits[number % 2]) for label in "ab" for number in range(4)
    ]
    root = class_root(make(*names, "readme.txt"))
    listed: Counter[str] = Counter()
    scandir = os.scandir

    def counted(place: Path) -> object:
        listed[str(place)] += 1
        return scandir(place)

    monkeypatch.setattr(os, "scandir", counted)
    assert len(find_photos(root, ()).photos) == 8
    assert set(listed.values()) == {1}


def test_a_file_beside_given_splits_in_a_class_folder_has_none(make: Make) -> None:
    names = [f"{label}/{split}/1.jpg" for label in "ab" for split in ("train", "val")]
    scan = find_photos(make(*names, "a/others/data.bin"), ())
    assert {photo.path.name: photo.split for photo in scan.photos if photo.split != "train"} == {
        "1.jpg": "validation", "data.bin": ""
    }  # fmt: skip
