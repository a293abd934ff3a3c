"""What counts as a near duplicate follows from the data set: parts, digits and X-rays are split, bursts are not."""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable

import cv2
import numpy as np
import pandas as pd
import pytest

from pipeline.config import DataConfig
from pipeline.data.pixels.fingerprints import Fingerprint, fingerprint
from pipeline.data.splits.assignment import SPLITS, TooFewGroups
from pipeline.data.splits.grouping import GroupedPhotos, group_and_split
from pipeline.data.splits.resemblance import near_duplicates

Photos = tuple[list[np.ndarray], list[str]]


def _grey(image: np.ndarray) -> np.ndarray:
    return np.repeat(np.clip(image, 0, 255).astype(np.uint8)[..., None], 3, axis=2)


def _scene(draw: np.random.Generator, side: int = 128) -> np.ndarray:
    """Return a picture with structure of all sizes, as photos have it, float32."""
    picture = np.full((side, side, 3), 120, np.float32)
    for size, contrast in ((32, 60), (12, 40), (5, 25), (2, 12)):
        noise = draw.normal(0, contrast, (side // size + 2, side // size + 2, 3)).astype(np.float32)
        picture += cv2.resize(noise, (side, side), interpolation=cv2.INTER_CUBIC)
    return picture


def _burst(frames: int, others: int) -> Photos:
    """Frames of one scene by a shaking camera, while something passes; others of two classes."""
    draw = np.random.default_rng(0)
    scene = _scene(draw, 132)
    images = []
    for frame in range(frames):
        top, left = draw.integers(0, 5, 2)
        image = scene[top : top + 128, left : left + 128].copy()
        cv2.circle(image, (20 + 80 * frame // frames, 60), 6, (250, 40, 40), -1)
        images.append(np.clip(image * (1 + draw.normal(0, 0.03)) + draw.normal(0, 3, image.shape), 0, 255))
    images += [np.clip(_scene(draw), 0, 255) for _ in range(others)]
    labels = ["a"] * frames + ["ab"[number % 2] for number in range(others)]
    return [image.astype(np.uint8) for image in images], labels


def _part(scratch: int, count: int = 240) -> Photos:
    """A part under a fixed camera; every second has a scratch so many pixels wide."""
    draw = np.random.default_rng(1)
    images = []
    for number in range(count):
        image = np.full((96, 96), 100, np.float32)
        cv2.rectangle(image, (20, 20), (76, 76), 190, -1)
        cv2.circle(image, (48, 48), 9, 40, -1)
        if number % 2:
            start, step = draw.integers(25, 70, 2), draw.integers(-40, 40, 2)
            cv2.line(image, start.tolist(), (start + step).tolist(), 20, scratch)
        images.append(_grey(image + draw.normal(0, 1, image.shape)))
    return images, [("good", "scratched")[number % 2] for number in range(count)]


def _two_parts() -> Photos:
    """Two parts that nobody would confuse, under a fixed camera."""
    draw = np.random.default_rng(6)
    images = []
    for number in range(240):
        image = np.full((96, 96), 100, np.float32)
        if number % 2:
            cv2.circle(image, (48 + int(draw.integers(-1, 2)), 48), 30, 200, -1)
        else:
            for bar in range(5):
                cv2.rectangle(image, (8 + 18 * bar, 10), (16 + 18 * bar, 86), 220, -1)
        images.append(_grey(image + draw.normal(0, 3, image.shape)))
    return images, [("bars", "disc")[number % 2] for number in range(240)]


def _belt() -> Photos:
    draw = np.random.default_rng(2)
    images = []
    for number in range(200):
        image = np.full((96, 96), 120, np.float32)
        x, y = draw.integers(24, 72), draw.integers(40, 56)
        if number % 2:
            cv2.circle(image, (int(x), int(y)), 14, 200, -1)
        else:
            corners = cv2.boxPoints(((float(x), float(y)), (26, 26), float(draw.uniform(0, 90))))
            cv2.fillPoly(image, [corners.astype(int)], 200)
        images.append(_grey(image + draw.normal(0, 4, image.shape)))
    return images, [str(number % 2) for number in range(200)]


def _xrays() -> Photos:
    draw = np.random.default_rng(3)
    images = []
    for number in range(200):
        image = np.full((200, 180), 20, np.float32)
        cv2.ellipse(image, (90, 110), draw.normal([75, 90], 3).astype(int).tolist(), 0, 0, 360, 130, -1)
        for side in (-35, 35):
            cv2.ellipse(image, (90 + side, 105), draw.normal([25, 60], 3).astype(int).tolist(), 0, 0, 360, 50, -1)
        if number % 2:
            cv2.circle(image, draw.normal([60, 110], 8).astype(int).tolist(), 9, 120, -1)
        images.append(_grey(cv2.GaussianBlur(image, (0, 0), 3) + draw.normal(0, 4, image.shape)))
    return images, [str(number % 2) for number in range(200)]


def _pages() -> Photos:
    """Invoices by one form, and letters."""
    draw = np.random.default_rng(4)
    words = np.array(["the", "invoice", "total", "rose", "pixel", "group", "machine", "photo", "42", "tax"])
    images = []
    for number in range(200):
        image = np.full((300, 220), 250, np.uint8)
        is_invoice = number % 2
        if is_invoice:
            cv2.putText(image, "INVOICE", (60, 30), cv2.FONT_HERSHEY_SIMPLEX, 0.9, 0, 2)
            cv2.rectangle(image, (15, 220), (200, 280), 0, 1)
        for y in range(70 if is_invoice else 30, 200 if is_invoice else 280, 13):
            cv2.putText(image, " ".join(draw.choice(words, 5)), (15, y), cv2.FONT_HERSHEY_SIMPLEX, 0.35, 20, 1)
        images.append(_grey(image))
    return images, [("letter", "invoice")[number % 2] for number in range(200)]


def _digits(scale: int) -> Photos:
    from sklearn.datasets import load_digits

    digits = load_digits()
    images = [cv2.resize(_grey(image * 255 / 16), None, fx=scale, fy=scale) for image in digits.images]
    return images, [str(label) for label in digits.target]


def _split(photos: Photos, flags: DataConfig | None = None, **columns: list[str]) -> GroupedPhotos:
    images, labels = photos
    prints = [fingerprint(np.ascontiguousarray(image)) for image in images]
    table = pd.DataFrame([one._asdict() for one in prints]).drop(columns="grey")
    names = [f"{number:04d}" for number in range(len(images))]
    table = table.assign(path=names, label=labels, sha256=table["pixels"], group="", split="").assign(**columns)
    return group_and_split(table, lambda row: prints[row].grey, flags or DataConfig())


UNLIKE: dict[str, Callable[[], Photos]] = {
    "a scratch": lambda: _part(1),
    "a wide scratch": lambda: _part(6),
    "a few parts": lambda: _part(3, 24),
    "two parts": _two_parts,
    "parts on a belt": _belt,
    "X-rays": _xrays,
    "pages": _pages,
    "digits": lambda: _digits(1),
    "large digits": lambda: _digits(8),
}


@pytest.mark.parametrize("kind", UNLIKE)
def test_what_only_looks_alike_is_split_as_wanted(kind: str) -> None:
    photos, _, notes = _split(UNLIKE[kind]())
    assert photos["group"].value_counts().max() <= 5
    shares = photos["split"].value_counts(normalize=True)
    slack = 0.02 + 2 * np.sqrt(0.09 / len(photos))
    for split, share in zip(SPLITS, (0.8, 0.1, 0.1), strict=True):
        assert shares[split] == pytest.approx(share, abs=slack)
    assert not any("not 80/10/10" in note for note in notes)
    assert any("look much alike" in note or "look like one picture" in note for note in notes)


@pytest.mark.parametrize("scale", [1, 4, 8])
def test_digits_come_out_as_wanted_in_every_class(scale: int) -> None:
    photos = _split(_digits(scale)).photos
    shares = photos["split"].value_counts(normalize=True)
    for split, share in zip(SPLITS, (0.8, 0.1, 0.1), strict=True):
        assert shares[split] == pytest.approx(share, abs=0.02)
    assert photos.groupby(["label", "split"]).size().min() >= 8


def test_a_burst_counts_as_one_picture_and_that_is_said() -> None:
    photos, duplicates, notes = _split(_burst(200, 60))
    assert photos["group"].iloc[:200].nunique() == 1
    assert photos["group"].nunique() == 61
    assert len(duplicates) < 200 * 40
    assert any("200 of 230 photos of a" in note for note in notes)
    assert any(note.startswith("WARNING: the splits are") and "near_duplicates=false" in note for note in notes)


def test_a_class_of_many_bursts_has_as_many_groups() -> None:
    images: list[np.ndarray] = []
    labels: list[str] = []
    for scene in range(24):
        draw = np.random.default_rng(scene)
        picture = _scene(draw)
        images += [
            np.clip(picture * draw.uniform(0.9, 1.1) + draw.normal(0, 6, picture.shape), 0, 255).astype(np.uint8)
            for _ in range(6)
        ]
        labels += ["ab"[scene % 2]] * 6
    photos = _split((images, labels)).photos
    assert photos["group"].value_counts().tolist() == [6] * 24


def test_a_small_burst_counts_as_one_picture_without_a_warning_of_shares() -> None:
    photos, _, notes = _split(_burst(12, 400))
    assert photos["group"].value_counts().tolist() == [12, *[1] * 400]
    assert not any("the splits are" in note for note in notes)


def test_a_class_that_is_one_burst_is_refused_with_the_remedy_that_works() -> None:
    images, labels = _burst(40, 40)
    burst_alone = images, ["a" if number < 40 else "bc"[number % 2] for number in range(80)]
    with pytest.raises(TooFewGroups, match="got 1 in 'a'") as error:
        _split(burst_alone)
    assert error.value.photos["label"].value_counts()["a"] == 40
    photos = _split(burst_alone, DataConfig(near_duplicates=False)).photos
    assert photos["group"].nunique() == 80
    assert labels[0] == "a"


def test_every_class_that_is_too_small_is_named() -> None:
    images, _ = _burst(0, 12)
    with pytest.raises(TooFewGroups, match="got 2 in 'b', 1 in 'c'") as error:
        _split((images, ["a"] * 9 + ["b", "b", "c"]))
    assert error.value.labels == ["b", "c"]


def test_copies_and_exact_mirror_images_share_a_split_whatever_the_set_and_the_flag() -> None:
    images, labels = _part(2, 60)
    images += [np.ascontiguousarray(images[0][:, ::-1]), images[1]]
    labels += [labels[0], labels[1]]
    for near in (True, False):
        photos, duplicates, _ = _split((images, labels), DataConfig(near_duplicates=near))
        assert photos["group"].iloc[[60, 61]].tolist() == photos["group"].iloc[[0, 1]].tolist()
        assert photos["group"].nunique() == 60
        assert Counter(duplicates["kind"]) == {"mirrored": 1, "same pixels": 1}


def test_a_few_copies_under_other_labels_change_nothing_for_the_others() -> None:
    images, labels = _burst(0, 200)
    smaller = [cv2.resize(image, None, fx=0.7, fy=0.7, interpolation=cv2.INTER_AREA) for image in images[:20]]
    mislabelled = [*labels[:14], *("ba"[label == "b"] for label in labels[14:20])]
    photos, duplicates, _ = _split((images + smaller, labels + mislabelled))
    assert photos["group"].iloc[200:].tolist() == photos["group"].iloc[:20].tolist()
    assert (duplicates["label"] != duplicates["other_label"]).sum() == 6
    assert (photos["reason"] == "").all()


def test_a_pair_of_two_labels_connects_no_further_photos() -> None:
    draw = np.random.default_rng(7)
    images, _ = _burst(0, 120)
    labels, one = list("abc" * 40), images[0]
    frames = [np.clip(one + draw.normal(0, 6, one.shape), 0, 255).astype(np.uint8) for _ in range(9)]
    photos, duplicates, _ = _split((images + frames, labels + list("abcabcabc")))
    frames_of = photos.iloc[[0, *range(120, 129)]]
    assert frames_of.groupby("group")["label"].nunique().max() == 2
    assert frames_of.groupby("label")["group"].nunique().max() == 1
    assert (duplicates["label"] != duplicates["other_label"]).sum() > 1


def test_a_chain_falls_apart() -> None:
    panorama = np.clip(_scene(np.random.default_rng(5), 400)[:128], 0, 255).astype(np.uint8)
    images, labels = _burst(0, 200)
    frames = [np.ascontiguousarray(panorama[:, 2 * step : 2 * step + 128]) for step in range(40)]
    photos, _, notes = _split((images + frames, labels + ["a"] * 40))
    assert 1 < photos["group"].value_counts().max() < 20
    assert any("in chains" in note for note in notes)


def test_given_groups_are_not_connected_by_resemblance() -> None:
    images, labels = _burst(10, 60)
    photos = _split((images, labels), group=["one"] * 5 + ["two"] * 5 + [""] * 60).photos
    assert photos["group"].iloc[:10].tolist() == ["group one"] * 5 + ["group two"] * 5


def test_given_splits_are_trusted_with_a_report() -> None:
    images, labels = _burst(60, 90)
    splits = [SPLITS[number % 3] for number in range(150)]
    photos, _, notes = _split((images, labels), split=splits)
    assert photos["split"].tolist() == splits
    assert any("look alike across the splits that you gave" in note for note in notes)


def test_a_few_look_alikes_across_given_splits_are_quarantined_and_so_are_all_copies() -> None:
    images, labels = _burst(0, 90)
    smaller = cv2.resize(images[2], None, fx=0.7, fy=0.7, interpolation=cv2.INTER_AREA)
    splits = [SPLITS[number % 3] for number in range(90)]
    photos = _split(([*images, smaller, images[5]], [*labels, labels[2], labels[5]]), split=[*splits, "train", "train"])
    assert photos.photos["reason"].tolist() == [""] * 90 + [
        "alike across given splits (0002 in test)",
        "alike across given splits (0005 in test)",
    ]


def test_look_alikes_across_given_splits_stay_where_a_class_has_no_others() -> None:
    frames, _ = _burst(3, 0)
    images, _ = _burst(0, 30)
    labels = ["a"] * 3 + ["b"] * 30
    splits = [SPLITS[number % 3] for number in range(33)]
    photos = _split((frames + images, labels), split=splits).photos
    assert photos["split"].tolist() == splits


@pytest.mark.parametrize("missing", ["test", "validation"])
def test_a_split_that_is_not_given_is_taken_from_training(missing: str) -> None:
    images, labels = _burst(0, 200)
    given = ["validation" if missing == "test" else "test", "train", "train", "train"]
    splits = [given[number // 2 % 4] for number in range(200)]
    photos = _split((images, labels), split=splits).photos
    held = np.array(splits) != "train"
    assert (photos["split"].to_numpy()[held] == given[0]).all()
    assert set(photos["split"][~held]) == {"train", missing}


@pytest.mark.slow
def test_many_near_identical_pictures_take_bounded_time_and_memory() -> None:
    import resource
    import time

    draw = np.random.default_rng(0)
    count, kinds = 20_000, 2
    prints: list[Fingerprint] = []
    for number in range(count):
        image = np.full((64, 64), 100, np.float32)
        if number % kinds:
            cv2.circle(image, (32 + int(draw.integers(-1, 2)), 32), 20, 200, -1)
        else:
            for bar in range(4):
                cv2.rectangle(image, (6 + 14 * bar, 8), (12 + 14 * bar, 56), 220, -1)
        prints.append(fingerprint(_grey(image + draw.normal(0, 3, image.shape))))
    phashes, mirrored = (
        np.array([getattr(one, name) for one in prints], np.uint64) for name in ("phash", "mirrored_phash")
    )
    labels = np.array([str(number % kinds) for number in range(count)])
    before, start = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss, time.process_time()
    found = near_duplicates(labels, phashes, mirrored, lambda index: prints[index].grey)
    assert time.process_time() - start < 60
    assert (resource.getrusage(resource.RUSAGE_SELF).ru_maxrss - before) / 1024 < 600
    assert len(found.pairs) < 40 * count


def test_groups_of_several_classes_count_for_each() -> None:
    images, _ = _burst(0, 240)
    labels = ["ab"[number % 2] for number in range(240)]
    patients = [f"patient {number // 12}" for number in range(240)]
    photos = _split((images, labels), group=patients).photos
    assert photos.groupby("group")["split"].nunique().eq(1).all()
    assert photos.groupby("label")["split"].nunique().eq(3).all()
    with pytest.raises(TooFewGroups, match="got 1 in 'a', 1 in 'b'"):
        _split((images, labels), group=[*(["p", "q"] * 120)][:240])
