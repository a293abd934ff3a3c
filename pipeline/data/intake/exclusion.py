"""Excludes the photos that a reviewer lists: a CSV whose column ``path`` names them as the manifest does.

The project's review files, ``label_suspects.csv`` and ``duplicates.csv``, have that column: delete the rows of the
photos to keep, and pass the rest to the flag ``exclude``. The store's digest depends only on the remaining photos, so
the same names in another file give the same store.
"""

from __future__ import annotations

from pathlib import Path

from pipeline.config import UserError
from pipeline.data.intake.candidates import Ignored, ScanResult, photo_name
from pipeline.data.intake.tables import read_csv, with_plain_names
from pipeline.data.rules import rule_text


def exclude_photos(scan: ScanResult, file: str, source: Path) -> ScanResult:
    """Return ``scan`` with the photos listed in ``file`` moved to the ignored; an empty ``file`` excludes none.

    Listed names that match no photo become ignored entries, too, so that the report shows them.

    Raises:
        UserError: the file cannot be read, or has no column path.
    """
    if not file:
        return scan
    excluded = _listed_paths(Path(file))
    named = [(photo_name(source, photo.path), photo) for photo in scan.photos]
    excluded_text, unknown_text = (
        rule_text(rule, f"by {Path(file).name}") for rule in ("excluded", "excluded, but not there")
    )
    excluded_photos = [Ignored(photo.path, photo.label, excluded_text) for name, photo in named if name in excluded]
    unknown_names = [
        Ignored(source / name, "", unknown_text) for name in sorted(excluded.difference(name for name, _ in named))
    ]
    return scan._replace(
        photos=[photo for name, photo in named if name not in excluded],
        ignored=[*scan.ignored, *excluded_photos, *unknown_names],
    )


def _listed_paths(file: Path) -> set[str]:
    table = with_plain_names(found := read_csv(file, "exclude"))
    if "path" not in table:
        raise UserError(
            f"exclude must name a CSV with a column path, got {file} with {', '.join(map(str, found.columns))}"
        )
    return set(table["path"])
