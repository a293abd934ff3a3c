"""Groups and splits of photos that show the same picture: nothing leaks, and nothing is dropped without a word."""

from __future__ import annotations

import hashlib
import re
from pathlib import Path

import cv2
import numpy as np
import pandas as pd
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from pipeline.config import DataConfig, UserError
from pipeline.data.pixels.decode import decode
from pipeline.data.pixels.fingerprints import fingerprint
from pipeline.data.rule_versions import RuleVersions
from pipeline.data.sources.synthetic import draw_photo
from pipeline.data.splits.assignment import SPLITS
from pipeline.data.splits.grouping import group_and_split
from pipeline.data.store.store import Store, prepared_store
from tests.conftest import ROOT, images_of

CONFIG = DataConfig(val_fraction=0.3, test_fraction=0.3)
COLUMNS = ["path", "label", "sha256", "group", "split", "pixels", "mirrored_pixels", "phash", "mirrored_phash"]


@pytest.fixture(scope="module")
def pictures() -> list[np.ndarray]:
    return [decode(draw_photo("roses", np.random.default_rng(number))) for number in range(12)]


def _table(pictures: list[np.ndarray], **columns: list[str]) -> tuple[pd.DataFrame, list[np.ndarray]]:
    prints = [fingerprint(picture) for picture in pictures]
    rows = [
        (f"{n}.jpg", "ab"[n % 2], f"digest {n}", "", "", one.pixels, one.mirrored_pixels, one.phash, one.mirrored_phash)
        for n, one in enumerate(prints)
    ]
    return pd.DataFrame(rows, columns=COLUMNS).assign(**columns), [one.grey for one in prints]


def test_copies_and_mirror_images_share_a_split(pictures: list[np.ndarray]) -> None:
    mirrors = [np.ascontiguousarray(picture[:, ::-1]) for picture in pictures]
    labels = ["a", "b"] * 6
    table, greys = _table(pictures + mirrors + pictures, label=labels * 3)
    photos, pairs, _ = group_and_split(table, greys.__getitem__, CONFIG)
    assert photos["reason"].tolist() == [""] * 36
    splits = photos["split"].to_numpy().reshape(3, 12)
    assert (splits == splits[0]).all()
    assert set(splits[0]) == set(SPLITS)
    assert photos["group"].nunique() == 12
    assert pairs["kind"].value_counts().to_dict() == {"same pixels": 12, "mirrored": 12}
    assert (pairs["split"] == pairs["other_split"]).all()


def test_equal_pixels_under_two_labels_are_quarantined_with_both_named(pictures: list[np.ndarray]) -> None:
    table, greys = _table([*pictures, pictures[0], pictures[1]], label=["a", "b"] * 6 + ["b", "b"])
    photos, pairs, _ = group_and_split(table, greys.__getitem__, CONFIG)
    why = photos.set_index("path")["reason"]
    assert why["0.jpg"] == why["12.jpg"] == "same picture under two labels (a and b)"
    assert (why.drop(["0.jpg", "12.jpg"]) == "").all()
    assert photos.loc[why.to_numpy() != "", "split"].tolist() == ["", ""]
    assert pairs[["path", "label", "other_path", "other_label"]].to_numpy().tolist() == [
        ["0.jpg", "a", "12.jpg", "b"],
        ["1.jpg", "b", "13.jpg", "b"],
    ]


def test_photos_that_only_look_alike_may_have_two_labels(pictures: list[np.ndarray]) -> None:
    scratched = pictures[0].copy()
    scratched[100:110, 60:62] = 255
    table, greys = _table([*pictures, scratched], label=["a", "b"] * 6 + ["b"])
    photos, pairs, _ = group_and_split(table, greys.__getitem__, CONFIG)
    assert (photos["reason"] == "").all()
    assert photos["split"].iloc[0] == photos["split"].iloc[12]
    assert pairs[["kind", "label", "other_label"]].to_numpy().tolist() == [["alike", "a", "b"]]


def test_a_photo_that_is_like_one_of_a_later_split_of_the_table_is_quarantined(pictures: list[np.ndarray]) -> None:
    given = ["train", "validation", "test"] * 4
    mirror = np.ascontiguousarray(pictures[2][:, ::-1])
    table, greys = _table([*pictures, mirror], split=[*given, "train"])
    photos, pairs, _ = group_and_split(table, greys.__getitem__, CONFIG)
    assert photos["reason"].tolist() == [""] * 12 + ["alike across given splits (2.jpg in test)"]
    assert photos["split"].tolist() == [*given, ""]
    assert pairs[["split", "other_split"]].to_numpy().tolist() == [["test", ""]]
    with pytest.raises(UserError, match="in one split"):
        group_and_split(table.assign(group="one bed"), greys.__getitem__, CONFIG)


@given(order=st.permutations(range(16)))
@settings(deadline=None, max_examples=10)
def test_the_order_of_the_photos_does_not_matter(order: list[int], pictures: list[np.ndarray]) -> None:
    copies = [cv2.resize(picture, None, fx=0.6, fy=0.6, interpolation=cv2.INTER_AREA) for picture in pictures[:4]]
    table, greys = _table([*pictures, *copies], label=["a", "b"] * 8)
    straight = group_and_split(table, greys.__getitem__, CONFIG)
    shuffled = group_and_split(table.iloc[order].reset_index(drop=True), lambda row: greys[order[row]], CONFIG)
    columns = ["path", "group", "split", "reason"]
    pd.testing.assert_frame_equal(
        shuffled.photos[columns].sort_values("path", ignore_index=True),
        straight.photos[columns].sort_values("path", ignore_index=True),
    )
    assert len(straight.duplicates) == len(shuffled.duplicates) == 4


@pytest.fixture(scope="module")
def store(tmp_path_factory: pytest.TempPathFactory, pictures: list[np.ndarray]) -> Store:
    """Two classes of six photos; one photo twice, one mirrored, and one under both labels."""
    folder = tmp_path_factory.mktemp("leaks")
    for number, picture in enumerate(pictures):
        _write(folder / "photos" / "ab"[number % 2] / f"{number}.jpg", picture)
    first = decode((folder / "photos" / "a" / "0.jpg").read_bytes())
    _write(folder / "photos" / "a" / "copy.png", first)
    _write(folder / "photos" / "b" / "mirror.jpg", pictures[1][:, ::-1])
    _write(folder / "photos" / "b" / "wrong.png", decode((folder / "photos" / "a" / "2.jpg").read_bytes()))
    return prepared_store(DataConfig(data=str(folder / "photos"), image_size=32), folder / "data")


def _write(file: Path, image: np.ndarray) -> None:
    file.parent.mkdir(parents=True, exist_ok=True)
    assert cv2.imwrite(str(file), np.ascontiguousarray(image[..., ::-1]))


def test_a_store_has_groups_and_names_what_is_quarantined(store: Store) -> None:
    rows = store.manifest.set_index("path")
    for one, other in (("a/0.jpg", "a/copy.png"), ("b/1.jpg", "b/mirror.jpg")):
        assert rows.loc[one, "split"] == rows.loc[other, "split"]
        assert rows.loc[one, "group"] == rows.loc[other, "group"]
    assert rows.loc["a/0.jpg", "pixels"] == rows.loc["a/copy.png", "pixels"]
    assert store.quarantined[["path", "reason"]].to_numpy().tolist() == [
        ["a/2.jpg", "same picture under two labels (a and b)"],
        ["b/wrong.png", "same picture under two labels (a and b)"],
    ]
    assert store.quarantined["thumbnail"].str.len().min() > 100
    assert len(rows) == 13 == sum(len(images_of(store, split)) for split in SPLITS)
    assert store.duplicates["kind"].tolist() == ["mirrored", "same pixels", "same pixels"]


@pytest.mark.slow
def test_flower_photos_keep_their_pairs_and_splits_in_version_2(real_photos: Path) -> None:
    files = sorted(real_photos.glob("*/*.jpg"))
    contents = [file.read_bytes() for file in files]
    prints = [fingerprint(decode(data)) for data in contents]
    table = pd.DataFrame([one._asdict() for one in prints]).drop(columns="grey")
    table = table.assign(
        path=[file.relative_to(real_photos).as_posix() for file in files],
        label=[file.parent.name for file in files],
        sha256=[hashlib.sha256(data).hexdigest() for data in contents],
        group="",
        split="",
    )
    first, second = (
        group_and_split(
            table, lambda row: prints[row].grey, DataConfig(), RuleVersions(grouping=version, splits=version)
        )
        for version in (1, 2)
    )
    assert first.photos["split"].tolist() == second.photos["split"].tolist()
    page = (ROOT / "docs" / "flower_photos_duplicates.md").read_text()
    documented = set(re.findall(r"^\| (\S+\.jpg) \| (\S+\.jpg) \|", page, re.MULTILINE))
    assert len(documented) == 27
    for found in (first, second):
        pairs = found.duplicates[["path", "other_path"]].itertuples(index=False, name=None)
        assert {tuple(sorted(pair)) for pair in pairs} == {tuple(sorted(pair)) for pair in documented}
