"""Which files `predict` takes of folders, and that each gets a row."""

from __future__ import annotations

import os
import socket
from pathlib import Path

import numpy as np
import pandas as pd
import pytest

from pipeline.config import UserError
from pipeline.serving.prediction import photo_paths, top_columns


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    names = (
        "1.jpg", "b/2.heic", ".hidden/3.jpg", "@eaDir/4.jpg", "b/.5.jpg", "1.jpg.json", "IMG.AAE", "IMG.MOV",
        "Thumbs.db", "b/with, comma.jpg",
    )  # fmt: skip
    for name in names:
        (tmp_path / name).parent.mkdir(exist_ok=True)
        (tmp_path / name).write_text("x")
    return tmp_path


def test_a_folder_is_what_preprocess_would_take_of_it(folder: Path) -> None:
    found = photo_paths((str(folder),))
    assert [path.relative_to(folder).as_posix() for path in found] == ["1.jpg", "b/2.heic", "b/with, comma.jpg"]
    assert photo_paths((str(folder / "1.jpg.json"),)) == [folder / "1.jpg.json"]  # whoever names a file means it


def test_what_cannot_be_read_is_not_passed_over(folder: Path) -> None:
    os.mkfifo(folder / "pipe.jpg")
    (folder / "dangling.jpg").symlink_to("nowhere")
    with socket.socket(socket.AF_UNIX) as listener:
        listener.bind(str(folder / "socket"))
        names = {path.name for path in photo_paths((str(folder),))}
    assert {"pipe.jpg", "dangling.jpg", "socket"} <= names


def test_nothing_found_is_the_users_mistake(folder: Path) -> None:
    with pytest.raises(UserError, match="which matches nothing"):
        photo_paths((str(folder / "*.png"),))


def test_of_many_classes_the_likeliest_have_columns() -> None:
    names = ("a", "b", "label")
    rows = [("b", 0.5, 0.2, 0.5, 0.3, None), (None, np.nan, np.nan, np.nan, np.nan, "empty file")]
    table = pd.DataFrame(rows, columns=["label", "probability", "a", "b", "label_class", "error"])
    top = top_columns(table, names, 2)
    assert list(top) == ["label", "probability", "label_2", "probability_2", "error"]
    assert top.iloc[0].tolist()[:4] == ["b", 0.5, "label", 0.3]
    assert pd.isna(top.iloc[0]["error"])
    assert top.iloc[1]["error"] == "empty file"
    assert top.iloc[1].drop("error").isna().all()
    assert list(top_columns(table, names, 9)) == [*list(top)[:4], "label_3", "probability_3", "error"]
