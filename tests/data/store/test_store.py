"""The prepared store: what is in it, what makes another one, and that it is whole or absent."""

from __future__ import annotations

import gc
import os
import shutil
import subprocess
import sys
import warnings
from collections.abc import Iterator
from pathlib import Path
from typing import Self

import cv2
import numpy as np
import pandas as pd
import pytest

from pipeline.config import DataConfig, UserError
from pipeline.data.intake import digest_cache as digests
from pipeline.data.pixels.decode import decode, prepare
from pipeline.data.splits.assignment import SPLITS
from pipeline.data.store import integrity as checksums
from pipeline.data.store import preparation
from pipeline.data.store import store as store_module
from pipeline.data.store.store import Store, prepared_store
from tests.conftest import images_of, rows_of

ROOT = Path(__file__).parents[3]
COLOURS = {"blue": (40, 60, 200), "green": (40, 180, 60), "red": (210, 50, 40)}
SIDE = 32


def _photo_bytes(label: str, number: int) -> bytes:
    """A JPEG or PNG of its class's colour with some noise, of a size of its own."""
    height, width = 33 + 7 * number, 64 - 3 * number
    noise = np.random.default_rng((len(label), number)).integers(-30, 30, (height, width, 3))
    pixels = np.clip(np.array(COLOURS[label]) + noise, 0, 255).astype(np.uint8)
    encoding = ".png" if number % 2 else ".jpg"
    return cv2.imencode(encoding, cv2.cvtColor(pixels, cv2.COLOR_RGB2BGR))[1].tobytes()


def _draw(folder: Path, photos: int = 6, labels: tuple[str, ...] = tuple(COLOURS)) -> Path:
    for label in labels:
        (folder / label).mkdir(parents=True, exist_ok=True)
        for number in range(photos):
            (folder / label / f"{number}.{'png' if number % 2 else 'jpg'}").write_bytes(_photo_bytes(label, number))
    return folder


@pytest.fixture
def photos(tmp_path: Path) -> Path:
    return _draw(tmp_path / "photos")


def _prepared(photos: Path, **flags: object) -> Store:
    return prepared_store(DataConfig(**{"data": str(photos), "image_size": SIDE} | flags), photos.parent / "root")


def _mistake(photos: Path, **flags: object) -> str:
    with pytest.raises(UserError) as error:
        _prepared(photos, **flags)
    assert len(str(error.value).splitlines()) == 1
    assert [name for name in _stores(photos) if not name.endswith(".part")] == []
    return str(error.value)


def _stores(photos: Path) -> list[str]:
    """Everything in the folder of prepared stores but the locks."""
    prepared = photos.parent / "root" / "prepared"
    return sorted(path.name for path in prepared.glob("*") if path.suffix != ".lock") if prepared.is_dir() else []


def test_the_manifest_has_every_photo_and_the_arrays_its_pixels(photos: Path) -> None:
    store = _prepared(photos)
    assert not store.reused
    assert store.class_names == ("blue", "green", "red")
    assert sorted(store.manifest["path"]) == sorted(f"{path.parent.name}/{path.name}" for path in photos.rglob("*.*"))
    for split in SPLITS:
        rows, images = rows_of(store, split), images_of(store, split)
        assert images.shape == (len(rows), SIDE, SIDE, 3)
        assert images.dtype == np.uint8
        assert [store.class_names[index] for index in rows_of(store, split)["class_index"]] == rows["label"].tolist()
        assert rows["label"].tolist() == [Path(path).parent.name for path in rows["path"]]
        for row, pixels in zip(rows.itertuples(), images, strict=True):
            photo = decode((photos / row.path).read_bytes())
            np.testing.assert_array_equal(pixels, prepare(photo, SIDE, "crop"))
            assert (row.height, row.width) == photo.shape[:2]


def test_the_pixels_are_those_of_the_flags(photos: Path) -> None:
    store = _prepared(photos, resize="pad", image_ops=("grey", "opening:5"), image_size=64)
    row = store.rows("validation").iloc[0]
    expected = prepare(decode((photos / row["path"]).read_bytes()), 64, "pad", ("grey", "opening:5"))
    np.testing.assert_array_equal(store.images("validation")[0], expected)


def test_colours_are_red_green_blue(photos: Path) -> None:
    store = _prepared(photos)
    for split in SPLITS:
        for label, pixels in zip(rows_of(store, split)["class_index"], images_of(store, split), strict=True):
            np.testing.assert_allclose(pixels.mean(axis=(0, 1)), COLOURS[store.class_names[label]], atol=12)


def test_class_counts(photos: Path) -> None:
    counts = _prepared(photos).class_counts()
    assert counts.index.tolist() == ["blue", "green", "red"]
    assert counts.columns.tolist() == list(SPLITS)
    assert counts.sum(axis=1).tolist() == [6, 6, 6]
    assert counts.to_numpy().min() >= 1


def test_arrays_are_read_only(photos: Path) -> None:
    with pytest.raises(ValueError, match="read-only"):
        _prepared(photos).images("train")[0] = 0


def test_a_second_call_finds_the_store(photos: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    first = _prepared(photos)
    monkeypatch.setattr(store_module, "write_store", lambda *_: pytest.fail("decoded again"))
    again = _prepared(photos)
    assert again.reused
    assert again.digest == first.digest
    pd.testing.assert_frame_equal(again.manifest, first.manifest)
    assert _stores(photos) == [first.digest]


class Backwards:
    """A directory listing in the other order."""

    def __init__(self, entries: list[os.DirEntry[str]]) -> None:
        self._entries = iter(entries[::-1])

    def __iter__(self) -> Iterator[os.DirEntry[str]]:
        return self._entries

    def __next__(self) -> os.DirEntry[str]:
        return next(self._entries)

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None: ...

    close = __exit__


def test_times_places_and_the_order_of_listings_make_no_other_store(
    photos: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    first = _prepared(photos)
    for path in photos.rglob("*"):
        os.utime(path, (1, 1))
    moved = photos.rename(photos.with_name("moved"))
    forwards = os.scandir
    monkeypatch.setattr(os, "scandir", lambda *place: Backwards(list(forwards(*place))))
    again = _prepared(moved)
    assert again.reused
    assert again.digest == first.digest


def test_bytes_names_and_labels_make_another_store(photos: Path) -> None:
    digests = [_prepared(photos).digest]
    photo = photos / "red" / "5.png"  # the last of all, and so it stays: else another order alone would do it
    photo.write_bytes(photo.read_bytes() + b"\0")  # behind the end of the picture: the same pixels of other bytes
    digests.append(_prepared(photos).digest)
    photo = photo.rename(photo.with_name("6.png"))
    digests.append(_prepared(photos).digest)
    photo = photo.rename(photos / "blue" / photo.name)
    digests.append(_prepared(photos).digest)
    photo.unlink()
    digests.append(_prepared(photos).digest)
    assert len(set(digests)) == len(digests)


def test_every_data_flag_but_the_place_makes_another_store(photos: Path) -> None:
    other: dict[str, object] = {
        "classes": ("blue", "red"),
        "image_size": 64,
        "resize": "stretch",
        "image_ops": ("grey",),
        "val_fraction": 0.3,
        "test_fraction": 0.3,
        "split_seed": 1,
        "near_duplicates": False,
        "max_pixels": 10_000,
    }
    assert set(other) | {"data", "exclude"} == set(DataConfig.model_fields)
    digests = [_prepared(photos).digest, *(_prepared(photos, **{name: value}).digest for name, value in other.items())]
    assert len(set(digests)) == len(digests)


def test_another_format_makes_another_store(photos: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    first = _prepared(photos)
    monkeypatch.setattr(preparation, "FORMAT", preparation.FORMAT + 1)
    assert _prepared(photos).digest != first.digest


def test_classes_keeps_those_classes_alone(photos: Path) -> None:
    store = _prepared(photos, classes=("red", "blue"))
    assert store.class_names == ("blue", "red")
    assert set(store.manifest["label"]) == {"blue", "red"}


BAD_FILES = {
    "red/empty.jpg": (b"", "empty file"),
    "red/page.jpg": (b"<html><body>404</body></html>", "not an image (HTML)"),
    "green/notes.jpg": (b"bought on Tuesday", "not an image (text)"),
    "blue/half.jpg": (_photo_bytes("blue", 0)[:-100], "truncated or damaged"),
}


def test_bad_files_are_listed_with_their_reason_and_are_not_in_the_arrays(photos: Path) -> None:
    _draw(photos, photos=18)
    for name, (content, _) in BAD_FILES.items():
        (photos / name).write_bytes(content)
    (photos / "red" / "gone.jpg").symlink_to("nowhere.jpg")
    store = _prepared(photos, val_fraction=0.2, test_fraction=0.2)
    reasons = dict(zip(store.quarantined["path"], store.quarantined["reason"], strict=True))
    expected = {name: reason for name, (_, reason) in BAD_FILES.items()}
    assert reasons == expected | {"red/gone.jpg": "cannot be read (No such file or directory)"}
    assert store.quarantined["label"].tolist() == [path.partition("/")[0] for path in store.quarantined["path"]]
    assert len(store.manifest) == 54 == sum(len(images_of(store, split)) for split in SPLITS)
    assert not set(store.manifest["path"]) & set(reasons)


def test_bad_files_take_no_photos_place_in_a_split(photos: Path) -> None:
    clean = _prepared(photos)
    splits = dict(zip(clean.manifest["path"], clean.manifest["split"], strict=True))
    for number in range(12):
        (photos / "red" / f"bad-{number}.jpg").write_text(f"no photo {number}")
    store = _prepared(photos)
    assert len(store.quarantined) == 12
    assert dict(zip(store.manifest["path"], store.manifest["split"], strict=True)) == splits


@pytest.mark.parametrize("name", ["007", "NA", "None", "1e5", "true", "a,b", 'quo"te', "Löwenzahn", " daisy"])
def test_a_class_may_have_any_name(name: str, photos: Path) -> None:
    (photos / "red").rename(photos / name)
    (photos / name / "bad.jpg").write_bytes(b"no photo")
    store = _prepared(photos, val_fraction=0.3, test_fraction=0.3)
    assert store.class_names == tuple(sorted(["blue", "green", name]))
    assert set(store.manifest["label"]) == {"blue", "green", name}
    assert store.quarantined[["path", "label"]].to_dict("records") == [{"path": f"{name}/bad.jpg", "label": name}]
    assert store.class_counts().to_numpy().sum() == 18


def _path_of_bytes(folder: Path, name: bytes) -> Path:
    return Path(os.fsdecode(os.fsencode(folder) + b"/" + name))


def test_file_names_that_are_not_utf_8(photos: Path) -> None:
    photo = _path_of_bytes(photos / "red", b"caf\xe9.jpg")
    try:
        (photos / "red" / "0.jpg").rename(photo)
    except OSError:
        pytest.skip("this file system takes UTF-8 names alone")
    _path_of_bytes(photos / "red", b"bad\xff.jpg").write_bytes(b"no photo")
    store = _prepared(photos, val_fraction=0.3, test_fraction=0.3)
    row = store.manifest[store.manifest["path"] == "red/caf\\xe9.jpg"].iloc[0]
    np.testing.assert_array_equal(
        images_of(store, row["split"])[row["row"]], prepare(decode(photo.read_bytes()), SIDE, "crop")
    )
    assert store.quarantined["path"].tolist() == ["red/bad\\xff.jpg"]


def test_class_folders_whose_names_are_not_utf_8(photos: Path) -> None:
    try:
        (photos / "red").rename(_path_of_bytes(photos, b"ros\xe9"))
    except OSError:
        pytest.skip("this file system takes UTF-8 names alone")
    # Either is a fair answer: a class name that can be printed, or one line that asks for another.
    try:
        answer = _prepared(photos).class_names[-1]
    except UserError as error:
        answer = str(error)
    assert "ros" in answer
    assert len(answer.splitlines()) == 1
    assert answer.encode()


def test_hidden_files_and_empty_folders_are_no_photos(photos: Path) -> None:
    first = _prepared(photos)
    (photos / "yellow").mkdir()
    (photos / ".cache").mkdir()
    (photos / ".cache" / "1.jpg").write_bytes(b"x")
    (photos / "red" / "._0.jpg").write_bytes(b"resource fork")
    (photos / "red" / "Thumbs.db").write_bytes(b"x")
    (photos / "LICENSE.txt").write_text("free")
    assert _prepared(photos).digest == first.digest


def test_photos_in_folders_of_a_class_folder_belong_to_the_class(photos: Path) -> None:
    (photos / "red" / "garden" / "2026").mkdir(parents=True)
    (photos / "red" / "5.png").rename(photos / "red" / "garden" / "2026" / "5.png")
    manifest = _prepared(photos).manifest
    assert manifest.set_index("path").loc["red/garden/2026/5.png", "label"] == "red"


def test_copies_of_a_photo_share_a_split(photos: Path) -> None:
    for number in range(6):
        name = f"{number}.{'png' if number % 2 else 'jpg'}"
        (photos / "red" / f"copy-{name}").write_bytes((photos / "red" / name).read_bytes())
    manifest = _prepared(photos).manifest
    assert (manifest.groupby("sha256")["split"].nunique() == 1).all()
    assert (manifest["sha256"].value_counts() == 2).sum() == 6


@pytest.mark.parametrize("interruption", [RuntimeError, KeyboardInterrupt, OSError])
def test_a_failure_half_way_leaves_nothing_that_looks_whole_and_the_next_call_succeeds(
    interruption: type[BaseException], photos: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    expected = _prepared(photos)
    sums = (expected.folder / "SHA256SUMS").read_text()
    shutil.rmtree(expected.folder)
    appended: list[np.ndarray] = []

    class FailsAtTheFifth(preparation.ArrayFile):
        def append(self, row: np.ndarray) -> None:
            super().append(row)
            appended.append(row)
            if len(appended) == 5:
                raise interruption("no space left")

    with monkeypatch.context() as patched:
        patched.setattr(preparation, "ArrayFile", FailsAtTheFifth)
        with pytest.raises((interruption, UserError)):
            _prepared(photos)
    assert len(appended) == 5
    assert _stores(photos) == ([] if interruption is RuntimeError else [f"{expected.digest}.part"])
    again = _prepared(photos)
    assert (again.folder / "SHA256SUMS").read_text() == sums
    assert _stores(photos) == [again.digest]


def test_a_failure_leaves_no_file_open(photos: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def refuse(*_: object) -> np.ndarray:
        raise MemoryError

    monkeypatch.setattr(preparation.ArrayFile, "append", refuse)
    with warnings.catch_warnings(record=True) as noise:
        warnings.simplefilter("always", ResourceWarning)
        with pytest.raises(MemoryError):
            _prepared(photos)
        gc.collect()
    assert [str(warning.message) for warning in noise] == []


def _flip_a_bit(file: Path) -> None:
    content = bytearray(file.read_bytes())
    content[len(content) // 2] ^= 1
    file.write_bytes(content)


@pytest.mark.parametrize(
    "name", ["train.npy", "test.npy", "manifest.parquet", "store.json", "sizes.json", "SHA256SUMS"]
)
def test_bit_rot_is_found_named_and_mended(name: str, photos: Path) -> None:
    store = _prepared(photos)
    sums = (store.folder / "SHA256SUMS").read_text()
    _flip_a_bit(store.folder / name)
    mended = prepared_store(DataConfig(data=str(photos), image_size=SIDE), photos.parent / "root", name == "test.npy")
    assert not mended.reused
    assert name in mended.damaged or name == "SHA256SUMS"
    assert (mended.folder / "SHA256SUMS").read_text() == sums
    assert _prepared(photos).reused


def test_the_sums_of_large_files_are_compared_on_demand(photos: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(checksums, "LARGE_BYTES", 10_000)
    store = _prepared(photos)
    _flip_a_bit(store.folder / "train.npy")
    assert _prepared(photos).reused
    config = DataConfig(data=str(photos), image_size=SIDE)
    assert prepared_store(config, photos.parent / "root", thorough=True).damaged == ("train.npy",)


@pytest.mark.skipif(not shutil.which("sha256sum"), reason="needs coreutils")
def test_coreutils_check_the_sums_too(photos: Path) -> None:
    folder = _prepared(photos).folder
    subprocess.run(["sha256sum", "--check", "--strict", "SHA256SUMS"], cwd=folder, check=True, capture_output=True)
    listed = {line.split("  ")[1] for line in (folder / "SHA256SUMS").read_text().splitlines()}
    assert listed == {path.name for path in folder.iterdir()} - {"SHA256SUMS"}


def test_why_a_file_cannot_be_read_makes_no_other_store(photos: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (photos / "red" / "gone.jpg").symlink_to("nowhere.jpg")
    first = _prepared(photos)
    monkeypatch.setattr(digests, "_read_error", lambda error: "in other words")
    assert _prepared(photos).digest == first.digest


PREPARE = """
import sys
from pathlib import Path
from pipeline.config import DataConfig
from pipeline.data.store import prepared_store

print("ready", flush=True)
sys.stdin.readline()
store = prepared_store(DataConfig(data=sys.argv[1], image_size=32), Path(sys.argv[2]))
print(store.digest, store.reused, len(store.manifest))
"""


def test_processes_that_prepare_at_once_make_one_store(photos: Path) -> None:
    command = [sys.executable, "-c", PREPARE, str(photos), str(photos.parent / "root")]
    env = os.environ | {"PYTHONPATH": str(ROOT)}
    pipes = {"stdin": subprocess.PIPE, "stdout": subprocess.PIPE, "stderr": subprocess.PIPE}
    processes = [subprocess.Popen(command, env=env, text=True, **pipes) for _ in range(2)]
    for process in processes:
        assert process.stdout.readline() == "ready\n"
    for process in processes:
        process.stdin.write("go\n")
        process.stdin.flush()
    answers = [process.communicate(timeout=60) for process in processes]
    assert [process.returncode for process in processes] == [0, 0], answers
    store = _prepared(photos)
    assert sorted(out.split() for out, _ in answers) == [[store.digest, "False", "18"], [store.digest, "True", "18"]]
    assert store.reused
    assert _stores(photos) == [store.digest]
    assert sum(len(images_of(store, split)) for split in SPLITS) == 18


def test_an_empty_folder_is_the_users_mistake(tmp_path: Path) -> None:
    (tmp_path / "photos").mkdir()
    assert str(tmp_path / "photos") in _mistake(tmp_path / "photos")


def test_a_missing_folder_is_the_users_mistake(tmp_path: Path) -> None:
    assert "nowhere" in _mistake(tmp_path / "nowhere")


def test_one_class_is_the_users_mistake(tmp_path: Path) -> None:
    message = _mistake(_draw(tmp_path / "photos", labels=("red",)))
    assert "at least two classes" in message
    assert "red" in message


def test_a_missing_class_is_the_users_mistake(photos: Path) -> None:
    message = _mistake(photos, classes=("red", "purple"))
    assert "purple" in message
    assert "blue, green, red" in message


@pytest.mark.parametrize("name", ["label", "probability", "error"])
def test_a_class_named_like_a_column_of_predictions_is_the_users_mistake(name: str, photos: Path) -> None:
    (photos / "red").rename(photos / name)
    assert name in _mistake(photos)


def test_too_few_photos_are_the_users_mistake(tmp_path: Path) -> None:
    message = _mistake(_draw(tmp_path / "photos", photos=2))
    assert "at least 3" in message
    assert all(repr(name) in message for name in COLOURS)


def test_a_class_without_a_readable_photo_is_the_users_mistake(photos: Path) -> None:
    for path in (photos / "red").iterdir():
        path.write_text(f"no photo {path.name}")
    assert "red" in _mistake(photos)


def test_an_unknown_image_operation_is_the_users_mistake(photos: Path) -> None:
    assert "'sharpen'" in _mistake(photos, image_ops=("sharpen",))


def test_a_table_gives_splits_and_groups(photos: Path) -> None:
    names = [path.relative_to(photos).as_posix() for path in sorted(photos.rglob("*.*"))]
    table = pd.DataFrame({"path": names, "label": [name.partition("/")[0] for name in names]})
    file = photos / "photos.csv"
    table.assign(split=["train", "train", "val", "val", "test", "test"] * 3).to_csv(file, index=False)
    rows = _prepared(file).manifest.set_index("path")
    assert rows["split"].to_dict() == dict(
        zip(names, ["train", "train", "validation", "validation", "test", "test"] * 3, strict=True)
    )
    group = [f"{name.partition('/')[0]} {place % 6 // 2}" for place, name in enumerate(names)]
    table.assign(group=group).to_csv(file, index=False)
    rows = _prepared(file).manifest
    assert rows.groupby("group")["split"].nunique().max() == 1
    assert rows["group"].nunique() == 9
    table.assign(group="one", split=["train", "val", "test"] * 6).to_csv(file, index=False)
    with pytest.raises(UserError, match="in one split"):
        _prepared(file)
