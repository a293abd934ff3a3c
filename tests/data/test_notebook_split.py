"""The published notebook's split: that of Keras, photo by photo."""

from __future__ import annotations

import shutil
from pathlib import Path

import pytest

from pipeline.data.notebook_split import notebook_table
from pipeline.data.sources import photo_source


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
    folder, table = photo_source("flower_photos_notebook", tmp_path)
    assert table == tmp_path / "flower_photos_notebook.csv"
    rows = table.read_text().splitlines()
    assert rows[0] == "path,label,split"
    assert all((folder / row.split(",")[0]).is_file() for row in rows[1:])
    before = table.stat().st_mtime_ns
    assert photo_source("flower_photos_notebook", tmp_path).table == table
    assert table.stat().st_mtime_ns == before


@pytest.mark.photos
def test_flower_photos_have_the_published_counts(real_photos: Path) -> None:
    counts = notebook_table(real_photos)["split"].value_counts()
    assert counts["test"] == 734
    assert counts["train"] + counts["validation"] == 2936
