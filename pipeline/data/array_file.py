"""A .npy file that grows row by row, so that a store larger than memory can be written.

NumPy's format pads its header for exactly this: the row count may be rewritten in place.
"""

from __future__ import annotations

from pathlib import Path
from typing import Self

import numpy as np


class ArrayFile:
    """Append uint8 rows of one ``shape``; the file is valid once `close` has returned."""

    def __init__(self, path: Path, shape: tuple[int, ...]) -> None:
        self.count = 0
        self._shape = shape
        self._file = path.open("wb")
        self._write_header()
        self._header_bytes = self._file.tell()

    def append(self, row: np.ndarray) -> None:
        """Append one row: uint8 of the file's shape."""
        assert row.shape == self._shape
        assert row.dtype == np.uint8
        self._file.write(row.tobytes())
        self.count += 1

    def close(self) -> None:
        """Write the final row count and close the file; the end of a ``with`` does so, too, unless an error ends it."""
        with self._file:
            self._file.seek(0)
            self._write_header()
            assert self._file.tell() == self._header_bytes

    def __enter__(self) -> Self:
        return self

    def __exit__(self, error: type[BaseException] | None, *_: object) -> None:
        self._file.close() if error else self.close()

    def _write_header(self) -> None:
        header = {"descr": "|u1", "fortran_order": False, "shape": (self.count, *self._shape)}
        np.lib.format.write_array_header_1_0(self._file, header)
