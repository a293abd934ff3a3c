"""Flower Photos: all of them are accounted for, and a short training learns from them."""

from __future__ import annotations

from pathlib import Path

import pytest

from pipeline.config import PreprocessConfig, TrainConfig
from pipeline.data.store.store import prepared_store
from pipeline.training.loop import fit

pytestmark = pytest.mark.photos

PHOTOS = {"daisy": 633, "dandelion": 898, "roses": 641, "sunflowers": 699, "tulips": 799}


@pytest.fixture(scope="module")
def data_root(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return tmp_path_factory.mktemp("data")


def test_every_photo_is_prepared_or_named(real_photos: Path, data_root: Path) -> None:
    config = PreprocessConfig(data=str(real_photos), image_size=32)
    store = prepared_store(config, data_root)
    assert not store.reused
    seen = store.manifest["path"].tolist() + store.quarantined["path"].tolist()
    assert sorted(seen) == sorted(path.relative_to(real_photos).as_posix() for path in real_photos.glob("*/*"))
    assert len(seen) == sum(PHOTOS.values()) == 3670
    assert store.quarantined[["path", "reason"]].to_numpy().tolist() == [
        [f"{label}/15922772266_1167a06620.jpg", "same picture under two labels (roses and tulips)"]
        for label in ("roses", "tulips")
    ]
    assert store.class_counts().sum(axis=1).to_dict() == PHOTOS | {"roses": 640, "tulips": 798}
    assert (store.manifest.groupby("group")["split"].nunique() == 1).all()
    published = (Path(__file__).parents[2] / "docs" / "flower_photos_duplicates.md").read_text()
    for pair in store.duplicates.itertuples():
        assert f"{pair.path} | {pair.other_path}" in published
    assert prepared_store(config, data_root).reused


@pytest.mark.slow
def test_a_short_training_beats_chance(real_photos: Path, data_root: Path) -> None:
    config = TrainConfig(weights="none", data=str(real_photos), classes=("daisy", "roses"), image_size=64, epochs=2)
    store = prepared_store(config, data_root)
    result = fit(config, store)
    majority = store.class_counts()["validation"].max() / len(store.labels("validation"))
    assert majority < 0.6
    assert result.best.val_accuracy > max(0.65, majority + 0.08)
