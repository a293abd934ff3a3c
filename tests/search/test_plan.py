"""The search from pre-trained weights: heads of all variants first, then the best variants are fine-tuned."""

from __future__ import annotations

from pathlib import Path
from typing import Any, Literal

import optuna
import pandas as pd
import pytest
from mlflow import MlflowClient
from optuna.study import Study

from pipeline.config import DATA_FOLDER, TuneConfig
from pipeline.experiment import MachineSpeed
from pipeline.search import study as studies
from pipeline.search.plan import best_variants, is_head, next_of_plan
from pipeline.search.space_file import space_of
from pipeline.search.time_plan import describe_plan, expected_parts, seconds_left
from pipeline.search.trial_record import REPEAT_OF
from tests.conftest import RunIn
from tests.fake_hub import save_small_preset
from tests.small_net import SMALL

VARIANTS = ("resnet18", "resnet18_vd", "resnet34")


def _config(**flags: Any) -> TuneConfig:
    chosen = {"image_size": 160, "epochs": 8, "head_epochs": 2, "unfreeze_lr_factor": 0.3, "head_trials": 6}
    weights = ";".join(f"{variant}=data/weights/{variant}" for variant in VARIANTS)
    return TuneConfig(**{"weights": weights, "storage": "sqlite:///optuna.db", "variants": VARIANTS, **chosen} | flags)


def _run(study: Study, config: TuneConfig, value: float | None) -> dict[str, Any]:
    """Run the next trial of the plan; one without a value fails. Return its parameters."""
    study.enqueue_trial(next_of_plan(study, config))
    trial = study.ask()
    studies.suggest(trial, config)
    study.tell(trial, value, state=None if value is not None else optuna.trial.TrialState.FAIL)
    return dict(trial.params)


def _study(direction: Literal["maximize", "minimize"] = "maximize") -> Study:
    return optuna.create_study(direction=direction, sampler=optuna.samplers.RandomSampler(seed=0))


@pytest.mark.parametrize(("objective", "sign"), [("val_accuracy", 1), ("val_loss", -1)])
def test_heads_of_every_variant_come_first_then_the_best_two_are_fine_tuned(objective: str, sign: int) -> None:
    study, config = _study("maximize" if sign > 0 else "minimize"), _config(n_trials=12, objective=objective)
    of_variant = dict(zip(VARIANTS, (0.5, 0.7, 0.6), strict=True))
    heads = [_run(study, config, sign * (of_variant[VARIANTS[number % 3]] + number / 100)) for number in range(6)]
    assert all(head["freeze_backbone"] for head in heads)
    assert [head["variant"] for head in heads] == [*VARIANTS, *VARIANTS]
    assert not any({"augment", "unfreeze_from", "unfreeze_lr_factor"} & head.keys() for head in heads)
    tuned = [_run(study, config, sign * 0.8) for _ in range(6)]
    assert not any(trial["freeze_backbone"] for trial in tuned)
    assert [trial["variant"] for trial in tuned] == ["resnet18_vd", "resnet34"] * 3
    best = heads[4]  # of resnet18_vd
    assert {name: tuned[0][name] for name in best if name != "freeze_backbone"} == {
        name: best[name] for name in best if name != "freeze_backbone"
    }
    assert [trial["unfreeze_lr_factor"] for trial in tuned[:2]] == [config.unfreeze_lr_factor, 1.0]
    assert tuned[0]["augment"] == config.augment


def test_what_failed_or_was_a_repetition_is_made_up_for() -> None:
    study, config = _study(), _config(head_trials=3)
    assert _run(study, config, None)["variant"] == "resnet18"
    assert _run(study, config, 0.5)["variant"] == "resnet18"
    study.add_trial(
        optuna.trial.create_trial(
            state=optuna.trial.TrialState.FAIL, user_attrs={REPEAT_OF: 1}, system_attrs={"fixed_params": {"x": 1}}
        )
    )
    assert [_run(study, config, 0.5)["variant"] for _ in range(3)] == ["resnet18_vd", "resnet34", "resnet18"]


def test_where_no_head_is_complete_all_variants_are_fine_tuned() -> None:
    assert best_variants([], VARIANTS) == list(VARIANTS)


def test_a_head_is_trained_on_photos_as_they_are_and_a_fine_tuning_in_two_phases() -> None:
    study, config = _study(), _config(vertical_flip=True, start_size=96)
    for wanted in (True, False):
        study.enqueue_trial({"freeze_backbone": wanted, "variant": "resnet18"})
        training = studies.suggest(study.ask(), config)
        assert training.freeze_backbone == wanted
        assert (training.augment == "none") == wanted
        assert (training.head_epochs, training.start_size, training.vertical_flip) == (
            (0, 0, False) if wanted else (2, 96, True)
        )


def test_only_a_search_that_begins_with_heads_has_another_space() -> None:
    assert "freeze_backbone" in space_of(_config()).dimensions
    for flags in ({"head_trials": 0}, {"freeze_backbone": True, "head_epochs": 0}, {"weights": "none"}):
        assert "freeze_backbone" not in space_of(_config(**flags)).dimensions
    before = studies.study_name(_config(head_trials=0), "digest")
    assert before == studies.study_name(_config(head_trials=0, n_trials=30), "digest")
    assert before != studies.study_name(_config(), "digest")


def _expected(config: TuneConfig, photos: int) -> float:
    expected = expected_parts(config, photos, photos // 10, MachineSpeed(100.0))
    return expected.total(config) if expected else 0.0


def test_the_plan_says_what_comes_and_how_long_it_may_take() -> None:
    config = _config()
    assert describe_plan(config) == (
        "plan: 6 heads on features of resnet18, resnet18_vd, resnet34 at 160 px, then 6 fine-tuning trials of "
        "8 epochs with the best 2, then 2 of them trained again for 20 epochs"
    )
    assert describe_plan(TuneConfig(weights="none", confirm_top_k=0)) == "plan: 12 trials of 16 epochs at 64 px"
    costs = [
        _expected(_config(**flags), photos)
        for photos, flags in [
            (100, {"freeze_backbone": True, "head_epochs": 0}), (100, {}), (3000, {}), (3000, {"n_trials": 40}),
        ]
    ]  # fmt: skip
    assert costs == sorted(costs)
    assert costs[-1] > 3 * costs[1]


def test_time_left_is_said_once_a_trial_of_each_kind_has_ended() -> None:
    study, config = _study(), _config(head_trials=2, n_trials=4, confirm_top_k=0)
    for head in (True, True, False):
        assert seconds_left(study, config) is None
        _run(study, config, 0.5)
        assert is_head(study.trials[-1]) == head
    assert (seconds_left(study, config) or 0) < 5


@pytest.mark.slow
def test_a_search_on_presets_compares_heads_fine_tunes_and_registers(
    project: Path, photo_folder: Path, fork_in: RunIn
) -> None:
    for seed, variant in enumerate(("resnet18", "resnet18_vd")):
        save_small_preset(project / DATA_FOLDER / "weights" / variant, seed, variant)
    flags = (
        f"--data={photo_folder}", "--image_size=32", "--epochs=4", "--batch_size=8", "--warmup_epochs=0.5",
        "--n_trials=6", "--confirm_top_k=1", "--confirm_epochs_factor=1",
    )  # fmt: skip
    printed = fork_in(project, "tune", *flags, **SMALL).stdout
    assert (
        "plan: 3 heads on features of resnet18, resnet18_vd at 32 px, then 3 fine-tuning trials of 4 epochs" in printed
    )
    assert "resnet18_v2 is not tried" in printed
    client = MlflowClient(tracking_uri=f"sqlite:///{project / 'mlflow.db'}")
    runs = client.search_runs(["0"], order_by=["attributes.start_time ASC"])
    trials = [run for run in runs if run.data.tags["stage"] == "trial"]
    params = pd.DataFrame([run.data.params for run in trials])
    assert list(params["freeze_backbone"]) == ["true"] * 3 + ["false"] * 3
    assert list(params["head_epochs"]) == ["0"] * 3 + ["1"] * 3
    assert set(params["variant"]) == {"resnet18", "resnet18_vd"}
    assert all(run.data.tags["weights_sha256"] for run in trials)
    (search,) = [run for run in runs if run.data.tags["stage"] == "tune"]
    assert {name: search.data.params[name] for name in ("head_trials", "head_epochs", "weights")} == {
        "head_trials": "3", "head_epochs": "1", "weights": "auto",
    }  # fmt: skip
    assert int(client.get_model_version_by_alias("flower-classifier", "challenger").version) == 1
    again = fork_in(project, "tune", *flags, **SMALL).stdout
    assert "6 of 6 trials are finished" in again
    assert len(client.search_runs(["0"], "tags.stage = 'trial'")) == 6
    more = fork_in(project, "tune", *flags, "--n_trials=8", **SMALL).stdout
    assert "6 of 8 trials are finished" in more
    assert "8/8 trials" in more
