"""Tests of the synthetic photos: the same bytes every time, whole folders, and pictures that differ."""

from __future__ import annotations

from pathlib import Path

import cv2
import numpy as np
import pytest

from pipeline.data.sources import synthetic
from pipeline.data.sources.synthetic import draw_photo, write_synthetic
from pipeline.data.sources.synthetic_kinds import KINDS


def files_of(folder: Path) -> dict[str, bytes]:
    return {path.relative_to(folder).as_posix(): path.read_bytes() for path in sorted(folder.rglob("*.jpg"))}


@pytest.fixture(scope="module")
def drawn(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("raw") / "synthetic"
    write_synthetic(folder, photos_per_class=6)
    return folder


def test_five_classes_with_the_photos_asked_for(drawn: Path) -> None:
    assert [path.name for path in sorted(drawn.iterdir())] == ["daisy", "dandelion", "roses", "sunflowers", "tulips"]
    assert all(len(list(kind.iterdir())) == 6 for kind in drawn.iterdir())
    assert (drawn / "daisy" / "daisy-0001.jpg").is_file()


def test_every_photo_decodes_and_sizes_vary(drawn: Path) -> None:
    sizes = set()
    for content in files_of(drawn).values():
        pixels = cv2.imdecode(np.frombuffer(content, np.uint8), cv2.IMREAD_COLOR)
        assert pixels is not None
        assert all(160 <= side <= 260 for side in pixels.shape[:2])
        assert pixels.std() > 5, "a photo without contrast shows nothing"
        sizes.add(pixels.shape)
    assert len(sizes) > 20


def test_no_two_photos_are_equal(drawn: Path) -> None:
    assert len(set(files_of(drawn).values())) == 30


def test_same_seed_same_bytes_and_fewer_photos_are_the_first_ones(drawn: Path, tmp_path: Path) -> None:
    write_synthetic(tmp_path / "again", photos_per_class=2)
    again, first = files_of(tmp_path / "again"), files_of(drawn)
    assert len(again) == 10
    assert all(first[name] == content for name, content in again.items())


def test_another_seed_draws_other_photos(drawn: Path, tmp_path: Path) -> None:
    write_synthetic(tmp_path / "other", photos_per_class=1, seed=1)
    assert not set(files_of(tmp_path / "other").values()) & set(files_of(drawn).values())


def test_a_photo_does_not_depend_on_those_drawn_before(drawn: Path) -> None:
    kind = list(KINDS).index("roses")
    photo = draw_photo("roses", np.random.default_rng([0, kind, 3]))
    assert photo == (drawn / "roses" / "roses-0004.jpg").read_bytes()


def test_broken_off_drawing_leaves_nothing(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def draw_four(kind: str, rng: np.random.Generator, left: list[int] = [4]) -> bytes:  # noqa: B006 - the countdown
        left[0] -= 1
        if left[0] < 0:
            raise KeyboardInterrupt
        return draw_photo(kind, rng)

    monkeypatch.setattr(synthetic, "draw_photo", draw_four)
    with pytest.raises(KeyboardInterrupt):
        write_synthetic(tmp_path / "synthetic", photos_per_class=3)
    assert list(tmp_path.iterdir()) == []


def test_empty_folder_is_filled_and_a_full_one_never_replaced(tmp_path: Path) -> None:
    (tmp_path / "set").mkdir()
    write_synthetic(tmp_path / "set", photos_per_class=1)
    with pytest.raises(FileExistsError, match="new or empty"):
        write_synthetic(tmp_path / "set", photos_per_class=2)
    assert len(files_of(tmp_path / "set")) == 5
    assert [path.name for path in tmp_path.iterdir()] == ["set"]
