"""The shapes of the synthetic photos: the five kinds of flower, drawn from polygons.

Owns what makes a kind recognisable. Position, view, colour and surroundings come from `synthetic.py`.
Colours are RGB. Points are in units of the bloom's radius around its centre, x right and y down, so that
one projection gives position, size and view.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import NamedTuple

import cv2
import numpy as np
from numpy.typing import NDArray

Canvas = NDArray[np.uint8]  # (height, width, 3), RGB
Points = NDArray[np.float64]  # (..., 2)
Colour = tuple[int, int, int]
Rng = np.random.Generator

SHIFT = 4  # OpenCV draws at 1/16 pixel: without it, small blooms look jagged and all alike
GOLDEN_ANGLE = 2.39996
WHITE, CREAM, YELLOW, ORANGE = ((242, 240, 236), (240, 225, 180), (246, 208, 40), (238, 140, 32))
PINK, RED, PURPLE = (232, 130, 172), (200, 32, 48), (150, 76, 176)
PETALS = (WHITE, CREAM, YELLOW, ORANGE, PINK, RED, PURPLE)
DISCS = ((236, 186, 36), (205, 140, 30), (110, 66, 28), (62, 40, 26), (120, 120, 40))
GREENS = ((60, 110, 40), (90, 140, 60), (40, 80, 45), (120, 150, 70), (130, 130, 60))


@dataclass(frozen=True)
class Bloom:
    """A bloom's position, size, rotation, and obliqueness (squash 1 = seen from the front)."""

    x: float
    y: float
    radius: float
    angle: float
    squash: float
    lean: float
    colour: Colour

    def project(self, points: Points) -> NDArray[np.int32]:
        """Return ``points`` of the flower's own plane as OpenCV's fixed-point pixels, same shape."""
        seen = points @ rotation(self.angle) * (1.0, self.squash) @ rotation(self.lean)
        pixels = seen * self.radius + (self.x, self.y)
        fixed_point: NDArray[np.int32] = np.rint(pixels * 2**SHIFT).astype(np.int32)
        return fixed_point


def rotation(angle: float) -> Points:
    """Return the 2x2 matrix that turns points, as row vectors on its left, from +x towards +y."""
    return np.array([[np.cos(angle), np.sin(angle)], [-np.sin(angle), np.cos(angle)]])


def shades(rng: Rng, colour: Colour, count: int, low: float = 0.8, high: float = 1.08) -> Points:
    """Return ``count`` variants of ``colour``, (count, 3) in 0..255, each ``low`` to ``high`` times as bright."""
    return np.clip(np.array(colour) * rng.uniform(low, high, (count, 1)) + rng.normal(0, 5, (count, 3)), 0, 255)


def pick(rng: Rng, colours: tuple[Colour, ...]) -> Colour:
    """Return one of ``colours``."""
    return colours[rng.integers(len(colours))]


def fill(canvas: Canvas, shapes: NDArray[np.int32], colours: Points, edge: float = 0.72) -> None:
    """Draw ``shapes`` (n, points, 2) in turn, each with an outline of ``edge`` times its colour."""
    for shape, colour in zip(shapes, colours.tolist(), strict=True):
        cv2.fillPoly(canvas, [shape], colour, cv2.LINE_AA, SHIFT)
        cv2.polylines(canvas, [shape], True, [edge * part for part in colour], 1, cv2.LINE_AA, SHIFT)


def petal_shape(inner: float, outer: float, half_width: float, widest: float, roundness: float) -> Points:
    """Return one petal along +x, (18, 2): ``widest`` 1 = in the middle, above = near the tip; ``roundness`` of ends."""
    along = np.linspace(0, 1, 10)
    across = half_width * np.sin(np.pi * along**widest).clip(0) ** (1 / roundness)
    x = inner + (outer - inner) * along
    return np.concatenate([np.stack([x, across], 1), np.stack([x, -across], 1)[-2:0:-1]])


def _ring(rng: Rng, petal: Points, count: int, jitter: float = 0.25) -> Points:
    """Return ``count`` copies of ``petal`` around the centre, (count, points, 2), uneven in angle and length."""
    angles = (np.arange(count) + rng.uniform(-jitter, jitter, count)) * 2 * np.pi / count + rng.uniform(0, np.pi)
    turns = np.array([rotation(angle) for angle in rng.permutation(angles)])
    petals: Points = petal @ turns * rng.uniform(0.86, 1.04, (count, 1, 1))
    return petals


def _disc(canvas: Canvas, bloom: Bloom, rng: Rng, radius: float, seeds: int, colours: tuple[Colour, ...]) -> None:
    colour = pick(rng, colours)
    fill(canvas, bloom.project(ellipse(radius, radius))[None], shades(rng, colour, 1))
    order = np.arange(seeds) + 0.5
    spiral = np.stack([np.cos(order * GOLDEN_ANGLE), np.sin(order * GOLDEN_ANGLE)], 1)
    centres = bloom.project(spiral * (radius * 0.94 * np.sqrt(order / seeds))[:, None])
    size = max(int(bloom.radius * radius * 0.9 / np.sqrt(seeds) * 2**SHIFT), 6)
    for centre, shade in zip(centres, shades(rng, colour, seeds, 0.5, 1.35).tolist(), strict=True):
        cv2.circle(canvas, centre.tolist(), size, shade, -1, cv2.LINE_AA, SHIFT)


def ellipse(across: float, along: float) -> Points:
    """Return the outline of an ellipse by its half axes, (20, 2)."""
    turn = np.linspace(0, 2 * np.pi, 20, endpoint=False)
    return np.stack([across * np.cos(turn), along * np.sin(turn)], 1)


def draw_daisy(canvas: Canvas, bloom: Bloom, rng: Rng) -> None:
    """Draw long narrow petals with gaps around a small disc."""
    count = int(rng.integers(11, 21))
    petal = petal_shape(0.12, 1.0, rng.uniform(1.1, 1.6) / count, rng.uniform(1.2, 1.8), 2.0)
    fill(canvas, bloom.project(_ring(rng, petal, count)), shades(rng, bloom.colour, count))
    _disc(canvas, bloom, rng, rng.uniform(0.2, 0.32), 24, DISCS[:4])


def draw_sunflower(canvas: Canvas, bloom: Bloom, rng: Rng) -> None:
    """Draw short pointed petals in two rows around a wide disc of seeds in spirals."""
    count = int(rng.integers(15, 24))
    for outer, darkest in ((1.0, 0.65), (0.92, 0.85)):
        petal = petal_shape(0.38, outer, 2.3 / count, 0.8, 1.0)
        fill(canvas, bloom.project(_ring(rng, petal, count)), shades(rng, bloom.colour, count, darkest))
    _disc(canvas, bloom, rng, rng.uniform(0.46, 0.62), 110, DISCS[1:])


def draw_dandelion(canvas: Canvas, bloom: Bloom, rng: Rng) -> None:
    """Draw a dense mop of thin rays without a disc or, every third time, the ball of seeds."""
    if rng.random() < 1 / 3:
        return _draw_seed_ball(canvas, bloom, rng)
    for outer in (1.0, 0.84, 0.66, 0.46, 0.26):
        count = int(18 + 26 * outer)
        petal = petal_shape(0.0, outer, 0.045, 2.0, 2.0)
        fill(canvas, bloom.project(_ring(rng, petal, count, 0.6)), shades(rng, bloom.colour, count, 0.66, 1.1))
    return None


def _draw_seed_ball(canvas: Canvas, bloom: Bloom, rng: Rng) -> None:
    count = 90
    angles, reach = (rng.uniform(0, 2 * np.pi, count), np.sqrt(rng.uniform(0.1, 1, count)))
    tips = np.stack([np.cos(angles), np.sin(angles)], 1) * reach[:, None]
    hairs = tips[:, None] + rng.normal(0, 0.09, (count, 6, 2))
    spokes = np.stack([np.zeros_like(tips), tips], 1)
    for spoke, fan, shade in zip(
        bloom.project(spokes), bloom.project(hairs), shades(rng, WHITE, count, 0.7).tolist(), strict=True
    ):
        cv2.polylines(canvas, [spoke], False, [part * 0.8 for part in shade], 1, cv2.LINE_AA, SHIFT)
        rays = np.stack([np.broadcast_to(spoke[1], fan.shape), fan], 1)
        cv2.polylines(canvas, list(rays), False, shade, 1, cv2.LINE_AA, SHIFT)
    fill(canvas, bloom.project(ellipse(0.1, 0.1))[None], shades(rng, DISCS[2], 1))


def draw_rose(canvas: Canvas, bloom: Bloom, rng: Rng) -> None:
    """Draw broad round petals in shrinking, darkening, shifted layers that close to a bud."""
    for layer, outer in enumerate(np.linspace(1.0, 0.24, 6)):
        count = 6 if layer < 2 else 5 if layer < 4 else 3
        petal = petal_shape(0.0, outer, 0.56 * outer, 2.0, 3.0) + rng.normal(0, 0.03, 2)
        light = 1.08 - 0.07 * layer
        light_to_dark = shades(rng, bloom.colour, count, light - 0.14, light)
        fill(canvas, bloom.project(_ring(rng, petal, count)), light_to_dark, edge=0.55)
    turn = np.linspace(0, 4 * np.pi, 30)
    curl = np.stack([np.cos(turn), np.sin(turn)], 1) * (0.17 * turn / turn[-1])[:, None]
    dark = [part * 0.4 for part in bloom.colour]
    cv2.polylines(canvas, [bloom.project(curl)], False, dark, 1, cv2.LINE_AA, SHIFT)


def draw_tulip(canvas: Canvas, bloom: Bloom, rng: Rng) -> None:
    """Draw a cup from the side: pointed petals that overlap from one base, on a stem."""
    cup = Bloom(bloom.x, bloom.y, 0.8 * bloom.radius, 0.0, 1.0, bloom.lean * 0.5, bloom.colour)
    spread, girth = rng.uniform(0.2, 0.5), rng.uniform(0.34, 0.46)
    petal = petal_shape(0.0, 1.75, girth, rng.uniform(0.75, 1.0), 1.5)
    stem = np.array([[-0.06, 0.8], [0.06, 0.8], [0.09, 4.0], [-0.03, 4.0]])
    fill(canvas, cup.project(stem)[None], shades(rng, pick(rng, GREENS), 1))
    back, front = (-0.5 * spread, 0.5 * spread), (-spread, spread, rng.normal(0, 0.08))
    for darkness, angles in ((0.75, back), (1.0, front)):
        turns = np.array([rotation(angle - np.pi / 2) for angle in angles])
        light_to_dark = shades(rng, bloom.colour, len(angles), darkness - 0.12, darkness + 0.05)
        fill(canvas, cup.project(petal @ turns + (0.0, 0.85)), light_to_dark, edge=0.62)


class Kind(NamedTuple):
    """How a kind is drawn, and the colours that it prefers."""

    draw: Callable[[Canvas, Bloom, Rng], None]
    favourites: tuple[Colour, ...]


KINDS: dict[str, Kind] = {
    "daisy": Kind(draw_daisy, (WHITE, CREAM, PINK)),
    "dandelion": Kind(draw_dandelion, (YELLOW, ORANGE, CREAM)),
    "roses": Kind(draw_rose, (RED, PINK, WHITE)),
    "sunflowers": Kind(draw_sunflower, (YELLOW, ORANGE, RED)),
    "tulips": Kind(draw_tulip, (RED, PURPLE, YELLOW)),
}
