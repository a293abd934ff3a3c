"""A reviewed CSV leaves photos out: by name, by content, and with a word on names that no photo has."""

from __future__ import annotations

from pathlib import Path

import pytest

from pipeline.config import DataConfig, UserError
from pipeline.data.store.store import Store, prepared_store


def _prepared(photos: Path, root: Path, exclude: Path | str = "") -> Store:
    return prepared_store(DataConfig(data=str(photos), image_size=32, exclude=str(exclude)), root)


def test_named_photos_are_left_out_and_unknown_names_are_called_out(photo_folder: Path, tmp_path: Path) -> None:
    reviewed = tmp_path / "reviewed.csv"
    reviewed.write_text("path,label\nblue/blue1.jpg,blue\nred/red3.png,red\nred/nobody.jpg,red\n")
    everything = _prepared(photo_folder, tmp_path)
    store = _prepared(photo_folder, tmp_path, reviewed)
    before, after = (set(some.manifest["path"]) for some in (everything, store))
    assert before - after == {"blue/blue1.jpg", "red/red3.png"}
    assert [(path.relative_to(photo_folder).as_posix(), label, reason) for path, label, reason in store.ignored] == [
        ("blue/blue1.jpg", "blue", "excluded (by reviewed.csv)"),
        ("red/red3.png", "red", "excluded (by reviewed.csv)"),
        ("red/nobody.jpg", "", "excluded, but not there (by reviewed.csv)"),
    ]
    assert store.quarantined.empty
    kept = everything.manifest.set_index("path").loc[sorted(after), "group"]
    assert kept.equals(store.manifest.set_index("path").loc[sorted(after), "group"])


def test_the_names_make_the_store_not_the_file(photo_folder: Path, tmp_path: Path) -> None:
    one, other = tmp_path / "one.csv", tmp_path / "other.csv"
    one.write_text("path\nblue/blue1.jpg\nred/red3.png\n")
    other.write_text("reviewer,path\nA,red/red3.png\nA,blue/blue1.jpg\n")
    store = _prepared(photo_folder, tmp_path, one)
    again = _prepared(photo_folder, tmp_path, other)
    assert again.reused
    assert again.digest == store.digest
    one.write_text("path\nblue/blue1.jpg\n")
    assert _prepared(photo_folder, tmp_path, one).digest != store.digest


@pytest.mark.parametrize(
    ("text", "said"), [("file\na.jpg\n", "with file"), ("", "no column names"), (None, "No such file")], ids=repr
)
def test_a_file_without_paths_is_the_users_mistake(
    text: str | None, said: str, photo_folder: Path, tmp_path: Path
) -> None:
    file = tmp_path / "reviewed.csv"
    if text is not None:
        file.write_text(text)
    with pytest.raises(UserError, match=f"exclude.*must .*a CSV.*, got .*{said}") as error:
        _prepared(photo_folder, tmp_path, file)
    assert len(str(error.value).splitlines()) == 1


@pytest.mark.parametrize(
    "spelled", ["blue\\blue1.jpg", "./blue/blue1.jpg", " blue/blue1.jpg ", "{full}/blue/blue1.jpg"]
)
def test_a_photo_may_be_spelled_as_people_do(spelled: str, photo_folder: Path, tmp_path: Path) -> None:
    reviewed = tmp_path / "reviewed.csv"
    reviewed.write_text(f"\ufeffPath;why\n{spelled.format(full=photo_folder)};blurred\n;\n")
    store = _prepared(photo_folder, tmp_path, reviewed)
    assert [ignored.path.name for ignored in store.ignored] == ["blue1.jpg"]
    assert store.remarks == ()


def test_what_is_listed_and_not_there_is_said(photo_folder: Path, tmp_path: Path) -> None:
    (tmp_path / "reviewed.csv").write_text("path\nnobody.jpg\nblue/blue1.jpg\n")
    (remark,) = _prepared(photo_folder, tmp_path, tmp_path / "reviewed.csv").remarks
    assert "lists 2 photos of which 1 do not exist, such as 'nobody.jpg'" in remark
