"""The photos that a model is judged on, after whatever became of those that it was trained from."""

from __future__ import annotations

import shutil
from collections.abc import Callable
from pathlib import Path

import cv2
import numpy as np
import pandas as pd
import pytest

from pipeline.config import DataConfig, UserError
from pipeline.data.store import KnownPhotos, Store, preparation, prepared_store
from pipeline.experiment import PHOTOS_FILE
from pipeline.promotion.unseen import judged_photos
from pipeline.serving import About

CLASSES = ("high", "low")
PHOTOS = 40  # of a class


@pytest.fixture
def photos(tmp_path: Path) -> Path:
    """Blocks of random colours, bright below or above: photos that no hash takes for another."""
    folder, rng = tmp_path / "photos", np.random.default_rng(0)
    for name in CLASSES:
        (folder / name).mkdir(parents=True)
        for number in range(PHOTOS):
            blocks = rng.integers(0, 180, (8, 8, 3), dtype=np.uint8)
            blocks[:4] += 60 * np.uint8(name == "high")
            photo = cv2.resize(blocks, (96, 96), interpolation=cv2.INTER_CUBIC)
            assert cv2.imwrite(str(folder / name / f"{number}.jpg"), photo, [cv2.IMWRITE_JPEG_QUALITY, 95])
    return folder


def _open(data: Path, tmp_path: Path, **flags: object) -> Store:
    return prepared_store(DataConfig(data=str(data), image_size=32, test_fraction=0.3, **flags), tmp_path / "data")


def _about(store: Store, **more: object) -> About:
    config = DataConfig(data=str(store.source), image_size=32, test_fraction=0.3).model_dump(mode="json")
    return About(CLASSES, 32, "crop", (), store.digest, str(store.source), config | {"weights": "none"}, **more)


@pytest.fixture
def model(photos: Path, tmp_path: Path) -> tuple[About, Path, set[str]]:
    """What a model remembers, its folder, and the photos (class/number) that it has learned from."""
    store, folder = _open(photos, tmp_path), tmp_path / "model"
    folder.mkdir()
    KnownPhotos.of(store.manifest).write(folder / PHOTOS_FILE)
    learned = store.manifest.loc[store.manifest["split"] != "test", "path"]
    return _about(store), folder, {Path(path).with_suffix("").as_posix() for path in learned}


def _remove(photos: Path, learned: set[str]) -> Path:
    for name in sorted(learned)[::2]:
        (photos / name).with_suffix(".jpg").unlink()
    return photos


def _relabel(photos: Path, learned: set[str]) -> Path:
    test = sorted(
        path for path in photos.rglob("*.jpg") if path.relative_to(photos).with_suffix("").as_posix() not in learned
    )
    for path in test[:3]:
        path.rename(photos / ("low" if path.parent.name == "high" else "high") / f"moved {path.name}")
    return photos


def _as_a_table(photos: Path, learned: set[str]) -> Path:
    paths = sorted(photos.rglob("*.jpg"))
    table = pd.DataFrame({"path": [path.relative_to(photos.parent) for path in paths]})
    table["label"] = [path.parent.name for path in paths]
    table.to_csv(photos.parent / "photos.csv", index=False)
    return photos.parent / "photos.csv"


def _move(photos: Path, learned: set[str]) -> Path:
    return Path(shutil.copytree(photos, photos.parent / "elsewhere", copy_function=shutil.move))


def _encode_again(photos: Path, learned: set[str]) -> Path:
    for path in photos.rglob("*.jpg"):
        photo = cv2.imread(str(path))
        assert cv2.imwrite(str(path.with_suffix(".webp")), photo, [cv2.IMWRITE_WEBP_QUALITY, 75])
        path.unlink()
    return photos


def _nothing(photos: Path, learned: set[str]) -> Path:
    return photos


@pytest.mark.parametrize("change", [_nothing, _remove, _relabel, _as_a_table, _move, _encode_again])
@pytest.mark.parametrize("split_seed", [0, 1])
@pytest.mark.parametrize("has_new_format", [False, True])
def test_no_photo_is_judged_that_was_learned_from(
    photos: Path, model: tuple[About, Path, set[str]], tmp_path: Path, monkeypatch: pytest.MonkeyPatch,
    change: Callable[[Path, set[str]], Path], split_seed: int, has_new_format: bool,
) -> None:  # fmt: skip
    about, folder, learned = model
    data = change(photos, learned)
    if has_new_format:
        monkeypatch.setattr(preparation, "FORMAT", preparation.FORMAT + 1)
    store = _open(data, tmp_path, split_seed=split_seed)
    test = store.held_out_photos()
    judged = judged_photos(about, folder, test)

    def name_of(path: str) -> str:
        """Return what a photo was called at first."""
        label, number = Path(path).with_suffix("").parts[-2:]
        was_moved = number.startswith("moved ")
        return f"{CLASSES[CLASSES.index(label) ^ was_moved]}/{number.removeprefix('moved ')}"

    names = {name_of(path) for path in test.rows["path"]}
    kept = {name_of(path) for path in judged.photos.rows["path"]}
    assert kept == names - learned
    assert len(judged.photos.images) == len(judged.photos.labels) == len(judged.photos.rows) > 0
    for row in judged.photos.rows.itertuples():
        place = int(test.rows.index[test.rows["path"] == row.path][0])
        np.testing.assert_array_equal(judged.photos.images[row.Index], test.images[place])
        assert CLASSES[judged.photos.labels[row.Index]] == row.label  # as it is labelled today
    assert any("changed" in note for note in judged.notes) == (store.digest != about.data_digest)
    assert any("left out" in note for note in judged.notes) == (len(kept) < len(names))
    assert judged.claim == "that were never used to train or select it"


def test_a_model_is_not_judged_where_no_photo_is_new(
    photos: Path, model: tuple[About, Path, set[str]], tmp_path: Path
) -> None:
    _, folder, _ = model
    known = KnownPhotos.read(folder / PHOTOS_FILE)
    KnownPhotos(known.table.assign(learned=True)).write(folder / PHOTOS_FILE)
    started = _about(_open(photos, tmp_path), start={"lineage": ["models:/m/2"]})
    with pytest.raises(UserError, match=r"new to it, got \d+ test photos of which the model, or what it started from"):
        judged_photos(started, folder, _open(photos, tmp_path).held_out_photos())


def test_a_model_of_before_is_judged_while_its_photos_are_the_same(
    photos: Path, model: tuple[About, Path, set[str]], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    about, folder, learned = model
    (folder / PHOTOS_FILE).unlink()
    monkeypatch.chdir(tmp_path)  # its prepared photos are in ./data
    store = _open(photos, tmp_path)
    assert len(judged_photos(about, folder, store.held_out_photos()).photos.rows) == len(store.manifest) - len(learned)
    changed = _open(_remove(photos, learned), tmp_path)
    judged = judged_photos(about, folder, changed.held_out_photos())
    assert any("changed" in note for note in judged.notes)  # they are still prepared as they were
    shutil.rmtree(store.folder)
    with pytest.raises(UserError, match="the photos must be those that the model was trained on"):
        judged_photos(about, folder, changed.held_out_photos())
