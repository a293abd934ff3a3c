"""How many epochs a command takes that has a time, and that it goes on with them."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
from mlflow import MlflowClient

from pipeline import tracking
from pipeline.config import TrainConfig, TuneConfig
from pipeline.config.chosen_flags import LEAST_EPOCHS, MOST_EPOCHS, MOST_EPOCHS_FROM_SCRATCH
from pipeline.data.store import Store, prepared_store
from pipeline.experiment import with_epochs

pytestmark = pytest.mark.usefixtures("tracking_store")


@pytest.fixture
def store(photo_folder: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Store:
    monkeypatch.chdir(tmp_path)
    return prepared_store(TrainConfig(data=str(photo_folder), image_size=32).data_config())


def _epochs(config: TrainConfig | TuneConfig, store: Store, **how: Any) -> int:
    with tracking.run("train", "a name", config):
        return with_epochs(config, store, **how).epochs


@pytest.mark.parametrize(("weights", "most"), [("none", MOST_EPOCHS_FROM_SCRATCH), ("imagenet", MOST_EPOCHS)])
def test_a_training_takes_as_many_epochs_as_fit(weights: str, most: int, store: Store) -> None:
    config = TrainConfig(weights=weights, image_size=32, timeout_s=600)
    assert config.epochs == 0
    assert _epochs(config, store, may_be_longer=True) == most
    assert _epochs(config, store, fits=lambda chosen: chosen.epochs <= 21, may_be_longer=True) == 21
    assert _epochs(config, store, fits=lambda _: False, may_be_longer=True) >= LEAST_EPOCHS


def test_a_search_takes_no_more_than_without_a_time(store: Store) -> None:
    config = TuneConfig(weights="none", timeout_s=600)
    assert _epochs(config, store) == 16
    assert _epochs(config, store, fits=lambda chosen: chosen.epochs < 9) == 8
    assert _epochs(config, store, begun_with=11, fits=lambda _: False) == 11
    assert TuneConfig(weights="none").epochs == 16
    assert TuneConfig(weights="none", timeout_s=600, epochs=5).epochs == 5


def test_a_run_that_goes_on_keeps_its_epochs(store: Store, tracking_store: MlflowClient) -> None:
    config = TrainConfig(weights="none", image_size=32, timeout_s=600)

    def interrupt() -> None:
        with tracking.run("train", "a name", config, training="this one"):
            assert with_epochs(config, store, lambda chosen: chosen.epochs <= 7).epochs == 7
            raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        interrupt()
    with tracking.run("train", "a name", config, training="this one"):
        assert with_epochs(config, store, lambda chosen: chosen.epochs <= 5).epochs == 7
    assert len(tracking_store.search_runs(["0"])) == 1
