"""Rare classes are named before a training, with flags that can be given as they are printed."""

from __future__ import annotations

from types import SimpleNamespace
from typing import Any

import pandas as pd
import pytest

from pipeline.config import AblateConfig, Config, MainConfig, TrainConfig, TuneConfig
from pipeline.config.command_line import parse_flags
from pipeline.data.store import Store
from pipeline.experiment import print_imbalance

SAID = "the largest class, daisy, has 19 times the training photos of the smallest, roses (1,900 and 100): "


def _store(**train_photos: int) -> Any:
    counts = pd.DataFrame({"train": train_photos, "validation": 1, "test": 1})
    store = SimpleNamespace(class_counts=lambda: counts)
    store.imbalance = Store.imbalance.fget(store)
    return store


@pytest.mark.parametrize(
    ("command", "config_class"),
    [("train", TrainConfig), ("tune", TuneConfig), ("main", MainConfig), ("ablate", AblateConfig)],
)
def test_the_flags_that_help_are_valid_as_printed(
    command: str, config_class: type[Config], capsys: pytest.CaptureFixture[str]
) -> None:
    store, config = _store(daisy=1900, tulips=300, roses=100), config_class(weights="none")
    print_imbalance(config, store)
    line = capsys.readouterr().out
    assert line.startswith(SAID)
    assert line.count("\n") == 1
    flags = line.split("(try ")[1].rstrip(")\n").split()
    assert [flag.partition("=")[0] for flag in flags] == ["--class_weights", "--objective"]
    minding = parse_flags(config_class, command, [*flags, "--weights=none"])
    print_imbalance(minding, store)
    assert capsys.readouterr().out == ""


def test_what_is_set_or_varied_is_left_out(capsys: pytest.CaptureFixture[str]) -> None:
    store = _store(daisy=1900, roses=100)
    print_imbalance(TrainConfig(weights="none", class_weights="effective"), store)
    assert "class_weights" not in capsys.readouterr().out
    print_imbalance(TrainConfig(weights="none", objective="val_loss"), store, varied={"class_weights"})
    assert capsys.readouterr().out == ""


@pytest.mark.parametrize(
    ("photos", "times"),
    [({"daisy": 299, "roses": 100}, 0), ({"daisy": 300, "roses": 100}, 3), ({"daisy": 300, "roses": 0}, 0)],
)
def test_it_is_said_from_three_times_as_many_photos_on(photos: dict[str, int], times: int) -> None:
    found = _store(**photos).imbalance
    assert bool(found) == bool(times)
    assert not times or f"{times} times the training photos" in str(found)
