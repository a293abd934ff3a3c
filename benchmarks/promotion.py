"""What comes of the rules of promotion, by simulation: how often intervals hold the truth, and who is promoted.

Models are drawn, not trained: photos are right or wrong with probabilities that are known. ``--data`` plays no part.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from functools import partial

import numpy as np
import pandas as pd
from matplotlib.figure import Figure
from scipy.special import softmax

from benchmarks.measure import COLUMNS
from pipeline.evaluation import Comparison, compare, error_of, interval_table, metric_value, rejection_reason
from pipeline.evaluation.paired_test import LOWER_IS_BETTER, TERMS, paired_p_value
from pipeline.plots import style

CLASSES, PHOTOS = (2, 5, 20, 102, 1000), (3, 10, 30, 100)
MOST_PHOTOS = 20_000  # of a simulated test split
LIVES, LIVES_IF_QUICK = 200, 10
CHALLENGERS, TEST_PHOTOS = 50, 734
DISCORDANT = 0.12  # of photos only one of two models has right
TOLERANCE = 0.05
FALLS = "falls by 20 points that are found"
FALL, FALLING_PHOTOS = 0.2, 50

UNEVEN = (400, 180, 90, 40, 24)  # photos of the classes where metrics differ
SIGNAL, SHARPNESS, OWN_NOISE = 3.0, 1.5, 0.7  # of a model whose logits are drawn: 88 % right
MORE_SIGNAL = 3.5  # of a better one: 5 points more
KINDS = {
    "leans to the largest class": (1.5, SHARPNESS),
    "leans from the largest class": (-1.0, SHARPNESS),
    "surer": (0.0, 4.0),
    "less sure": (0.0, 0.7),
}
"""Another kind of model -> its bias to the largest class, and what its logits are multiplied by."""


def run(data: str, quick: bool) -> pd.DataFrame:
    """Simulate intervals, single promotions, classes that fall, and lives of a test split."""
    lives = LIVES_IF_QUICK if quick else LIVES
    rng = np.random.default_rng(0)
    cases = [
        (classes, photos)
        for classes in CLASSES[: 2 if quick else None]
        for photos in PHOTOS
        if classes * photos <= MOST_PHOTOS
    ]
    rows = []
    for classes, photos in cases:
        case, repeats = f"{classes} classes of {photos} photos", max(5, lives * 200 // max(200, classes * photos))
        for metric, share in _coverage(rng, classes, photos, repeats).items():
            rows.append(_row("intervals that hold the truth", f"{case}, {metric}", share))
        for name, gain in (("equal", 0.0), ("10 points better", 0.1)):
            draw = partial(_pair, rng, np.repeat(np.arange(classes), photos), np.full(classes, gain))
            rows.append(_row("promotions", f"{case}, {name}", _share_promoted(draw, classes, repeats)))
        if photos == PHOTOS[0]:
            rows.append(_row(FALLS, f"{classes} classes", _found(rng, classes, repeats)))
    for place in (1, 2, 5, 10, 20, 50):
        draw = partial(_pair, rng, np.arange(TEST_PHOTOS) % 5, np.full(5, 0.05))
        share = _share_promoted(draw, 5, lives, place)
        rows.append(_row("promotions of 5 points more", f"comparison {place} on {TEST_PHOTOS} photos", share))
    rows.append(_row("lives with a false promotion", f"{CHALLENGERS} equal challengers", _lives(rng, lives)))
    equal = partial(_pair, rng, np.arange(TEST_PHOTOS) % 5, np.zeros(5))
    share = _share_promoted(equal, 5, 10 * lives, rule="better")
    rows.append(_row("promotions of promotion=better", f"equal, {TEST_PHOTOS} photos", share))
    for metric in TERMS:
        for kind, found, promoted in _by_metric(metric, 5 * lives):
            rows.append(_row(f"found better by {metric}, comparison 1", kind, found))
            rows.append(_row(f"promoted by {metric}, comparison 1", kind, promoted))
    table = pd.DataFrame(rows, columns=COLUMNS)
    print(table[["case", "contender", "median"]].to_string(index=False), flush=True)
    return table


def draw(table: pd.DataFrame) -> Figure:
    """Draw how often a better model is promoted, and a fall found, by classes, photos and comparisons so far."""
    shares = table.set_index(["case", "contender"])["median"]
    figure = style.new_figure(11, 3.6, "How often the rules of promotion see what is there")
    by_photos, by_classes, by_place = figure.subplots(1, 3, sharey=True)
    promoted, classes = shares["promotions"], [count for count in CLASSES if f"{count} classes" in shares[FALLS]]
    for shade, count in zip(np.linspace(0.25, 1, len(classes)), classes, strict=True):
        for name, dashes in (("10 points better", "-"), ("equal", ":")):
            found = {photos: f"{count} classes of {photos} photos, {name}" for photos in PHOTOS}
            found = {photos: promoted[case] for photos, case in found.items() if case in promoted}
            label = f"{count:,} classes" if dashes == "-" else None
            by_photos.plot(
                list(found), list(found.values()), dashes, marker=".", color=(0, 0.2, 0.6, shade), label=label
            )
    by_photos.set(xscale="log", xticks=PHOTOS, xticklabels=PHOTOS, xlabel="Test photos of each class", ylabel="%")
    by_photos.set_title("10 points better: promoted (dotted: equal)", fontsize=style.NORMAL)
    figure.legend(loc="outside lower left", ncols=len(classes), fontsize=style.SMALL)
    by_classes.plot(classes, [shares[FALLS][f"{count} classes"] for count in classes], marker=".", color=style.BLUE)
    by_classes.set(xscale="log", xticks=classes, xticklabels=classes, xlabel="Classes")
    by_classes.set_title(f"A class of {FALLING_PHOTOS} that falls by 20 points: found", fontsize=style.NORMAL)
    places = [1, 2, 5, 10, 20, 50]
    gained = [shares["promotions of 5 points more"][f"comparison {place} on {TEST_PHOTOS} photos"] for place in places]
    by_place.plot(places, gained, marker=".", color=style.BLUE)
    by_place.set(xscale="log", xticks=places, xticklabels=places, xlabel="Comparisons on the test split so far", ylim=0)
    by_place.set_title(f"5 points better on {TEST_PHOTOS} photos: promoted", fontsize=style.NORMAL)
    for axes in (by_photos, by_classes, by_place):
        axes.minorticks_off()
    return figure


def _row(case: str, contender: str, share: float) -> tuple[object, ...]:
    return (case, contender, "%", *[100 * share] * 3, *[share] * 3)


def _coverage(rng: np.random.Generator, classes: int, photos: int, repeats: int) -> dict[str, float]:
    """Return how often the intervals of recall and of its means hold the truth, by metric."""
    names, labels = [str(label) for label in range(classes)], np.repeat(np.arange(classes), photos)
    held: dict[str, list[float]] = {"recall": [], "accuracy": [], "balanced_accuracy": []}
    for _ in range(repeats):
        recall = rng.beta(9, 1, classes)
        right = rng.random(labels.size) < recall[labels]
        others = (labels + rng.integers(1, classes, labels.size)) % classes
        table = interval_table(
            labels, _answers(np.where(right, labels, others), classes), np.arange(labels.size), names
        )
        of_recall = table.loc[[f"recall {name}" for name in names]]
        held["recall"].append(float(((of_recall["low"] <= recall) & (of_recall["high"] >= recall)).mean()))
        for metric in ("accuracy", "balanced_accuracy"):
            held[metric].append(float(table.loc[metric, "low"] <= recall.mean() <= table.loc[metric, "high"]))
    return {metric: float(np.mean(shares)) for metric, shares in held.items()}


def _pair(rng: np.random.Generator, labels: np.ndarray, gains: np.ndarray) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Return labels, and which photos challenger and champion have right; classes differ by ``gains``."""
    both = max(DISCORDANT, float(np.abs(gains).max()) + 0.04)
    only_challenger, only_champion = (both + gains) / 2, (both - gains) / 2
    drawn = rng.random(labels.size)
    challenger = drawn < only_challenger[labels]
    champion = ~challenger & (drawn < (only_challenger + only_champion)[labels])
    shared = (drawn >= (only_challenger + only_champion)[labels]) & (rng.random(labels.size) < 0.85)
    return labels, challenger | shared, champion | shared


def _compare(drawn: tuple[np.ndarray, np.ndarray, np.ndarray], classes: int, place: int = 1) -> Comparison:
    labels, *models = drawn
    answers = [_answers(np.where(right, labels, (labels + 1) % classes), classes) for right in models]
    names = [str(label) for label in range(classes)]
    return compare(labels, answers[0], answers[1], np.arange(labels.size), names, place)


def _answers(predicted: np.ndarray, classes: int) -> np.ndarray:
    answers = np.zeros((predicted.size, classes), np.float32)
    answers[np.arange(predicted.size), predicted] = 1
    return answers


def _share_promoted(
    draw: Callable[[], tuple[np.ndarray, np.ndarray, np.ndarray]], classes: int, repeats: int, place: int = 1,
    rule: str = "significant",
) -> float:  # fmt: skip
    found = [_compare(draw(), classes, place) for _ in range(repeats)]
    return float(np.mean([not rejection_reason(one, rule, TOLERANCE) for one in found]))


def _found(rng: np.random.Generator, classes: int, repeats: int) -> float:
    """Return how often the first class is found worse, which falls while the others stay."""
    labels, gains = np.repeat(np.arange(classes), FALLING_PHOTOS), np.zeros(classes)
    gains[0] = -FALL
    pairs = (_pair(rng, labels, gains) for _ in range(repeats))
    return float(np.mean(["0" in _compare(pair, classes).worse_classes(TOLERANCE) for pair in pairs]))


def _lives(rng: np.random.Generator, lives: int) -> float:
    """Return in which share of lives any of many challengers, all as good as the champion, is promoted."""
    labels, fooled = np.arange(TEST_PHOTOS) % 5, 0
    for _ in range(lives):
        champion, *challengers = rng.random((1 + CHALLENGERS, TEST_PHOTOS)) < 0.87
        fooled += any(
            not rejection_reason(_compare((labels, challenger, champion), 5, place), "significant", TOLERANCE)
            for place, challenger in enumerate(challengers, start=1)
        )
    return fooled / lives


def _by_metric(metric: str, repeats: int) -> Iterator[tuple[str, float, float]]:
    """Yield how often challengers are found better by a metric, and promoted: equal ones of each kind, and a better.

    Those of other kinds get as much signal as makes the metric equal.
    """
    labels = np.repeat(np.arange(len(UNEVEN)), UNEVEN)
    groups, names = np.arange(labels.size), [str(label) for label in range(len(UNEVEN))]
    kinds = {"equal": (SIGNAL, 0.0, SHARPNESS)}
    kinds |= {f"equal, {kind}": (_equal_signal(metric, *how), *how) for kind, how in KINDS.items()}
    kinds["better"] = (MORE_SIGNAL, 0.0, SHARPNESS)
    for kind, challenger in kinds.items():
        rng, found, promoted = np.random.default_rng(0), 0, 0
        for _ in range(repeats):
            shared = rng.normal(size=(labels.size, len(UNEVEN)))
            ours, theirs = (_probabilities(rng, labels, shared, *how) for how in (challenger, kinds["equal"]))
            if paired_p_value(TERMS[metric](labels, ours, theirs), groups) < error_of(1):
                found += 1
                comparison = compare(labels, ours, theirs, groups, names, metric=metric)
                promoted += not rejection_reason(comparison, "significant", TOLERANCE)
        yield kind, found / repeats, promoted / repeats


def _probabilities(
    rng: np.random.Generator, labels: np.ndarray, shared: np.ndarray, signal: float, bias: float, sharpness: float
) -> np.ndarray:
    """Return a model's probabilities (n, classes); what is hard in a photo is ``shared``, the rest its own."""
    logits = signal * np.eye(len(UNEVEN))[labels] + shared + OWN_NOISE * rng.normal(size=shared.shape)
    return np.asarray(softmax(sharpness * (logits + bias * np.eye(len(UNEVEN))[0]), axis=1))


def _equal_signal(metric: str, bias: float, sharpness: float, times: int = 600) -> float:
    """Return the signal with which a model of another kind has the same value of the metric, by bisection."""
    labels = np.repeat(np.arange(len(UNEVEN)), np.array(UNEVEN) * times)
    shared = np.random.default_rng(1).normal(size=(labels.size, len(UNEVEN)))

    def value(*how: float) -> float:
        found = metric_value(metric, labels, _probabilities(np.random.default_rng(2), labels, shared, *how))
        return -found if metric in LOWER_IS_BETTER else found

    wanted, low, high = value(SIGNAL, 0.0, SHARPNESS), SIGNAL / 2, 2 * SIGNAL
    for _ in range(14):
        middle = (low + high) / 2
        low, high = (middle, high) if value(middle, bias, sharpness) < wanted else (low, middle)
    return (low + high) / 2
