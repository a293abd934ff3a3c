"""What was decoded for a store that was not completed is kept, and faults of the moment are tried again."""

from __future__ import annotations

from pathlib import Path

import cv2
import numpy as np
import pytest

from pipeline.config import DataConfig
from pipeline.data.pixels import shard_processes, shards
from pipeline.data.store import TooFewPhotos, prepared_store
from pipeline.data.store import store as store_module
from pipeline.data.store.report import report_on_refusal
from pipeline.data.store.store import Store
from tests.conftest import images_of

SIDE, PER_SHARD = 32, 4


@pytest.fixture
def photos(tmp_path: Path) -> Path:
    """Eight photos of a, and of b two that can be used and one that cannot."""
    rng = np.random.default_rng(0)
    for label, count in (("a", 8), ("b", 2)):
        (tmp_path / "photos" / label).mkdir(parents=True)
        for number in range(count):
            _draw(tmp_path / "photos" / label / f"{number}.png", rng)
    (tmp_path / "photos/b/page.jpg").write_text("<html></html>")
    return tmp_path / "photos"


def _draw(file: Path, rng: np.random.Generator) -> None:
    assert cv2.imwrite(str(file), rng.integers(0, 255, (40, 40, 3), dtype=np.uint8))


@pytest.fixture
def decoded(monkeypatch: pytest.MonkeyPatch) -> list[int]:
    """The numbers of the shards that were decoded, of four photos each."""
    numbers: list[int] = []
    run = shard_processes._run_processes

    def noted(pending: list[shards.Shard], *arguments: object) -> object:
        numbers.extend(shard.number for shard in pending)
        return run(pending, *arguments)  # type: ignore[arg-type]

    monkeypatch.setattr(shard_processes, "_run_processes", noted)
    monkeypatch.setattr(shard_processes, "PHOTOS_PER_SHARD", PER_SHARD)
    monkeypatch.setattr(shard_processes, "LEAST_PHOTOS_PER_SHARD", PER_SHARD)
    return numbers


def _prepare(photos: Path, **flags: object) -> Store:
    config = DataConfig(**{"data": str(photos), "image_size": SIDE, "val_fraction": 0.2} | flags)
    return prepared_store(config, photos.parent / "root")


def test_what_was_decoded_is_kept_for_the_next_try(photos: Path, decoded: list[int], tmp_path: Path) -> None:
    with pytest.raises(TooFewPhotos):
        _prepare(photos)
    assert sorted(decoded) == [0, 1, 2]
    decoded.clear()
    for number in range(5, 9):
        _draw(photos / f"b/{number}.png", np.random.default_rng(number))
    store = _prepare(photos, val_fraction=0.3)  # another data set, split otherwise
    assert sorted(decoded) == [2, 3]  # of a all were known
    assert [path.name for path in store.folder.parent.glob("*.part")] == []
    fresh = prepared_store(DataConfig(data=str(photos), image_size=SIDE, val_fraction=0.3), tmp_path / "elsewhere")
    assert fresh.manifest.equals(store.manifest)
    assert fresh.quarantined.equals(store.quarantined)
    for split in ("train", "validation", "test"):
        np.testing.assert_array_equal(images_of(fresh, split), images_of(store, split))


def test_what_another_data_set_has_decoded_is_not_deleted(photos: Path, tmp_path: Path) -> None:
    with pytest.raises(TooFewPhotos):
        _prepare(photos)
    other = tmp_path / "other"
    for place, label in enumerate("xy"):
        (other / label).mkdir(parents=True)
        for number in range(5):
            _draw(other / label / f"{number}.png", np.random.default_rng((9, place, number)))
    _prepare(other)
    assert len(list((tmp_path / "root/prepared").glob("*.part"))) == 1  # of the first, which may be gone on with


def test_other_pixels_are_decoded_again(photos: Path, decoded: list[int]) -> None:
    with pytest.raises(TooFewPhotos):
        _prepare(photos)
    decoded.clear()
    with pytest.raises(TooFewPhotos):
        _prepare(photos, image_size=64)
    assert sorted(decoded) == [0, 1, 2]


def test_a_fault_of_the_moment_is_tried_again(
    photos: Path, decoded: list[int], monkeypatch: pytest.MonkeyPatch
) -> None:
    for number in range(5, 9):
        _draw(photos / f"b/{number}.png", np.random.default_rng(number))
    victim = photos / "a/3.png"
    whole = victim.read_bytes()
    add_digests = store_module.add_digests

    def fail_after(*arguments: object) -> object:
        found = add_digests(*arguments)  # type: ignore[arg-type]
        victim.write_bytes(b"the disk is away")
        return found

    monkeypatch.setattr(store_module, "add_digests", fail_after)
    first = _prepare(photos)
    monkeypatch.undo()
    assert set(first.quarantined["path"]) == {"a/3.png", "b/page.jpg"}
    assert len(first.manifest) == 13
    victim.write_bytes(whole)
    second = _prepare(photos)
    assert (second.reused, second.digest) == (False, first.digest)
    assert set(second.quarantined["path"]) == {"b/page.jpg"}
    assert len(second.manifest) == 14
    assert _prepare(photos).reused  # what is wrong with the page is the page's fault


def test_what_is_short_is_told_with_its_reasons(photos: Path) -> None:
    (photos / "a").rename(photos / "c")
    for number in range(1, 8):
        (photos / f"c/{number}.png").write_bytes(b"")
    with pytest.raises(TooFewPhotos) as error:
        _prepare(photos)
    said = str(error.value)
    assert "'b': 2 of 3 photos can be used, 1 not an image (HTML)" in said
    assert "'c': 1 of 8 photos can be used, 7 empty file" in said
    assert "\n" not in said
    files = report_on_refusal(error.value).files
    assert len(files) == 11
    assert files["outcome"].value_counts().to_dict() == {"quarantined": 8, "accepted": 3}


def test_a_burst_that_counts_as_one_photo_is_told(photos: Path) -> None:
    first = (photos / "b/0.png").read_bytes()
    for number in range(30):
        (photos / f"b/copy{number}.png").write_bytes(first)
    with pytest.raises(TooFewPhotos, match=r"'b': 32 of 33 photos can be used, which count as 2 "):
        _prepare(photos)
