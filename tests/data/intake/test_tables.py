"""Tables that name photos: what they may hold, however they were written, and how a mistake in them is told."""

from __future__ import annotations

from pathlib import Path

import pandas as pd
import pytest

from pipeline.config import UserError
from pipeline.data.intake.tables import read_table

ROWS = pd.DataFrame({"path": ["a.jpg", "b.jpg"], "label": ["rose", "tulip"], "split": ["train", "VAL"]})
WORDS_FOR_NOTHING = ["None", "NA", "null", "nan", "n/a", "NaN", "NULL", "N/A", "<NA>", ""]


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    """A folder in which the photos of the tables are."""
    (tmp_path / "roses").mkdir()
    for name in ("a.jpg", "b.jpg", "roses/1.jpg", "roses/2.jpg", "ä.jpg", " blank.jpg"):
        (tmp_path / name).write_text(name)
    return tmp_path


def _read(file: Path, content: str | bytes) -> pd.DataFrame:
    file.write_bytes(content if isinstance(content, bytes) else content.encode())
    return read_table(file)


@pytest.mark.parametrize("suffix", [".csv", ".parquet", ".tsv"])
def test_columns_that_are_not_there_are_empty_and_splits_have_one_name(suffix: str, folder: Path) -> None:
    file = folder / f"photos{suffix}"
    separator = "\t" if suffix == ".tsv" else ","
    ROWS.to_parquet(file) if suffix == ".parquet" else ROWS.to_csv(file, index=False, sep=separator)
    table = read_table(file)
    assert table["path"].tolist() == ROWS["path"].tolist()
    assert table["label"].tolist() == ["rose", "tulip"]
    assert table["split"].tolist() == ["train", "validation"]
    assert table["group"].tolist() == ["", ""]


@pytest.mark.parametrize("column", ["label", "group"])
@pytest.mark.parametrize("suffix", [".csv", ".parquet"])
def test_a_word_for_nothing_is_a_word(column: str, suffix: str, folder: Path) -> None:
    words = [word for word in WORDS_FOR_NOTHING if word or column == "group"]
    names = [f"{index}.jpg" for index in range(len(words))]
    (folder / names[0]).write_text("x")
    rows = pd.DataFrame({"path": names, "label": "x", "group": "g"}).assign(**{column: words})
    file = folder / f"photos{suffix}"
    rows.to_csv(file, index=False) if suffix == ".csv" else rows.to_parquet(file)
    assert read_table(file)[column].tolist() == words


def test_a_group_called_na_was_none_before(folder: Path) -> None:
    (folder / "photos.csv").write_text("path,label,group\na.jpg,rose,NA\nb.jpg, rose,g\n")
    assert read_table(folder / "photos.csv")[["label", "group"]].to_numpy().tolist() == [["rose", "NA"], ["rose", "g"]]
    before = read_table(folder / "photos.csv", version=1)
    assert before[["label", "group"]].to_numpy().tolist() == [["rose", ""], [" rose", "g"]]


@pytest.mark.parametrize(
    "content",
    [
        b"path,label\na.jpg,rose\nb.jpg,tulip\n",
        b"path;label\na.jpg;rose\nb.jpg;tulip\n",
        b"path\tlabel\na.jpg\trose\nb.jpg\ttulip\n",
        b"path|label\na.jpg|rose\nb.jpg|tulip\n",
        b"sep=;\r\npath;label\r\na.jpg;rose\r\nb.jpg;tulip\r\n",
        b"\xef\xbb\xbfpath,label\r\na.jpg,rose\r\nb.jpg,tulip\r\n",
        "path\tlabel\r\na.jpg\trose\r\nb.jpg\ttulip\r\n".encode("utf-16"),
        "path,label\na.jpg,rose\nb.jpg,tulip\n".encode("utf-16-le"),
        "path,label\na.jpg,rose\nb.jpg,tulip\n".encode("utf-16-be"),
        "path,label\na.jpg,rose\nb.jpg,tulip\n".encode("utf-32"),
        b"Path , LABEL\n a.jpg, rose \nb.jpg ,tulip\n",
        b'"path","label"\n"a.jpg","rose"\n"b.jpg","tulip"\n',
        b"id,path,label,\n1,a.jpg,rose,\n2,b.jpg,tulip,\n",
        b"path,label\n./a.jpg,rose\n./b.jpg,tulip",
        b"path;label\na.jpg;rose;\n\nb.jpg;tulip;\n;\n",
    ],
)
def test_a_csv_is_read_as_programs_write_it(content: bytes, folder: Path) -> None:
    table = _read(folder / "photos.csv", content)
    assert [Path(path).name for path in table["path"]] == ["a.jpg", "b.jpg"]
    assert table["label"].tolist() == ["rose", "tulip"]


@pytest.mark.parametrize(
    ("written", "read"),
    [
        ("valid", "validation"), ("val", "validation"), ("dev", "validation"), (" Validation ", "validation"),
        ("Training", "train"), ("TEST", "test"), ("testing", "test"),
    ],
)  # fmt: skip
def test_splits_have_many_names(written: str, read: str, folder: Path) -> None:
    table = _read(folder / "photos.csv", f"path,label,split\na.jpg,rose,{written}\nb.jpg,rose,train\n")
    assert table["split"].tolist() == [read, "train"]


def test_labels_of_parquet_become_text(folder: Path) -> None:
    file = folder / "photos.parquet"

    def read(labels: object) -> list[str]:
        pd.DataFrame({"path": ["a.jpg", "b.jpg"], "label": labels}).to_parquet(file)
        return list(read_table(file)["label"])

    assert read([7.0, 3.0]) == ["7", "3"]
    assert read([7, 3]) == ["7", "3"]
    assert read(pd.array([7, 3], "Int64")) == ["7", "3"]
    assert read(pd.Categorical(["x", "y"])) == ["x", "y"]
    assert read([True, False]) == ["True", "False"]
    assert read([0.5, 1.5]) == ["0.5", "1.5"]
    pd.DataFrame({"path": [b"\xff" * 9000], "label": ["x"]}).to_parquet(file)
    with pytest.raises(UserError, match="must name a file") as error:
        read_table(file)
    assert len(str(error.value)) < 600
    with pytest.raises(UserError, match=r"a path and a label, got path='b.jpg' in row 3"):
        read([7.0, None])
    with pytest.raises(UserError, match=r"must be one text or number, got .*label=\"\['x' 'y'\]\" in row 2"):
        read([["x", "y"], ["x"]])


def test_paths_may_be_the_index_of_parquet(folder: Path) -> None:
    file = folder / "photos.parquet"
    pd.DataFrame({"path": ["a.jpg", "b.jpg"], "label": ["x", "y"]}).set_index("path").to_parquet(file)
    assert read_table(file)[["path", "label"]].values.tolist() == [["a.jpg", "x"], ["b.jpg", "y"]]


def test_paths_are_found_as_they_are_meant(folder: Path) -> None:
    url = (folder / "ä.jpg").absolute().as_uri()
    assert _read(folder / "urls.csv", f"path,label\n{url},x\n")["path"].tolist() == [str(folder / "ä.jpg")]
    content = "path,label\nroses\\1.jpg,x\n roses/2.jpg ,x\n blank.jpg,x\nä.jpg,y\nmissing\\1.jpg,y\n"
    table = _read(folder / "photos.csv", content)
    assert table["path"].tolist() == ["roses/1.jpg", "roses/2.jpg", " blank.jpg", "ä.jpg", "missing\\1.jpg"]


@pytest.mark.parametrize(
    ("text", "parts"),
    [
        ("", ["must be a CSV", "no column names"]),
        ("file,label\na.jpg,rose\n", ["columns path and label", "got file, label", "name a column path"]),
        ("path,label\na.jpg,rose, red\n", ["no more values than the first", "further=' red'", "row 2", 'quote "a, b"']),
        ("path,label\nÄ.JPG,x\n", ["'Ä.JPG'", "there is", "ä.jpg: write names as the files have them"]),
        ("path,label\nä,x\n", ["'ä'", "there is", "ä.jpg: write names as the files have them"]),
        ("path,Label,label\na.jpg,rose,x\n", ["columns path and label", "keep one column label"]),
        ("path,label\na.jpg,rose\nb.jpg,\n", ["a path and a label", "path='b.jpg'", "row 3"]),
        ("path,label\n", ["no row below the header"]),
        ("path,label,split\na.jpg,rose,val\n", ["must have training photos"]),
        ("path,label\n\n\na.jpg,rose\n\nb.jpg,\n", ["a path and a label", "row 6"]),
        ("path,label\na.jpg,rose\n ,tulip\n", ["a path and a label", "label='tulip'", "row 3"]),
        ("path,label\na.jpg,rose\n./a.jpg,tulip\n", ["listed once", "label='tulip'", "row 3"]),
        ("path,label,split\na.jpg,rose,holdout\n", ["train, validation or test", "split='holdout'", "row 2"]),
        ("path,label,split\na.jpg,rose,train\nb.jpg,rose,\n", ["every row or none", "row 3", "1 such"]),
        ("path,label\na.jpg,rose\nhttps://e.org/1.jpg,rose\n", ["must name a file", "row 3", "download the photos"]),
        (
            "path,label\nc/1.jpg,rose\nc/2.jpg,tulip\n",
            ["2 rows whose files do not exist", "'c/1.jpg'", "table's folder"],
        ),
    ],
)
def test_a_mistake_is_told_with_its_row(text: str, parts: list[str], folder: Path) -> None:
    with pytest.raises(UserError) as error:
        _read(folder / "photos.csv", text)
    assert "\n" not in str(error.value)
    assert all(part in str(error.value) for part in [*parts, "photos.csv"]), error.value


def test_another_encoding_is_not_guessed(folder: Path) -> None:
    with pytest.raises(UserError, match=r"must be a CSV in UTF-8, got .* \(save it again as 'CSV UTF-8'\)"):
        _read(folder / "photos.csv", "path,label\na.jpg,Gänseblümchen\n".encode("cp1252"))
