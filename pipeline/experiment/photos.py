"""The photos of a command: opened with a word on what there is, and laid down in the open run.

Owns what is said of a data set on the console and in a run; making the store is `data/store.py`'s.
"""

from __future__ import annotations

import contextlib
from collections.abc import Sequence
from pathlib import Path

import numpy as np

from pipeline.experiment import review
from pipeline import tracking
from pipeline.config import DataConfig, IntakeConfig, UserError
from pipeline.data.store import report
from pipeline.data.store.store import Store, prepared_store
from pipeline.files.atomic import folder_when_whole


def open_store(config: DataConfig, thorough: bool = False) -> Store:
    """Return the prepared photos, made or found again, and say which; log the report on the files that there are.

    Raises:
        UserError: with ``strict``, if a photo is quarantined.
    """
    store = prepared_store(config, thorough=thorough)
    if store.damaged:
        print(f"the photos prepared before were damaged ({', '.join(store.damaged)}): made anew", flush=True)
    counts = store.class_counts()
    how = "found prepared" if store.reused else "prepared"
    splits = ", ".join(f"{total} {split}" for split, total in counts.sum().items())
    print(
        f"{how}: {int(counts.to_numpy().sum())} photos of {len(counts)} classes ({splits}) in {store.folder}",
        flush=True,
    )
    if found := review.duplicates_line(store):
        print(f"  {found}", flush=True)
    if isinstance(config, IntakeConfig):
        _log_report(store, config.strict)
    return store


def _log_report(store: Store, strict: bool) -> None:
    folder = store.folder.parents[1] / "reports" / store.digest[:12]
    counts = report.write_report(store, folder)
    tracking.log_folder(folder)
    for row in counts.itertuples():
        print(f"  {row.outcome}: {row.files} ({row.rule})", flush=True)
    print(f"  every file: {folder / report.TABLE}, with pictures: {folder / report.PAGE}", flush=True)
    if strict and len(store.quarantined):
        found = ", ".join(f"{row.files} {row.rule}" for row in counts.itertuples() if row.outcome == "quarantined")
        raise UserError(
            f"strict=true takes a data set only without photos that cannot be used, got {len(store.quarantined)} in "
            f"{store.source}: {found} (see {folder / report.PAGE}; mend or remove them, or set strict=false)"
        )


def log_store(store: Store, sample_splits: Sequence[str] = (), context: str = "training") -> None:
    """Log which data set the open run reads and, for ``sample_splits``, tables of it and pictures."""
    tracking.log_data(store.manifest, store.source, store.digest, context)
    if sample_splits:
        tracking.log_table(store.duplicates, "duplicates.csv")
        tracking.log_table(store.class_counts(), "class_counts.json")
        tracking.log_folder(_pictures(store, sample_splits))


def _pictures(store: Store, splits: Sequence[str]) -> Path:
    """Return the folder of pictures that show the photos of some splits: a cache, for drawing takes seconds."""
    folder = store.folder.parents[1] / "pictures" / "-".join([store.digest[:12], *splits])
    if not folder.is_dir():
        with contextlib.suppress(FileExistsError), folder_when_whole(folder) as draft:  # another process was faster
            _draw(store, splits, draft)
    return folder


def _draw(store: Store, splits: Sequence[str], folder: Path) -> None:
    from pipeline import plots

    pictures = {
        "class_counts.png": plots.draw_class_counts(store.class_counts(), "Photos per class and split"),
        "samples.png": plots.draw_samples(_samples(store, splits), "Photos as the network sees them"),
        "duplicates.png": review.duplicates_sheet(store, splits),
    }
    for name, figure in pictures.items():
        if figure is not None:
            tracking.save_figure(figure, folder / name)


def _samples(store: Store, splits: Sequence[str], count: int = 4) -> dict[tuple[str, str], np.ndarray]:
    return {
        (split, name): store.images(split)[np.flatnonzero(store.labels(split) == index)[:count]]
        for split in splits
        for index, name in enumerate(store.class_names)
    }
