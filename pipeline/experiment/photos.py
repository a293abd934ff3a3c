"""The photos of a command: opened, described in a line, and logged in the open run; also those of a model.

Making the store is `data.store`'s, and what a person should review is `review`'s.
"""

from __future__ import annotations

import contextlib
from collections.abc import Mapping
from pathlib import Path
from types import MappingProxyType

import numpy as np
import pandas as pd

from pipeline import plots, tracking
from pipeline.config import DATA_FOLDER, DataConfig, IntakeConfig, PreprocessConfig, UserError, restore_config
from pipeline.data.rule_versions import RuleVersions
from pipeline.data.rules import rule_of
from pipeline.data.store import Store, TooFewPhotos, prepared_store, report, stages_of_photos
from pipeline.experiment import review
from pipeline.experiment.chosen import expected_size
from pipeline.files import atomic_folder
from pipeline.serving import About

NOWHERE_ELSE: Mapping[str, str | None] = MappingProxyType({})
MOST_CLASSES = 25  # that are printed
SHOWN_SPLITS = ("train", "validation")  # of which pictures are drawn: the test split is for the evaluation alone


def run_preprocessing(config: PreprocessConfig) -> Store:
    """Prepare the photos, or find them prepared; log samples, class counts, the data set, and what operations do."""
    tracking.connect()
    config = expected_size(config)
    with tracking.run("preprocess", f"preprocess {config.data_name}", config):
        store = open_store(config, thorough=True)
        log_store(store, with_pictures=True)
        if config.image_ops:
            sheet = plots.draw_stages(stages_of_photos(store, config), "What the image operations do to a photo")
            tracking.log_figure(sheet, "image_ops.png")
    return store


def open_store(config: DataConfig, thorough: bool = False, rules: RuleVersions | None = None) -> Store:
    """Return the prepared photos, made or found again; print which, and log the report on all files.

    Raises:
        UserError: with ``strict``, if a photo is quarantined.
    """
    try:
        store = prepared_store(config, thorough=thorough, rules=rules)
    except TooFewPhotos as error:
        if not isinstance(config, IntakeConfig):
            raise
        page = _log_report(report.report_on_refusal(error)) / report.PAGE
        raise UserError(f"{error}; every file and its reason: {page}") from error
    if store.damaged:
        print(f"the photos prepared before were damaged ({', '.join(store.damaged)}): prepared again", flush=True)
    for remark in store.remarks:
        print(remark, flush=True)
    counts = store.class_counts()
    how = "already prepared" if store.reused else "prepared"
    splits = ", ".join(f"{total} {split}" for split, total in counts.sum().items())
    print(
        f"{how}: {int(counts.to_numpy().sum())} photos of {len(counts)} classes ({splits}) in {store.folder}",
        flush=True,
    )
    if found := review.duplicates_line(store):
        print(f"  {found}", flush=True)
    for note in store.notes:
        print(f"  {note}", flush=True)
    if isinstance(config, IntakeConfig):
        _print_classes(counts)
        _refuse_if_strict(store, _log_report(report.report_on(store)), config.strict)
    return store


def _print_classes(counts: pd.DataFrame) -> None:
    """Print the classes with their photos per split, those with the fewest photos if there are many."""
    if len(counts) > MOST_CLASSES:
        fewest = counts.loc[counts.sum(axis=1).sort_values(kind="stable").index[:MOST_CLASSES]]
        print(f"  the {MOST_CLASSES} smallest of {len(counts)} classes ({', '.join(counts.columns)}):", flush=True)
    else:
        fewest = counts
        print(f"  classes ({', '.join(counts.columns)}):", flush=True)
    for label, *numbers in fewest.itertuples():
        name = label if str(label).isprintable() else repr(label)
        print(f"    {name}: {sum(numbers)} ({', '.join(map(str, numbers))})", flush=True)


def _log_report(found: report.Report) -> Path:
    """Write the report, log it, and print the number of files by rule; return its folder."""
    folder = DATA_FOLDER / "reports" / found.digest[:12]
    counts = report.write_report(found, folder)
    tracking.log_folder(folder)
    for row in counts.itertuples():
        print(f"  {row.outcome}: {row.files} ({row.rule})", flush=True)
    print(f"  every file: {folder / report.TABLE}, with pictures: {folder / report.PAGE}", flush=True)
    return folder


def _refuse_if_strict(store: Store, folder: Path, strict: bool) -> None:
    if strict and len(store.quarantined):
        rules = store.quarantined["reason"].map(rule_of).value_counts()
        found = ", ".join(f"{count} {rule}" for rule, count in rules.items())
        raise UserError(
            f"strict=true accepts only a data set without unusable photos, got {len(store.quarantined)} in "
            f"{store.source}: {found} (see {folder / report.PAGE}; repair or remove them, or set strict=false)"
        )


def data_config_of(about: About) -> DataConfig:
    """Return the data flags of a model."""
    return restore_config(DataConfig, about.config)


def open_model_photos(about: About, places: Mapping[str, str | None] = NOWHERE_ELSE, thorough: bool = False) -> Store:
    """Return the prepared photos that a model was trained from, prepared by the rules of its time.

    Args:
        about: what the model remembers.
        places: where the photos (``data``) and the reviewed table (``exclude``) are now; where they were, if not given.
        thorough: see `prepared_store`.

    Raises:
        UserError: they cannot be found, or have changed.
    """
    store = open_photos_of_today(about, places, thorough)
    check_same_photos(store, about)
    return store


def open_photos_of_today(about: About, places: Mapping[str, str | None], thorough: bool = False) -> Store:
    """Return the photos that are now where a model's were, or at other places, prepared by its flags and rules."""
    moved = {name: place for name, place in places.items() if place}
    return open_store(data_config_of(about).model_copy(update=moved), thorough, about.rule_versions)


def check_same_photos(store: Store, about: About) -> None:
    """Raise UserError unless a store holds exactly the photos that a model was trained from."""
    if store.digest != about.data_digest:
        raise UserError(
            f"the photos must be those that the model was trained on, got digest {store.digest[:12]} in "
            f"{store.source}, the model has {about.data_digest[:12]} "
            "(give their place with data=...; train again if they have changed)"
        )


def log_store(store: Store, with_pictures: bool = False, context: str = "training") -> None:
    """Log which data set the open run reads and, ``with_pictures``, what it looks like."""
    tracking.log_data(store.manifest, store.source, store.digest, context)
    if with_pictures:
        tracking.log_table(store.duplicates, "duplicates.csv")
        tracking.log_table(store.class_counts(), "class_counts.json")
        tracking.log_folder(_pictures(store))


def _pictures(store: Store) -> Path:
    """Return the folder of pictures that show the photos: a cache, for drawing takes seconds."""
    folder = store.folder.parents[1] / "pictures" / "-".join([store.digest[:12], *SHOWN_SPLITS])
    if not folder.is_dir():
        with contextlib.suppress(FileExistsError), atomic_folder(folder) as draft:  # another process was faster
            _draw(store, draft)
    return folder


def _draw(store: Store, folder: Path) -> None:
    pictures = {
        "class_counts.png": plots.draw_class_counts(store.class_counts(), "Photos per class and split"),
        "samples.png": plots.draw_samples(_samples(store), "Photos as the network sees them"),
        "duplicates.png": review.duplicates_sheet(store, SHOWN_SPLITS),
    }
    for name, figure in pictures.items():
        if figure is not None:
            tracking.save_figure(figure, folder / name)


def _samples(store: Store, count: int = 4) -> dict[tuple[str, str], np.ndarray]:
    return {
        (split, name): store.images(split)[np.flatnonzero(store.labels(split) == index)[:count]]
        for split in SHOWN_SPLITS
        for index, name in enumerate(store.class_names)
    }
