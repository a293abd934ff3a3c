"""The candidates of a scan, in columns: a hundred bytes a photo, where an object and a path of each take a kilobyte.

Owns what is known of a candidate and how it is named. Does not own how candidates are found (`candidates.py`).
"""

from __future__ import annotations

import os
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from functools import cache
from itertools import islice
from pathlib import Path
from typing import TYPE_CHECKING, Any, NamedTuple, overload

import numpy as np

if TYPE_CHECKING:
    import pyarrow as pa

BATCH = 4096  # photos of which objects are made at a time
DIGEST_BYTES = 32


class Candidate(NamedTuple):
    """A file that may be a photo.

    Attributes:
        path: the file.
        label: its class.
        sha256: digest of its bytes (see `digest_cache.py`); empty if they cannot be read.
        problem: why its bytes cannot be read; empty if they can.
        split: the split given by the table; empty if none.
        group: photos of one group share a split; empty if the table gives none.
        note: a remark about its path for the report; empty if none.
    """

    path: Path
    label: str
    sha256: str = ""
    problem: str = ""
    split: str = ""
    group: str = ""
    note: str = ""


class Row(NamedTuple):
    """A candidate as a row of `Photos`: its path in two parts, so that each folder is kept once."""

    folder: str
    name: str
    label: str
    sha256: str = ""
    problem: str = ""
    split: str = ""
    group: str = ""
    note: str = ""


class Photos(Sequence[Candidate]):
    """Candidates in Arrow columns: a `Candidate` is made where one is asked for, and a slice copies nothing."""

    def __init__(self, table: pa.Table) -> None:
        self._table = table

    @classmethod
    def of(cls, candidates: Iterable[Candidate]) -> Photos:
        """Return these candidates in columns."""
        if isinstance(candidates, cls):
            return candidates
        return cls.of_rows(Row(*os.path.split(path), *about) for path, *about in candidates)

    @classmethod
    def of_rows(cls, rows: Iterable[Row]) -> Photos:
        """Return the photos of these rows."""
        import pyarrow as pa  # imported here: decoding processes import this package and need no columns

        left = iter(rows)
        batches = [_record_batch(part) for part in iter(lambda: list(islice(left, BATCH)), [])]
        return cls(pa.Table.from_batches(batches, _schema()))

    @classmethod
    def joined(cls, parts: Iterable[Photos]) -> Photos:
        """Return the photos of all parts, in their order."""
        import pyarrow as pa

        return cls(pa.concat_tables([_schema().empty_table(), *(part._table for part in parts)]))

    def __len__(self) -> int:
        return int(self._table.num_rows)

    @overload
    def __getitem__(self, index: int) -> Candidate: ...
    @overload
    def __getitem__(self, index: slice) -> Photos: ...
    def __getitem__(self, index: int | slice) -> Candidate | Photos:
        if isinstance(index, int):
            place = range(len(self))[index]
            return next(iter(self[place : place + 1]))
        places = range(len(self))[index]
        if places.step != 1:
            raise ValueError(f"photos can be sliced by steps of 1, got {places.step}")
        return Photos(self._table.slice(places.start, len(places)))

    def __iter__(self) -> Iterator[Candidate]:
        for part in self.batches():
            paths = map(Path, map(os.fsdecode, part._paths(lambda folder: folder)))
            yield from map(Candidate, paths, *(part.column(name) for name in Candidate._fields[1:]))

    def batches(self, size: int = BATCH) -> Iterator[Photos]:
        """Yield the photos a few at a time."""
        for first in range(0, len(self), size):
            yield self[first : first + size]

    def column(self, name: str) -> list[str]:
        """Return an attribute of `Candidate`, other than the path, of each photo: of few at a time, as it is large."""
        values = self._values(name)
        return [value.hex() if value else "" for value in values] if name == "sha256" else values

    def distinct(self, *names: str) -> set[tuple[str, ...]]:
        """Return the combinations of values that some columns have: label, split."""
        found = self._table.select(names).unify_dictionaries().group_by(list(names)).aggregate([]).to_pydict()
        return set(zip(*(found[name] for name in names), strict=True))

    def absolute_paths(self) -> list[bytes]:
        """Return the absolute path of each photo."""
        return self._paths(lambda folder: os.fsencode(Path(os.fsdecode(folder)).absolute()))

    def names(self, source: Path) -> list[str]:
        """Return the `photo_name` of each photo."""
        inside = os.fsencode(f"{source}{os.sep}")
        paths = self._paths(lambda folder: folder)
        return [printable(path.removeprefix(inside)).replace(os.sep, "/") for path in paths]

    def kept(self, is_kept: np.ndarray) -> Photos:
        """Return the photos for which ``is_kept``, bool (n,), is true."""
        return Photos(self._table.filter(is_kept))

    def with_digests(self, digests: np.ndarray, problems: Mapping[int, str]) -> Photos:
        """Return the photos with the digests of their bytes.

        Args:
            digests: uint8 (n, 32).
            problems: why a photo cannot be read, by its place.
        """
        import pyarrow as pa

        is_read = np.ones(len(self), bool)
        is_read[list(problems)] = False
        validity = pa.array(is_read).buffers()[1]  # a bit each, as Arrow keeps which values are there
        columns = {
            "sha256": pa.Array.from_buffers(pa.binary(DIGEST_BYTES), len(self), [validity, pa.py_buffer(digests)]),
            "problem": _array([problems.get(place, "") for place in range(len(self))], _schema().field("problem").type),
        }
        table = self._table
        for name, values in columns.items():
            table = table.set_column(table.column_names.index(name), name, values)
        return Photos(table)

    def _paths(self, prepared: Callable[[bytes], bytes]) -> list[bytes]:
        """Return each path, after its folder has been ``prepared``."""
        prefix = cache(lambda folder: os.path.join(prepared(folder), b""))  # noqa: PTH118  of bytes
        return [prefix(folder) + name for folder, name in zip(*map(self._values, ("folder", "name")), strict=True)]

    def _values(self, name: str) -> list[Any]:
        return self._table.column(name).to_numpy().tolist()


def printable(path: str | bytes | Path) -> str:
    """Return a path as printable, storable text, even if the file name is not UTF-8."""
    return os.fsencode(path).decode("utf-8", "backslashreplace")


def photo_name(source: Path, path: Path) -> str:
    """Return a photo's name: its path relative to the source, or its full path if it lies elsewhere."""
    full, inside = str(path), f"{source}{os.sep}"  # pathlib's relative_to takes ten times as long
    return printable(full.removeprefix(inside)).replace(os.sep, "/")


@cache
def _schema() -> pa.Schema:
    import pyarrow as pa

    few_texts, few_paths = (pa.dictionary(pa.int32(), values) for values in (pa.string(), pa.binary()))
    return pa.schema(
        {
            "folder": few_paths,
            "name": pa.binary(),
            "label": few_texts,
            "sha256": pa.binary(DIGEST_BYTES),
            "problem": few_texts,
            "split": few_texts,
            "group": pa.string(),
            "note": few_texts,
        }
    )


def _record_batch(rows: Sequence[Row]) -> pa.RecordBatch:
    import pyarrow as pa

    columns: dict[str, list[Any]] = dict(zip(Row._fields, map(list, zip(*rows, strict=True)), strict=True))
    for name in ("folder", "name"):
        columns[name] = list(map(os.fsencode, columns[name]))
    columns["sha256"] = [bytes.fromhex(digest) or None for digest in columns["sha256"]]
    return pa.record_batch([_array(columns[field.name], field.type) for field in _schema()], _schema())


def _array(values: list[Any], kind: pa.DataType) -> pa.Array:
    """Return a column of values, a dictionary-encoded one where the kind says so."""
    import pyarrow as pa

    if pa.types.is_dictionary(kind):
        return pa.array(values, kind.value_type).dictionary_encode()
    return pa.array(values, kind)
