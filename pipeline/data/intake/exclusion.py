"""The photos that a reviewer wants left out: a CSV whose column ``path`` names them as the manifest does.

What the project writes for review, ``label_suspects.csv`` and ``duplicates.csv``, has that column: delete the rows of
the photos to keep, and give the rest to the flag ``exclude``. The store's digest follows from the photos that are left,
so the same names in another file make no other store.
"""

from __future__ import annotations

from pathlib import Path

from pipeline.config import UserError, first_line
from pipeline.data.intake.candidates import Found, Ignored, name_in
from pipeline.data.rules import by_rule


def without_excluded(found: Found, file: str, source: Path) -> Found:
    """Return what was found with the photos that ``file`` names among the ignored; empty text excludes none.

    Names that no photo has are among the ignored, too, so that the report says so.

    Raises:
        UserError: the file cannot be read, or has no column path.
    """
    if not file:
        return found
    wanted = _paths(Path(file))
    named = [(name_in(source, photo.path), photo) for photo in found.photos]
    left_out, unknown = (by_rule(rule, f"by {Path(file).name}") for rule in ("excluded", "excluded, but not there"))
    gone = [Ignored(photo.path, photo.label, left_out) for name, photo in named if name in wanted]
    missing = [Ignored(source / name, "", unknown) for name in sorted(wanted.difference(name for name, _ in named))]
    return Found([photo for name, photo in named if name not in wanted], [*found.ignored, *gone, *missing])


def _paths(file: Path) -> set[str]:
    import pandas as pd

    try:
        table = pd.read_csv(file, dtype=str, keep_default_na=False)
    except (OSError, ValueError) as error:
        raise UserError(f"exclude must name a CSV with a column path, got {file}: {first_line(error)}") from error
    if "path" not in table:
        raise UserError(
            f"exclude must name a CSV with a column path, got {file} with {', '.join(map(str, table.columns))}"
        )
    return set(table["path"])
