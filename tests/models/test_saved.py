"""Digests of a model's files: any change is found and named."""

from __future__ import annotations

import subprocess
from pathlib import Path

import pytest

from pipeline.config import DamagedModel
from pipeline.files import SUMS_FILE
from pipeline.models.saved import check_digests, check_model_sums, model_digests, write_model_sums


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    folder = tmp_path / "model"
    (folder / "inner").mkdir(parents=True)
    (folder / "model.keras").write_bytes(bytes(range(256)))
    (folder / "inner" / "two  words.txt").write_text("text")
    write_model_sums(folder)
    return folder


def _flip_a_bit(file: Path) -> None:
    data = bytearray(file.read_bytes())
    data[len(data) // 2] ^= 1
    file.write_bytes(data)


def test_files_as_they_were_pass_also_sha256sum(folder: Path) -> None:
    check_model_sums(folder)
    subprocess.run(["sha256sum", "--check", "--quiet", SUMS_FILE], cwd=folder, check=True)


@pytest.mark.parametrize("name", ["model.keras", "inner/two  words.txt", SUMS_FILE])
def test_one_flipped_bit_anywhere_is_found(folder: Path, name: str) -> None:
    _flip_a_bit(folder / name)
    with pytest.raises(DamagedModel, match="SHA-256"):
        check_model_sums(folder)


def test_missing_and_further_files_are_named(folder: Path) -> None:
    recorded = model_digests(folder)
    (folder / "further.py").write_text("")
    with pytest.raises(DamagedModel, match=r"further\.py"):
        check_digests(folder, recorded)
    (folder / "further.py").unlink()
    (folder / "model.keras").unlink()
    with pytest.raises(DamagedModel, match=r"model\.keras in"):
        check_digests(folder, recorded)


def test_what_python_and_mlflow_leave_is_no_part_of_the_model(folder: Path) -> None:
    recorded = model_digests(folder)
    (folder / "__pycache__").mkdir()
    (folder / "__pycache__" / "code.pyc").write_bytes(b"")
    (folder / "registered_model_meta").write_text("")
    check_digests(folder, recorded)


def test_a_folder_of_before_has_no_list(tmp_path: Path) -> None:
    check_model_sums(tmp_path)
