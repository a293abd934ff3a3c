"""Draws photos: samples of every class and split, the most confident errors, Grad-CAM maps.

Owns the layout and captions of photos, and the choice of errors. Photos are uint8 RGB (n, height, width, 3), as the
model sees them. Does not decode files or compute heat maps.
"""

from __future__ import annotations

import textwrap
from collections.abc import Sequence

import numpy as np
import pandas as pd
from matplotlib import colormaps
from matplotlib.axes import Axes
from matplotlib.cm import ScalarMappable
from matplotlib.figure import Figure

from pipeline.plots.style import (
    CHARACTER_WIDTH,
    NAME_LIMIT,
    NORMAL,
    SMALL,
    SPLIT_COLOURS,
    draw_message,
    escape_text,
    new_figure,
    percent,
)

MAX_ERRORS, MAX_CLASSES, MAX_PHOTOS_PER_GROUP = 24, 25, 4
_WIDTH = 13.5
_GAP = 0.04
"""White gap between photos of one block, as a share of a photo's side."""

_CAPTION_CHARACTER_WIDTH, _CAPTION_LINE_HEIGHT = 0.078, 0.17
"""Average width and height of a caption's characters, in inches, measured on class names."""

_HEAT_COLOURS = colormaps["viridis"]


def draw_samples(images: dict[tuple[str, str], np.ndarray], title: str) -> Figure:
    """Draw photos by class (rows, the first `MAX_CLASSES`) and split (blocks of columns).

    ``images`` maps (split, class) to photos, all of one height and width; their number may differ.
    """
    images = {key: photos for key, photos in images.items() if len(photos)}
    if not images:
        return draw_message(new_figure(_WIDTH, 3, title), "No photos.")
    classes = list(dict.fromkeys(name for _, name in images))
    if len(classes) > MAX_CLASSES:
        title, classes = f"{title} (the first {MAX_CLASSES} of {len(classes)} classes)", classes[:MAX_CLASSES]
    splits = sorted({split for split, _ in images}, key=[*SPLIT_COLOURS, *(split for split, _ in images)].index)
    blocks = {split: _montage([images.get((split, name), ()) for name in classes]) for split in splits}
    names = [escape_text(name, NAME_LIMIT) for name in classes]
    label_width = max(map(len, names)) * CHARACTER_WIDTH + 0.8
    shapes = np.array([block.shape[:2] for block in blocks.values()])
    photo_height = next(iter(images.values())).shape[1]
    inches = min((_WIDTH - label_width) / shapes[:, 1].sum(), 1.7 / photo_height)
    figure = new_figure(inches * shapes[:, 1].sum() + label_width, inches * shapes[0, 0] + 1.2, title)
    panels = figure.subplots(1, len(splits), width_ratios=shapes[:, 1].tolist(), squeeze=False)[0]
    for axes, (split, block) in zip(panels, blocks.items(), strict=True):
        _show_photo(axes, block)
        axes.set_title(split.capitalize(), fontsize=NORMAL + 1, fontweight="bold")
    middles = (np.arange(len(names)) + 0.5) * shapes[0, 0] / len(names)
    panels[0].set_yticks(middles, names, fontsize=NORMAL)
    return figure


def draw_stages(images: dict[str, dict[str, np.ndarray]], title: str) -> Figure:
    """Draw a photo of every class (rows, the first `MAX_CLASSES`) before and after each step (columns).

    ``images`` maps class to step to photo, all of one shape, with the same steps for every class.
    """
    rows = dict(list(images.items())[:MAX_CLASSES])
    if not rows:
        return draw_message(new_figure(_WIDTH, 3, title), "No photos.")
    steps, names = list(next(iter(rows.values()))), [escape_text(name, NAME_LIMIT) for name in rows]
    label_width = max(map(len, names)) * CHARACTER_WIDTH + 0.8
    cell = min((_WIDTH - label_width) / len(steps), 1.9)
    figure = new_figure(cell * len(steps) + label_width, cell * len(rows) + 1.4, title)
    axes = figure.subplots()
    sheet = _montage([list(photos.values()) for photos in rows.values()])
    _show_photo(axes, sheet)
    height, width = sheet.shape[:2]
    axes.set_yticks((np.arange(len(names)) + 0.5) * height / len(names), names, fontsize=NORMAL)
    limit = max(8, int(cell / CHARACTER_WIDTH))
    captions = ["\n".join(textwrap.wrap(escape_text(step), limit)) for step in steps]
    axes.set_xticks((np.arange(len(steps)) + 0.5) * width / len(steps), captions, fontsize=NORMAL)
    axes.xaxis.tick_top()
    axes.tick_params(length=0)
    return figure


def draw_errors(images: np.ndarray, table: pd.DataFrame, title: str) -> Figure:
    """Draw the most confident errors, most confident first, captioned ``true → predicted 97 %``.

    ``table`` is `evaluation.prediction_table` or a part of it, and ``images[i]`` (array, memory map or list) is the
    photo of its row i. At most `MAX_ERRORS` photos are shown, and only these are read.
    """
    table = table.reset_index(drop=True)
    errors = table[~table["correct"].astype(bool)].sort_values("probability", ascending=False, kind="stable")
    if errors.empty:
        return draw_message(new_figure(_WIDTH, 3, title), f"No errors. Photos checked: {len(table):,}")
    most_confident = errors.head(MAX_ERRORS)
    captions = [
        f"{escape_text(row.label, NAME_LIMIT)} → {escape_text(row.predicted, NAME_LIMIT)} {percent(row.probability)}"
        for row in most_confident[["label", "predicted", "probability"]].itertuples()
    ]
    return _captioned_grid([np.asarray(images[index]) for index in most_confident.index], captions, title, columns=6)


def draw_groups(groups: Sequence[Sequence[np.ndarray]], captions: Sequence[str], title: str) -> Figure:
    """Draw the first `MAX_PHOTOS_PER_GROUP` photos of every group side by side under the group's caption."""
    if not groups:
        return draw_message(new_figure(_WIDTH, 3, title), "No groups.")
    group_columns = min(max(map(len, groups)), MAX_PHOTOS_PER_GROUP)
    blank = np.full_like(groups[0][0], 255)
    strips = [[*photos[:group_columns], *[blank] * (group_columns - len(photos))] for photos in groups]
    suffixes = [f", and {len(photos) - group_columns} more" if len(photos) > group_columns else "" for photos in groups]
    captions = [escape_text(caption) + suffix for caption, suffix in zip(captions, suffixes, strict=True)]
    return _captioned_grid([_montage([strip]) for strip in strips], captions, title, columns=8 // group_columns)


def draw_heat_maps(images: np.ndarray, heat_maps: np.ndarray, captions: Sequence[str], title: str) -> Figure:
    """Draw each photo beside a copy under its heat map, float (n, height, width) in 0..1, as from Grad-CAM.

    The more heat, the more opaque the heat map: cold regions stay recognisable.
    """
    if not len(images):
        return draw_message(new_figure(_WIDTH, 3, title), "No photos.")
    pairs = [
        np.concatenate([photo, overlay(photo, heat)], axis=1)
        for photo, heat in zip(np.asarray(images), np.asarray(heat_maps), strict=True)
    ]
    figure = _captioned_grid(pairs, [escape_text(caption) for caption in captions], title, columns=4)
    figure.set_figheight(figure.get_figheight() + 0.7)
    colour_bar = figure.colorbar(
        ScalarMappable(cmap=_HEAT_COLOURS), ax=figure.axes, location="bottom", shrink=0.5, aspect=40
    )
    colour_bar.set_label("Heat: evidence for the class, relative to the strongest spot in the photo", fontsize=NORMAL)
    colour_bar.ax.tick_params(labelsize=SMALL)
    return figure


def overlay(photo: np.ndarray, heat: np.ndarray) -> np.ndarray:
    """Return a photo, uint8 RGB, under its heat map, float (height, width) in 0..1."""
    opacity = 0.15 + 0.55 * heat[..., None]
    return (photo * (1 - opacity) + 255 * _HEAT_COLOURS(heat)[..., :3] * opacity).astype(np.uint8)


def _captioned_grid(photos: Sequence[np.ndarray], captions: Sequence[str], title: str, columns: int) -> Figure:
    """Return a grid of photos of one shape, each under its caption of at most three lines."""
    columns = min(columns, len(photos))
    rows = -(-len(photos) // columns)
    column_width = min(_WIDTH / columns, 3.4)
    limit = int((column_width - 0.1) / _CAPTION_CHARACTER_WIDTH)
    wrapped = [textwrap.wrap(caption, limit, max_lines=3, placeholder="…") for caption in captions]
    height, width = photos[0].shape[:2]
    row_height = (column_width - 0.26) * height / width + max(map(len, wrapped)) * _CAPTION_LINE_HEIGHT + 0.25
    figure = new_figure(columns * column_width, rows * row_height + 0.7, title)
    panels = figure.subplots(rows, columns, squeeze=False).flatten()
    for axes, photo, lines in zip(panels, photos, wrapped, strict=False):
        _show_photo(axes, photo)
        axes.set_title("\n".join(lines), fontsize=SMALL)
    for axes in panels[len(photos) :]:
        axes.set_axis_off()
    return figure


def _montage(rows: Sequence[np.ndarray | Sequence[np.ndarray]]) -> np.ndarray:
    """Return one uint8 RGB image of the photos with white gaps: one axes per photo would take seconds."""
    height, width = next(photos[0].shape[:2] for photos in rows if len(photos))
    step_y, step_x = round(height * (1 + _GAP)), round(width * (1 + _GAP))
    canvas = np.full((len(rows) * step_y, max(map(len, rows)) * step_x, 3), 255, dtype=np.uint8)
    for row, photos in enumerate(rows):
        for column, photo in enumerate(photos):
            canvas[row * step_y :, column * step_x :][:height, :width] = photo
    return canvas


def _show_photo(axes: Axes, photo: np.ndarray) -> None:
    opaque = np.full(photo.shape[:2], 255, np.uint8)  # without it, matplotlib computes in twice the memory
    axes.imshow(np.dstack([photo, opaque]))
    axes.set(xticks=[], yticks=[])
    axes.tick_params(length=0)
    axes.spines[:].set_visible(False)
