"""Tables that name photos: what they may hold, and how a mistake in them is told."""

from __future__ import annotations

from pathlib import Path

import pandas as pd
import pytest

from pipeline.config import UserError
from pipeline.data.intake.tables import read_table

ROWS = pd.DataFrame(
    {"path": ["a.jpg", "b.jpg", "/c.jpg"], "label": ["rose", "tulip", "7"], "split": ["train", "VAL", "test"]}
)


@pytest.mark.parametrize("suffix", [".csv", ".parquet"])
def test_columns_that_are_not_there_are_empty_and_splits_have_one_name(suffix: str, tmp_path: Path) -> None:
    file = tmp_path / f"photos{suffix}"
    ROWS.to_csv(file, index=False) if suffix == ".csv" else ROWS.to_parquet(file)
    table = read_table(file)
    assert table["path"].tolist() == ROWS["path"].tolist()
    assert table["label"].tolist() == ["rose", "tulip", "7"]
    assert table["split"].tolist() == ["train", "validation", "test"]
    assert table["group"].tolist() == ["", "", ""]


@pytest.mark.parametrize(
    ("text", "parts"),
    [
        ("", ["CSV or Parquet"]),
        ("file,label\na.jpg,rose\n", ["columns path and label", "got file, label", "add path"]),
        ("path,label\na.jpg,rose\nb.jpg,\n", ["a path and a label", "path='b.jpg'", "row 3"]),
        ("path,label\na.jpg,rose\na.jpg,tulip\n", ["named once", "label='tulip'", "row 3"]),
        ("path,label,split\na.jpg,rose,dev\n", ["train, validation or test", "split='dev'", "row 2"]),
        ("path,label,split\na.jpg,rose,train\nb.jpg,rose,\n", ["every row or none", "row 3", "1 such"]),
    ],
)
def test_a_mistake_is_told_with_its_row(text: str, parts: list[str], tmp_path: Path) -> None:
    file = tmp_path / "photos.csv"
    file.write_text(text)
    with pytest.raises(UserError) as error:
        read_table(file)
    assert "\n" not in str(error.value)
    assert all(part in str(error.value) for part in [*parts, "photos.csv"]), error.value
