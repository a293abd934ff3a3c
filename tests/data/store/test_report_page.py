"""The page of the data report: what it says of the classes."""

from __future__ import annotations

import shutil
from pathlib import Path

from pipeline.config import DataConfig
from pipeline.data.store import prepared_store, report
from pipeline.data.store.report_page import report_page


def _page(photos: Path, root: Path) -> str:
    found = report.report_on(prepared_store(DataConfig(data=str(photos), image_size=32), root))
    return report_page(found, report.count_rules(found.files), report.TABLE)


def test_rare_classes_are_named_where_there_are_such(photo_folder: Path, tmp_path: Path) -> None:
    assert "The largest class" not in _page(photo_folder, tmp_path)
    rare = shutil.copytree(photo_folder, tmp_path / "rare")
    for photo in sorted((rare / "red").iterdir())[4:]:
        photo.unlink()
    counts = prepared_store(DataConfig(data=str(rare), image_size=32), tmp_path).class_counts()["train"]
    assert counts.max() >= 3 * counts["red"]
    page = _page(rare, tmp_path)
    assert f"of the smallest, red ({counts.max()} and {counts['red']})." in page
    assert "<code>class_weights</code>" in page
