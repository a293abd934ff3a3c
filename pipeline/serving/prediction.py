"""The command ``predict``: files, folders or globs of photos -> a CSV of labels and probabilities, a row per photo."""

from __future__ import annotations

import glob
import os
from collections.abc import Sequence
from pathlib import Path

import numpy as np
import pandas as pd
from tqdm import tqdm

from pipeline import tracking
from pipeline.config import PredictConfig, UserError
from pipeline.data.intake import candidate_files, printable
from pipeline.files import count_formulas, write_csv
from pipeline.serving.classifier import NONE_OF_THESE, Classifier, keep_top
from pipeline.tracking import registry


def run_prediction(config: PredictConfig) -> None:
    """Classify the photos and write the table; a photo that cannot be used gets a row with the reason."""
    paths = photo_paths(config.photos)
    tracking.connect()
    model = registry.fetch_model(config.model_uri)
    classifier = Classifier(model.folder)
    try:
        classifier.least_probability(config.keep)
    except ValueError as error:
        raise UserError(f"{error} in {model.name}") from None
    output = Path(config.output)
    output.parent.mkdir(parents=True, exist_ok=True)
    unusable = none_of_these = formulas = 0
    with tqdm(total=len(paths), unit="photo", disable=None) as bar:
        for start in range(0, len(paths), config.predict_batch_size):
            chunk = paths[start : start + config.predict_batch_size]
            table = classifier.predict(chunk, config.keep)
            if config.top_k:
                table = top_columns(table, classifier.about.class_names, config.top_k)
            table.insert(0, "path", pd.Series([printable(path) for path in chunk]))
            table["model_uri" if "model" in table else "model"] = model.uri  # a class may be called model
            write_csv(table, output, append=start > 0)
            formulas += count_formulas(table)
            unusable += int(table["error"].notna().sum())
            none_of_these += int((table["label"] == NONE_OF_THESE).sum())
            bar.update(len(chunk))
    doubted = f"{none_of_these} of them {NONE_OF_THESE}, " if config.keep < 1 else ""
    print(f"{len(paths)} photos by {model.name}, {doubted}{unusable} of them unusable (column error): {output}")
    if formulas:
        print(f"{formulas} texts in it begin like formulas (=, +, -, @): in a spreadsheet, import all columns as text")


def top_columns(table: pd.DataFrame, class_names: Sequence[str], top_k: int) -> pd.DataFrame:
    """Return a table of `Classifier.predict` with the ``top_k`` likeliest classes in place of a column per class.

    Columns label, probability, label_2, probability_2 and so on, error.
    """
    ranked = keep_top(table, class_names, min(top_k, len(class_names)))
    columns: dict[str, list[object]] = {}
    for rank in range(2, min(top_k, len(class_names)) + 1):
        found = [tops[rank - 1] if tops else {"label": None, "probability": np.nan} for tops in ranked["top_k"]]
        columns |= {f"{name}_{rank}": [top[name] for top in found] for name in ("label", "probability")}
    return ranked[["label", "probability"]].assign(**columns, error=ranked["error"])


def photo_paths(photos: tuple[str, ...]) -> list[Path]:
    """Return the files that are meant by files, folders and globs.

    Of a folder these are all below it, without what `preprocess` ignores: hidden files and folders, notes and films.

    Raises:
        UserError: an entry is no file, no folder, and a glob without a match.
    """
    if not photos:
        raise UserError("photos must name files, folders or globs, got none (try --photos=my/folder)")
    found: list[Path] = []
    for entry in photos:
        if os.path.isdir(entry):
            matches = candidate_files(Path(entry))
        else:
            matches = [Path(entry)] if os.path.lexists(entry) else [Path(match) for match in sorted(glob.glob(entry))]
        if not matches:
            raise UserError(
                f"photos must name files, folders or globs that match, got {entry!r}, which matches nothing"
            )
        found += matches
    return found
