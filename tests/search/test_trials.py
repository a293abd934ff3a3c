"""What happens after the search: which configs are trained again, which of them wins, and what pruning has cost."""

from __future__ import annotations

import json
import math
from itertools import starmap
from pathlib import Path
from types import SimpleNamespace
from typing import Any, Literal

import numpy as np
import optuna
import pytest
from mlflow import MlflowClient
from optuna.study import Study

from pipeline import tracking
from pipeline.config import OBJECTIVES, TuneConfig, UserError
from pipeline.data.store.store import prepared_store
from pipeline.search import study as studies
from pipeline.search import trials, tune
from pipeline.search.confirmations import (
    Confirmation,
    Retraining,
    Winner,
    describe_audit,
    lost_retrainings,
    pick_winner,
    prune_regret,
    retrain,
    select_audits,
    select_confirmations,
    why_unconfirmed,
)
from pipeline.search.progress import trial_line
from pipeline.search.trial_record import has_diverged


def _study(*values: float | None, direction: Literal["maximize", "minimize"] = "maximize") -> Study:
    study = optuna.create_study(direction=direction)
    for number, value in enumerate(values):
        state = optuna.trial.TrialState.PRUNED if value is None else optuna.trial.TrialState.COMPLETE
        attributes = {"run_id": f"run{number}", "model_uri": f"model{number}"}
        study.add_trial(optuna.trial.create_trial(value=value, state=state, user_attrs=attributes))
    return study


def _config(**changes: object) -> TuneConfig:
    return TuneConfig(**{"weights": "none", "seed": 5} | changes)


@pytest.mark.parametrize(
    ("top", "seeds", "wanted"),
    [(2, 1, [(3, 6), (0, 6)]), (1, 3, [(3, 6), (3, 7), (3, 8)]), (0, 2, []), (9, 1, [(3, 6), (0, 6), (2, 6)])],
)
def test_the_best_complete_trials_are_confirmed_with_seeds_that_the_search_never_used(
    top: int, seeds: int, wanted: list[tuple[int, int]]
) -> None:
    jobs = select_confirmations(_config(confirm_top_k=top, confirm_seeds=seeds), _study(0.7, None, 0.6, 0.8))
    assert [(again.trial, again.seed) for again in jobs] == wanted
    assert {(again.stage, again.epochs) for again in jobs} <= {("confirm", 40)}


def test_where_a_confirmation_diverged_the_next_best_takes_its_place() -> None:
    study, config = _study(0.7, None, 0.6, 0.8), _config(confirm_top_k=2, confirm_seeds=2)
    lost = {Retraining("confirm", 3, 7, 40), Retraining("audit", 0, 5, 16)}
    assert [(again.trial, again.seed) for again in select_confirmations(config, study, lost)] == [
        (0, 6), (0, 7), (2, 6), (2, 7),
    ]  # fmt: skip
    all_lost = {Retraining("confirm", trial, 6, 40) for trial in range(4)}
    assert select_confirmations(config, study, all_lost) == []


def test_a_search_without_confirmations_knows_why() -> None:
    study, config = _study(0.7, 0.6), _config(confirm_top_k=1)
    lost = {Retraining("confirm", trial, 6, 40) for trial in range(2)}
    assert why_unconfirmed(_config(confirm_top_k=0), study, ()) == "none was asked for (confirm_top_k=0)"
    assert why_unconfirmed(config, study, lost) == "of 2 that were begun, all diverged (lower the learning rates)"
    no_time = "there was no time left to finish one (raise timeout_s or lower epochs)"
    assert why_unconfirmed(config, study, {Retraining("audit", 0, 5, 16)}) == no_time
    assert why_unconfirmed(config, study, {Retraining("confirm", 0, 6, 40)}) == f"{no_time}; 1 diverged"


def test_a_search_without_a_complete_trial_has_nothing_to_confirm() -> None:
    with pytest.raises(UserError, match=r"at least one complete trial, got none .*\(.*n_trials\)"):
        select_confirmations(_config(), _study(None, None))


CONFIRMED = [(3, 6, 0.71), (3, 7, 0.73), (0, 6, 0.60), (0, 7, 0.90)]


def _confirmation(trial: int, seed: int, accuracy: float) -> Confirmation:
    return Confirmation(trial, seed, accuracy, f"{trial}-{seed}", f"m{trial}-{seed}")


@pytest.mark.parametrize(
    ("confirmed", "winner", "words"),
    [
        (CONFIRMED, Winner(0, 0.75, 0.2121, 2, "0-7", "m0-7"), "0.7500 ± 0.2121 (mean and standard deviation of 2"),
        (CONFIRMED[:3], Winner(3, 0.72, 0.0141, 2, "3-7", "m3-7"), "0.7200 ± 0.0141"),
        ([(0, 6, 0.5), (3, 6, 0.5)], Winner(3, 0.5, math.nan, 1, "3-6", "m3-6"), "0.5000 (one fresh seed"),
        ([], Winner(3, 0.8, math.nan, 0, "run3", "model3"), "0.8000 (in the search"),
    ],
)
def test_the_best_mean_over_seeds_wins_and_the_search_breaks_a_tie(
    confirmed: list[tuple[int, int, float]], winner: Winner, words: str
) -> None:
    found = pick_winner(_study(0.7, None, 0.6, 0.8), list(starmap(_confirmation, confirmed)))
    assert found._replace(value=0, spread=0) == winner._replace(value=0, spread=0)
    assert found.value == pytest.approx(winner.value)
    assert found.spread == pytest.approx(winner.spread, abs=1e-4, nan_ok=True)
    assert found.description.startswith(words)


def test_the_audit_is_a_sample_of_the_pruned_trials_that_stays_the_same_as_the_search_grows() -> None:
    study = _study(0.7, None, None, 0.8, None, None)
    assert select_audits(_config(), study) == []
    sample = select_audits(_config(prune_audit=2), study)
    assert len(sample) == 2
    assert {again.trial for again in sample} < {1, 2, 4, 5}
    assert {(again.stage, again.seed, again.epochs) for again in sample} == {("audit", 5, 16)}
    assert select_audits(_config(prune_audit=3), study)[:2] == sample
    assert len(select_audits(_config(prune_audit=9), study)) == 4


@pytest.mark.parametrize(("audited", "regret"), [([0.79, 0.7], -0.01), ([0.7, 0.85], 0.05)])
def test_the_regret_compares_the_best_audited_trial_with_the_best_of_the_search(
    audited: list[float], regret: float
) -> None:
    audits = [Retraining("audit", number, 0, 16) for number in range(len(audited))]
    found = [_confirmation(again.trial, 0, value) for again, value in zip(audits, audited, strict=True)]
    assert prune_regret(_study(0.7, None, 0.8), found) == pytest.approx(regret)


def test_of_a_loss_the_lowest_is_confirmed_and_wins_and_is_what_pruning_is_held_against() -> None:
    study = _study(0.7, None, 0.6, 0.8, direction="minimize")
    assert [again.trial for again in select_confirmations(_config(confirm_top_k=2), study)] == [2, 0]
    found = [_confirmation(*each) for each in ((2, 6, 0.5), (2, 7, 0.4), (0, 6, 0.3), (0, 7, 0.7))]
    winner = pick_winner(study, found)
    assert (winner.trial, winner.value, winner.run_id) == (2, pytest.approx(0.45), "2-7")
    assert pick_winner(study, []).trial == 2
    audits = [_confirmation(1, 0, 0.55), _confirmation(4, 0, 0.9)]
    assert prune_regret(study, audits) == pytest.approx(0.05)
    assert "trial 1 with val_loss 0.5500, 0.0500 better than" in describe_audit(study, audits, "val_loss")


@pytest.mark.parametrize(
    ("objective", "baseline", "answer"),
    [
        ("val_accuracy", 0.6, "always answering b, the largest class: val_accuracy 0.6000"),
        ("val_balanced_accuracy", 0.5, "always answering b, the largest class: val_balanced_accuracy 0.5000"),
        ("val_macro_f1", 0.375, "always answering b, the largest class: val_macro_f1 0.3750"),
        ("val_loss", 0.673, "giving each class its share of the photos: val_loss 0.6730"),
    ],
)
def test_a_winner_is_held_against_the_best_single_answer_of_its_objective(
    objective: str, baseline: float, answer: str
) -> None:
    labels = np.array([0, 0, 1, 1, 1])
    store: Any = SimpleNamespace(labels=lambda _: labels, class_names=("a", "b"))
    for better, said in ((-0.01, 1), (0.01, 0)):
        value = baseline - better if objective == "val_loss" else baseline + better
        lines: list[str] = []
        tune._report_baseline(Winner(0, value, math.nan, 0, "", ""), store, OBJECTIVES[objective], lines.append)
        assert len(lines) == said
        assert all(answer in line for line in lines)


def test_variants_without_imagenet_weights_are_left_out_where_those_are_wanted(
    capsys: pytest.CaptureFixture[str],
) -> None:
    assert tune._with_known_weights(_config()) == _config()
    kept = tune._with_known_weights(_config(weights="imagenet"))
    assert kept.variants == ("resnet18", "resnet18_vd")
    assert capsys.readouterr().out == "variant resnet18_v2 is not tried: it has no ImageNet weights\n"
    with pytest.raises(UserError, match=r"weights=imagenet .*resnet50_v2.*got variants=resnet18_v2,resnet34"):
        tune._with_known_weights(_config(weights="imagenet", variants="resnet18_v2,resnet34"))


@pytest.mark.usefixtures("small_net")
@pytest.mark.parametrize("pruner", ["percentile", "median"])
def test_a_trial_that_lags_behind_is_pruned(
    pruner: str, tracking_store: MlflowClient, photo_folder: Path, tmp_path: Path
) -> None:
    epochs = 8
    config = TuneConfig(
        weights="none",
        data=str(photo_folder), image_size=32, epochs=epochs, warmup_epochs=0, batch_size=8, variants="resnet18",
        pruner=pruner, storage=f"sqlite:///{tmp_path}/optuna.db",
    )  # fmt: skip
    study = studies.open_study(config, prepared_store(config.data_config()).digest)
    perfect = dict.fromkeys(range(1, epochs + 1), 1.01)
    for _ in range(9):
        study.add_trial(optuna.trial.create_trial(value=1.01, intermediate_values=perfect))
    with tracking.run("tune", "a search", config) as parent:
        done = trials.run_trial(config, parent, math.inf, 0)
    assert done is not None
    assert done.state == "pruned"
    assert study.trials[-1].state.name == "PRUNED"
    assert 0 < len(study.trials[-1].intermediate_values) < epochs
    (run,) = tracking_store.search_runs(["0"], "tags.stage = 'trial'")
    assert (run.info.status, run.data.tags["trial_state"]) == ("FINISHED", "pruned")


def _diverging_config(photo_folder: Path, tmp_path: Path, **flags: object) -> TuneConfig:
    return TuneConfig(
        **{
            "weights": "none", "data": str(photo_folder), "image_size": 32, "epochs": 1, "warmup_epochs": 0,
            "batch_size": 8, "variants": "resnet18", "storage": f"sqlite:///{tmp_path}/optuna.db",
        }
        | flags
    )  # fmt: skip


@pytest.mark.usefixtures("small_net")
def test_a_trial_that_diverges_is_told_to_the_sampler_as_pruned(
    tracking_store: MlflowClient, photo_folder: Path, tmp_path: Path
) -> None:
    config = _diverging_config(photo_folder, tmp_path, space=json.dumps({"learning_rate": 1e30, "optimizer": "sgd"}))
    study = studies.open_study(config, prepared_store(config.data_config()).digest)
    with tracking.run("tune", "a search", config) as parent:
        done = trials.run_trial(config, parent, math.inf, 0)
    assert done is not None
    assert done.best is None
    assert "diverged" in trial_line(done, study, config)
    assert study.trials[-1].state.name == "PRUNED"
    assert has_diverged(study.trials[-1])
    assert studies.trial_counts(study) == (1, 0, 0)
    (run,) = tracking_store.search_runs(["0"], "tags.stage = 'trial'")
    assert (run.info.status, run.data.tags["trial_state"]) == ("FINISHED", "diverged")
    assert "learning_rate=1e" in run.data.tags["mlflow.note.content"]
    with pytest.raises(UserError, match=r"none in study .* \(1 of 1 diverged: lower learning_rate"):
        select_confirmations(config, study)


@pytest.mark.usefixtures("small_net")
def test_a_confirmation_that_diverges_is_lost_and_not_tried_again(
    tracking_store: MlflowClient, photo_folder: Path, tmp_path: Path
) -> None:
    config = _diverging_config(photo_folder, tmp_path, confirm_epochs_factor=1)
    store = prepared_store(config.data_config())
    study = studies.open_study(config, store.digest)
    diverging = config.train_config(learning_rate=1e30, optimizer="sgd").model_dump(mode="json")
    attributes = {"config": diverging, "run_id": "run", "model_uri": ""}
    study.add_trial(optuna.trial.create_trial(value=0.9, user_attrs=attributes))
    (again,) = select_confirmations(config, study)
    with tracking.run("tune", "a search", config) as parent:
        done = [retrain(config, parent, again) for _ in range(2)]
    assert [ended and ended.best for ended in done] == [None, None]
    assert done[0] is not None
    assert done[1] is None
    assert lost_retrainings(config, study) == {again}
    assert select_confirmations(config, study, lost_retrainings(config, study)) == []


@pytest.mark.usefixtures("small_net")
def test_a_config_that_was_tried_is_not_trained_again_and_a_space_that_is_used_up_ends_the_search(
    tracking_store: MlflowClient, photo_folder: Path, tmp_path: Path
) -> None:
    fixed = dict.fromkeys(("learning_rate_factor", "weight_decay_factor", "lr_decay"), 0.1)
    config = TuneConfig(
        weights="none",
        data=str(photo_folder), image_size=32, epochs=1, warmup_epochs=0, batch_size=8, variants="resnet18", n_trials=9,
        storage=f"sqlite:///{tmp_path}/optuna.db",
        space=json.dumps(fixed | {"lr_schedule": "cosine", "augment": "none", "optimizer": ["sgd", "adamw"]}),
    )  # fmt: skip
    study = studies.open_study(config, prepared_store(config.data_config()).digest)
    for _ in range(2):
        study.enqueue_trial({"optimizer": "sgd"})
    with tracking.run("tune", "a search", config) as parent:
        done = [trials.run_trial(config, parent, math.inf, number) for number in range(3)]
    assert [trial and trial.config.optimizer for trial in done] == ["sgd", "adamw", None]
    states = {trial.number: trial.state.name for trial in study.trials}
    assert states == {0: "COMPLETE", 1: "FAIL", 2: "COMPLETE"}
    assert study.trials[1].user_attrs["repeat_of"] == 0
    assert studies.trial_counts(study) == (2, 0, 0)
    stages = [run.data.tags["stage"] for run in tracking_store.search_runs(["0"])]
    assert sorted(stages) == ["trial", "trial", "tune"]


@pytest.mark.usefixtures("small_net")
def test_a_search_for_a_loss_tells_keeps_and_confirms_by_it(
    tracking_store: MlflowClient, photo_folder: Path, tmp_path: Path
) -> None:
    """Over class weights: what weighs classes is not what trials are compared by."""
    space = {"learning_rate": 0.003, "weight_decay": 0.01, "lr_decay": 0.1, "lr_schedule": "cosine"}
    space |= {"augment": "none", "optimizer": "adamw", "class_weights": ["none", "balanced", "effective"]}
    config = TuneConfig(
        weights="none",
        data=str(photo_folder), image_size=32, epochs=2, batch_size=8, variants="resnet18", confirm_top_k=1,
        objective="val_loss", storage=f"sqlite:///{tmp_path}/optuna.db", space=json.dumps(space), val_fraction=0.3,
    )  # fmt: skip
    study = studies.open_study(config, prepared_store(config.data_config()).digest)
    with tracking.run("tune", "a search", config) as parent:
        done = [trials.run_trial(config, parent, math.inf, number) for number in range(4)]
        again = retrain(config, parent, select_confirmations(config, study)[0])
    assert {trial.config.class_weights for trial in done if trial} == {"none", "balanced", "effective"}
    runs = {run.info.run_id: run.data for run in tracking_store.search_runs(["0"])}
    for trial in study.trials:
        metrics = runs[trial.user_attrs["run_id"]].metrics
        assert trial.value == metrics["best_val_loss"] == min(trial.intermediate_values.values())
        assert trial.user_attrs["result"]["val_accuracy"] == metrics["best_val_accuracy"]
        lower = [other.value for other in study.trials[: trial.number] if (other.value or 0) < trial.value]
        assert bool(trial.user_attrs["model_uri"]) == (not lower)  # of what is the best so far
    best = min(study.trials, key=lambda trial: trial.value or 0)
    assert studies.ranked(study)[0].number == best.number
    assert again
    assert again.config.class_weights == best.params["class_weights"]
    assert again.config.objective == "val_loss"


def test_a_trial_that_is_interrupted_as_it_is_sampled_is_tried_again(
    photo_folder: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    config = TuneConfig(
        weights="none", data=str(photo_folder), image_size=32, storage=f"sqlite:///{tmp_path}/optuna.db"
    )
    study = studies.open_study(config, prepared_store(config.data_config()).digest)

    def interrupt(*_: object) -> None:
        raise KeyboardInterrupt

    monkeypatch.setattr(trials, "_refuse_repetition", interrupt)
    with pytest.raises(KeyboardInterrupt):
        trials.run_trial(config, "", math.inf, 0)
    interrupted, waiting = study.trials
    assert (interrupted.state.name, waiting.state.name) == ("FAIL", "WAITING")
    assert waiting.user_attrs["retry_of"] == interrupted.number
    assert interrupted.params
    assert waiting.system_attrs["fixed_params"] == interrupted.params
