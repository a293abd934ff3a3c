"""A study under a name that the user gives: what goes on in it, and what is refused before it is tried."""

from __future__ import annotations

import json
from pathlib import Path

import optuna
import pytest

from pipeline.config import TrainConfig, TuneConfig, UserError
from pipeline.search import study as studies
from pipeline.search.study_contents import claim
from pipeline.search.trial_record import CONFIG

STORE = "mlflow.db of 2026-11-29 10:00:00.000+00:00"


def _claim(tmp_path: Path, photos: str = "a" * 64, runs: str = STORE, **flags: object) -> list[str]:
    lines: list[str] = []
    config = _config(tmp_path, **flags)
    claim(studies.open_study(config, photos), config, photos, runs, lines.append)
    return lines


def _config(tmp_path: Path, **flags: object) -> TuneConfig:
    storage = f"sqlite:///{tmp_path}/optuna.db"
    return TuneConfig(**{"weights": "none", "study_name": "mine", "storage": storage} | flags)


def _space(**ranges: object) -> str:
    return json.dumps(ranges)


def test_the_same_search_goes_on_with_more_trials_and_in_other_ranges(tmp_path: Path) -> None:
    narrow, wide = ({"low": 1e-3, "high": high} for high in (0.3, 0.5))
    assert _claim(tmp_path, space=_space(lr_decay=narrow)) == []
    assert _claim(tmp_path, space=_space(lr_decay=narrow), n_trials=99, workers=2) == []
    (line,) = _claim(tmp_path, space=_space(lr_decay=wide))
    assert line.startswith("the range of lr_decay is {'low': 0.001, 'high': 0.5")
    assert _claim(tmp_path, space=_space(lr_decay=wide)) == []


@pytest.mark.parametrize(
    ("changed", "words"),
    [
        ({"photos": "b" * 64}, "has other photos or other data flags (digest aaaaaaaaaaaa, now bbbbbbbbbbbb)"),
        ({"runs": "http://127.0.0.1:5000"}, f"has its runs in another MLflow store, {STORE}"),
        ({"epochs": 8}, "has trials with epochs=16, now 8 (use another study_name, or epochs=16)"),
        ({"weights": "imagenet", "variants": "resnet18"}, "has trials with"),
        (
            {"objective": "val_loss"},
            "with objective=val_accuracy, now val_loss (use another study_name, or objective=",
        ),
        ({"class_weights": "balanced"}, "has trials with class_weights=none, now balanced (use another study_name"),
        ({"variants": "resnet50"}, "searches variant in"),
        ({"space": _space(dropout={"low": 0, "high": 0.5})}, "dropout"),
    ],
    ids=lambda case: next(iter(case)) if isinstance(case, dict) else "",
)
def test_another_search_under_the_same_name_is_refused(changed: dict[str, str], words: str, tmp_path: Path) -> None:
    _claim(tmp_path)
    with pytest.raises(UserError, match="a study must belong to one search, got study_name=mine") as error:
        _claim(tmp_path, **changed)
    assert words in str(error.value)
    assert "another study_name" in str(error.value)


def test_a_study_goes_on_in_a_store_whose_path_was_recorded_and_has_changed(tmp_path: Path) -> None:
    _claim(tmp_path, runs="sqlite:////where/it/was/mlflow.db")
    with pytest.raises(UserError, match="another MLflow store"):
        _claim(tmp_path, runs="http://127.0.0.1:5000")
    assert _claim(tmp_path) == []
    with pytest.raises(UserError, match="another MLflow store"):
        _claim(tmp_path, runs="mlflow.db of 2026-11-29 10:00:00.001+00:00")


def test_a_study_that_minimises_or_is_of_another_program_is_refused(tmp_path: Path) -> None:
    storage = str(_config(tmp_path).storage)
    optuna.create_study(study_name="mine", storage=storage, direction="minimize")
    with pytest.raises(UserError, match="which minimises its values, where val_accuracy is to be maximised"):
        _claim(tmp_path)
    assert _claim(tmp_path, objective="val_loss") == []
    optuna.create_study(study_name="other", storage=storage, direction="maximize")
    with pytest.raises(UserError, match="which maximises its values, where val_loss is to be minimised"):
        _claim(tmp_path, study_name="other", objective="val_loss")
    foreign = optuna.create_study(study_name="foreign", storage=storage, direction="maximize")
    foreign.optimize(lambda trial: trial.suggest_float("x", 0, 1), n_trials=1)
    with pytest.raises(UserError, match="has trials of another program"):
        _claim(tmp_path, study_name="foreign")


def test_a_study_of_an_earlier_version_says_by_its_trials_what_they_were_for(tmp_path: Path) -> None:
    """It has no record of what it is of, and its trials know of no objective: that was val_accuracy."""
    study = studies.open_study(_config(tmp_path), "a" * 64)
    recorded = TrainConfig(weights="none").model_dump(mode="json", exclude={"objective", "class_weights"})
    study.add_trial(optuna.trial.create_trial(value=0.5, user_attrs={CONFIG: recorded}))
    with pytest.raises(UserError, match=r"with objective=val_accuracy, now val_macro_f1 .*or objective=val_accuracy"):
        _claim(tmp_path, objective="val_macro_f1")
    assert _claim(tmp_path) == []


def test_a_name_that_is_made_of_the_search_needs_no_check(tmp_path: Path) -> None:
    config = _config(tmp_path, study_name="")
    study = studies.open_study(config, "a" * 64)
    claim(study, config, "a" * 64, "runs", pytest.fail)
    assert study.user_attrs == {}


@pytest.mark.parametrize("storage", ["sqlite://", "sqlite:///:memory:"])
def test_a_storage_in_memory_is_refused(storage: str) -> None:
    with pytest.raises(ValueError, match="storage must be a file or a database server"):
        TuneConfig(storage=storage)
