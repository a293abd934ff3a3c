"""The .npy file written row by row: NumPy reads what was appended, and its sum is that of the file."""

from __future__ import annotations

import hashlib
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from pipeline.data.store.array_file import ArrayFile


def _rows(count: int, shape: tuple[int, ...]) -> np.ndarray:
    return np.random.default_rng(0).integers(0, 256, (count, *shape), dtype=np.uint8)


@given(count=st.integers(0, 12), shape=st.lists(st.integers(1, 5), min_size=1, max_size=3).map(tuple))
@settings(max_examples=50, deadline=None)
def test_numpy_reads_the_rows_in_the_order_of_appending(
    count: int, shape: tuple[int, ...], tmp_path_factory: pytest.TempPathFactory
) -> None:
    path = tmp_path_factory.mktemp("array") / "rows.npy"
    file = ArrayFile(path, count, shape)
    for row in _rows(count, shape):
        file.append(row)
    assert file.close() == hashlib.sha256(path.read_bytes()).hexdigest()
    read = np.load(path)
    assert read.dtype == np.uint8
    np.testing.assert_array_equal(read, _rows(count, shape))


def test_a_memory_map_of_it_reads_single_rows(tmp_path: Path) -> None:
    file = ArrayFile(tmp_path / "rows.npy", 20, (8, 8, 3))
    for row in _rows(20, (8, 8, 3)):
        file.append(row)
    file.close()
    mapped = np.load(tmp_path / "rows.npy", mmap_mode="r")
    assert isinstance(mapped, np.memmap)
    np.testing.assert_array_equal(mapped[13], _rows(20, (8, 8, 3))[13])
    with pytest.raises(ValueError, match="read-only"):
        mapped[0] = 0


def test_a_view_with_gaps_is_stored_like_its_copy(tmp_path: Path) -> None:
    wide = _rows(4, (6,))[:, ::2].T
    file = ArrayFile(tmp_path / "rows.npy", 1, (3, 4))
    file.append(wide)
    file.close()
    np.testing.assert_array_equal(np.load(tmp_path / "rows.npy")[0], wide)


def test_the_header_holds_a_billion_rows(tmp_path: Path) -> None:
    with ArrayFile(tmp_path / "rows.npy", 1_000_000_000, (2,)) as file:
        file.append(np.zeros(2, np.uint8))
    with (tmp_path / "rows.npy").open("rb") as written:
        assert np.lib.format.read_magic(written) == (1, 0)
        shape, _, dtype = np.lib.format.read_array_header_1_0(written)
        assert (shape, dtype) == ((1_000_000_000, 2), np.uint8)
        assert written.read() == b"\0\0"


def test_a_file_that_lacks_rows_is_our_own_mistake(tmp_path: Path) -> None:
    file = ArrayFile(tmp_path / "rows.npy", 2, (3, 2))
    file.append(np.zeros((3, 2), np.uint8))
    with pytest.raises(AssertionError):
        file.close()


@pytest.mark.parametrize("row", [np.zeros((2, 3), np.uint8), np.zeros((3, 2), np.float32)], ids=["shape", "dtype"])
def test_another_shape_or_type_is_our_own_mistake(row: np.ndarray, tmp_path: Path) -> None:
    with ArrayFile(tmp_path / "rows.npy", 0, (3, 2)) as file:
        with pytest.raises(AssertionError):
            file.append(row)
        file.close()
    assert np.load(tmp_path / "rows.npy").shape == (0, 3, 2)
