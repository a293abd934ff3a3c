"""Excludes the photos that a reviewer lists: a CSV whose column ``path`` names them as the manifest does.

The project's review files, ``label_suspects.csv`` and ``duplicates.csv``, have that column: delete the rows of the
photos to keep, and pass the rest to the flag ``exclude``. The store's digest depends only on the remaining photos, so
the same names in another file give the same store.
"""

from __future__ import annotations

import posixpath
from collections.abc import Container
from pathlib import Path

import numpy as np

from pipeline.config import UserError
from pipeline.data.intake.candidates import Ignored, ScanResult
from pipeline.data.intake.photos import photo_name
from pipeline.data.intake.tables import read_csv, with_plain_names
from pipeline.data.rules import rule_text


def exclude_photos(scan: ScanResult, file: str, source: Path) -> ScanResult:
    """Return ``scan`` with the photos listed in ``file`` moved to the ignored; an empty ``file`` excludes none.

    A photo may be listed by its name, with slashes or backslashes, by its full path, or by its path from the working
    folder. What matches no photo becomes an ignored entry, too, so that the report shows it, and a remark.

    Raises:
        UserError: the file cannot be read, or has no column path.
    """
    if not file:
        return scan
    listed = _listed_paths(Path(file).expanduser())
    names = scan.photos.names(source)
    known = set(names)
    found = {path: _named_photo(path, known, source) for path in sorted(listed)}
    excluded = set(found.values())
    is_excluded = np.array([name in excluded for name in names], bool)
    excluded_text, unknown_text = (
        rule_text(rule, f"by {Path(file).name}") for rule in ("excluded", "excluded, but not there")
    )
    unknown = [path for path, name in found.items() if name not in known]
    remark = f"warning: exclude={file} lists {len(listed)} photos of which {len(unknown)} do not exist"
    return scan._replace(
        photos=scan.photos.kept(~is_excluded),
        ignored=[
            *scan.ignored,
            *(Ignored(photo.path, photo.label, excluded_text) for photo in scan.photos.kept(is_excluded)),
            *(Ignored(source / path, "", unknown_text) for path in unknown),
        ],
        remarks=(*scan.remarks, *([f"{remark}, such as {unknown[0]!r}"] if unknown else [])),
    )


def _named_photo(path: str, names: Container[str], source: Path) -> str:
    """Return the name of the photo that a listed path means, or the path if there is none."""
    slashed = path.strip().replace("\\", "/")
    full = Path(slashed).expanduser().absolute()
    spellings = (path, path.strip(), posixpath.normpath(slashed), photo_name(source.absolute(), full))
    return next((name for name in spellings if name in names), path)


def _listed_paths(file: Path) -> set[str]:
    table = with_plain_names(found := read_csv(file, "exclude"))
    if "path" not in table:
        raise UserError(
            f"exclude must name a CSV with a column path, got {file} with {', '.join(map(str, found.columns))}"
        )
    return {path for path in table["path"] if path.strip()}
