"""The published notebook's split: that of Keras, photo by photo."""

from __future__ import annotations

import shutil
from pathlib import Path

import pytest

from pipeline.config import DataConfig
from pipeline.data.sources.notebook_split import notebook_table
from pipeline.data.sources.resolve import photo_source
from pipeline.data.store.store import prepared_store


def test_the_test_photos_are_those_that_keras_would_validate_on(photo_folder: Path) -> None:
    import keras

    table = notebook_table(photo_folder)
    subsets = {
        subset: keras.utils.image_dataset_from_directory(
            photo_folder, validation_split=0.2, subset=subset, seed=123, image_size=(8, 8), verbose=False
        ).file_paths
        for subset in ("training", "validation")
    }
    paths = [str(photo_folder.parent / path) for path in table["path"]]
    test = (table["split"] == "test").tolist()
    assert [path for path, is_test in zip(paths, test, strict=True) if is_test] == subsets["validation"]
    assert [path for path, is_test in zip(paths, test, strict=True) if not is_test] == subsets["training"]
    assert table["split"].value_counts().to_dict() == {"train": 22, "test": 6, "validation": 2}
    assert (table["label"] == [Path(path).parent.name for path in paths]).all()


def test_the_source_is_a_table_beside_the_photos(photo_folder: Path, tmp_path: Path) -> None:
    shutil.copytree(photo_folder, tmp_path / "flower_photos")
    folder, table, _ = photo_source("flower_photos_notebook", tmp_path)
    assert table == tmp_path / "flower_photos_notebook-v2.csv"
    rows = table.read_text().splitlines()
    assert rows[0] == "path,label,split"
    assert all((folder / row.split(",")[0]).is_file() for row in rows[1:])
    before = table.stat().st_mtime_ns
    assert photo_source("flower_photos_notebook", tmp_path).table == table
    assert table.stat().st_mtime_ns == before


def test_a_training_photo_that_is_also_among_the_test_photos_is_left_out(photo_folder: Path, tmp_path: Path) -> None:
    photos = Path(shutil.copytree(photo_folder, tmp_path / "colours"))
    before = notebook_table(photos)
    tested, *others = (before[before["split"] == split]["path"].tolist() for split in ("test", "validation", "train"))
    for copies, of in zip(others, tested, strict=False):
        shutil.copyfile(tmp_path / of, tmp_path / copies[0])
    shutil.copyfile(tmp_path / tested[2], tmp_path / tested[3])
    after = notebook_table(photos)
    assert sorted(set(before["path"]) - set(after["path"])) == sorted(copies[0] for copies in others)
    assert after["path"].tolist() == [path for path in before["path"] if path in set(after["path"])]


@pytest.mark.photos
def test_flower_photos_have_the_published_counts_and_can_be_prepared(
    real_photos: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    Path("data/raw").mkdir(parents=True)
    Path("data/raw/flower_photos").symlink_to(real_photos)
    store = prepared_store(DataConfig(data="flower_photos_notebook", image_size=32))
    counts = store.manifest["split"].value_counts()
    assert counts["test"] == 734
    assert notebook_table(real_photos)["split"].value_counts()[["train", "validation"]].sum() == 2936 - 3
    assert 2900 < counts["train"] + counts["validation"] < 2936 - 3  # without those that look like a test photo
