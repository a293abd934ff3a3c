"""A .npy file written row by row, for stores larger than memory; a second thread computes its SHA-256 meanwhile."""

from __future__ import annotations

import hashlib
import io
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Self

import numpy as np


class ArrayFile:
    """Writes ``rows`` uint8 rows of one ``shape``; the file is valid once all are appended and `close` has returned."""

    def __init__(self, path: Path, rows: int, shape: tuple[int, ...]) -> None:
        self._rows_left = rows
        self._shape = shape
        self._digest = hashlib.sha256()
        self._hasher = ThreadPoolExecutor(max_workers=1)  # in order, parallel to writing: neither holds the GIL
        self._file = path.open("wb")
        header = io.BytesIO()
        np.lib.format.write_array_header_1_0(header, {"descr": "|u1", "fortran_order": False, "shape": (rows, *shape)})
        self._write(header.getbuffer())

    def append(self, row: np.ndarray) -> None:
        """Append one row: uint8 of the file's row shape; do not modify it before `close`."""
        assert row.shape == self._shape
        assert row.dtype == np.uint8
        self._write(np.ascontiguousarray(row).data)
        self._rows_left -= 1

    def close(self) -> str:
        """Close the file and return its SHA-256, hexadecimal."""
        self._file.close()
        self._hasher.shutdown()
        assert self._rows_left == 0
        return self._digest.hexdigest()

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self._file.close()
        self._hasher.shutdown(cancel_futures=True)

    def _write(self, content: memoryview) -> None:
        self._hasher.submit(self._digest.update, content)
        self._file.write(content)
