"""The search space: the table of each mode, the file that changes it, and an optimum on a border."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import optuna
import pytest

from pipeline.config import TuneConfig, UserError
from pipeline.search import study as studies
from pipeline.search.space import FINE_TUNING, FROM_SCRATCH, FROZEN_BACKBONE, Range, params_at_border
from pipeline.search.space_file import inline_space_file, space_of


def _space(**of: Any) -> TuneConfig:
    return TuneConfig(weights="none", space=json.dumps(of))


@pytest.mark.parametrize(
    ("flags", "table", "without"),
    [
        ({}, FROM_SCRATCH, set()),
        ({"augment": "none"}, FROM_SCRATCH, {"augment"}),
        ({"weights": "imagenet", "freeze_backbone": True}, FROZEN_BACKBONE, set()),
        ({"weights": "imagenet"}, FINE_TUNING, {"unfreeze_lr_factor"}),
        ({"weights": "imagenet", "head_epochs": 2}, FINE_TUNING, set()),
    ],
    ids=str,
)
def test_every_mode_has_a_space_of_its_own(flags: dict[str, Any], table: dict[str, Any], without: set[str]) -> None:
    assert space_of(TuneConfig(**{"weights": "none"} | flags)).dimensions.keys() == {"variant", *table} - without


@pytest.mark.parametrize("suffix", ["yaml", "json"])
def test_a_file_changes_ranges_choices_and_fixed_values(tmp_path: Path, suffix: str) -> None:
    file = tmp_path / f"space.{suffix}"
    yaml_text = "learning_rate: {low: 1e-4, high: 1e-2, log: true}\noptimizer: [adamw, adam]\nmixup: 0.2\n"
    json_text = (
        '{"learning_rate": {"low": 1e-4, "high": 0.01, "log": true}, "optimizer": ["adamw", "adam"], "mixup": 0.2}'
    )
    file.write_text(yaml_text if suffix == "yaml" else json_text)
    space = space_of(TuneConfig(weights="none", space=str(file)))
    assert space.dimensions["learning_rate"] == Range(low=1e-4, high=1e-2, log=True)
    assert "learning_rate_factor" not in space.dimensions
    assert space.dimensions["optimizer"] == ("adamw", "adam")
    assert space.fixed == {"mixup": 0.2}
    assert space.dimensions["lr_decay"] == FROM_SCRATCH["lr_decay"]  # what the file does not name stays


def test_the_search_keeps_what_the_file_said_when_it_began(tmp_path: Path) -> None:
    file = tmp_path / "space.yaml"
    file.write_text("variant: [resnet34, resnet50]\ndropout: [0.0, 0.5]\n")
    config = TuneConfig(weights="none", space=str(file))
    read = inline_space_file(config)
    assert studies.study_name(read, "digest") == studies.study_name(config, "digest")
    file.unlink()
    assert read.variants == ("resnet34", "resnet50")
    assert space_of(read).dimensions["dropout"] == (0.0, 0.5)
    assert inline_space_file(read) == read


def test_a_space_that_was_logged_can_be_given_back() -> None:
    for config in (
        TuneConfig(weights="none"),
        TuneConfig(weights="imagenet", freeze_backbone=True),
        _space(batch_size=[16, 64]),
    ):
        space = space_of(config)
        again = config.model_copy(update={"space": json.dumps(space.to_dict())})
        assert space_of(again) == space


@pytest.mark.parametrize(
    ("content", "words"),
    [
        ("learning_rat: 0.1", r"key learning_rat: .*did you mean learning_rate\?"),
        ("nonsense_xyz: 1", r"key nonsense_xyz: it must be a training flag \(one of variant, "),
        ("epochs: [4, 8]", r"key epochs: .*give --epochs="),
        ("dropout: 1.5", r"key dropout: .*less than 1.*1\.5"),
        ("dropout: {low: 0.5, high: 0.1}", r"key dropout: low must be below high, got 0\.5 and 0\.1"),
        ("dropout: {low: 0, high: 0.5, log: true}", "key dropout: low must be above 0 with log, got 0"),
        ("dropout: {low: 0, hihg: 0.5}", "key dropout: (high|hihg) .*"),
        ("dropout: {low: 0, high: .inf}", "key dropout: high .*inf"),
        ("optimizer: [adamw, adamx]", "key optimizer: .*'adamx'"),
        ("optimizer: {low: 1, high: 2}", "key optimizer: "),
        ("augment: []", "key augment: .*empty list"),
        ("batch_size: [32, many]", "key batch_size: .*'many'"),
        ("learning_rate_factor: [0, 1]", "key learning_rate_factor: .*greater than 0"),
        ("start_size: [32, 128]", "key start_size: start_size must be at most image_size"),
        ("- 1\n- 2", r"must map names to ranges, got \[1, 2\]"),
        ("a: [", "must be YAML or JSON"),
        ("", "must map names to ranges, got None"),
    ],
)
def test_a_mistake_in_the_file_is_one_line_with_file_and_key(tmp_path: Path, content: str, words: str) -> None:
    file = tmp_path / "mine.yaml"
    file.write_text(content)
    with pytest.raises(UserError, match=rf"space file .*mine\.yaml.*{words}") as error:
        space_of(TuneConfig(weights="none", space=str(file)))
    assert len(str(error.value).splitlines()) == 1


def test_a_file_that_is_not_there_is_named() -> None:
    with pytest.raises(UserError, match=r"space must be a YAML or JSON file, got 'no/such\.yaml'"):
        space_of(TuneConfig(weights="none", space="no/such.yaml"))


def test_whole_numbers_stay_whole_and_numbers_written_as_text_become_numbers() -> None:
    config = _space(batch_size={"low": 8, "high": 64, "log": True}, learning_rate=["1e-3", "1e-2"])
    study = optuna.create_study()
    for _ in range(20):
        trained = studies.suggest(study.ask(), config)
        assert 8 <= trained.batch_size <= 64
        assert trained.learning_rate in (1e-3, 1e-2)


def test_a_space_of_choices_has_a_size() -> None:
    few = _space(**dict.fromkeys(("learning_rate_factor", "weight_decay_factor", "lr_decay"), 0.1), dropout=[0, 0.5])
    assert space_of(few).size == 3 * 3 * 3 * 3 * 2
    assert space_of(_space(batch_size={"low": 8, "high": 11})).size == float("inf")


@pytest.mark.parametrize(
    ("params", "found"),
    [
        ({"learning_rate_factor": 1.0, "lr_decay": 0.01}, {}),
        ({"learning_rate_factor": 9.5}, {"learning_rate_factor": (0.1, 100.0)}),
        ({"learning_rate_factor": 0.11}, {"learning_rate_factor": (0.01, 10.0)}),
        ({"lr_decay": 0.29}, {"lr_decay": (0.001, 1.0)}),  # and no further: the flag ends there
        ({"dropout": 0.01}, {}),  # below 0 there is nothing
        ({"dropout": 0.49}, {"dropout": (0.0, 0.75)}),
        ({"label_smoothing": 0.95}, {}),
    ],
)
def test_an_optimum_on_the_border_names_the_range_to_try_next(
    params: dict[str, float], found: dict[str, tuple[float, float]]
) -> None:
    space = space_of(_space(dropout={"low": 0, "high": 0.5}, label_smoothing={"low": 0, "high": 0.96}))
    assert {border.name: (border.next.low, border.next.high) for border in params_at_border(space, params)} == found
