"""What happens after the search: which configs are trained again, and which of them wins."""

from __future__ import annotations

from itertools import starmap

import optuna
import pytest
from optuna.study import Study

from pipeline.commands import tune
from pipeline.config import TuneConfig, UserError
from pipeline.trials import Confirmation, Winner, pick_winner, to_confirm


def _study(*values: float | None) -> Study:
    study = optuna.create_study(direction="maximize")
    for number, value in enumerate(values):
        state = optuna.trial.TrialState.PRUNED if value is None else optuna.trial.TrialState.COMPLETE
        attributes = {"run_id": f"run{number}", "model_uri": f"model{number}"}
        study.add_trial(optuna.trial.create_trial(value=value, state=state, user_attrs=attributes))
    return study


def _config(**changes: object) -> TuneConfig:
    return TuneConfig(**{"seed": 5} | changes)


@pytest.mark.parametrize(
    ("top", "seeds", "wanted"),
    [(2, 1, [(3, 6), (0, 6)]), (1, 3, [(3, 6), (3, 7), (3, 8)]), (0, 2, []), (9, 1, [(3, 6), (0, 6), (2, 6)])],
)
def test_the_best_complete_trials_are_confirmed_with_seeds_that_the_search_never_used(
    top: int, seeds: int, wanted: list[tuple[int, int]]
) -> None:
    jobs = to_confirm(_config(confirm_top_k=top, confirm_seeds=seeds), _study(0.7, None, 0.6, 0.8))
    assert [(trial.number, seed) for trial, seed in jobs] == wanted


def test_a_search_without_a_complete_trial_has_nothing_to_confirm() -> None:
    with pytest.raises(UserError, match=r"at least one complete trial, got none .*\(.*n_trials\)"):
        to_confirm(_config(), _study(None, None))


CONFIRMED = [(3, 6, 0.71), (3, 7, 0.73), (0, 6, 0.60), (0, 7, 0.90)]


@pytest.mark.parametrize(
    ("confirmed", "winner"),
    [
        (CONFIRMED, Winner(0, 0.75, 2, "0-7", "m0-7")),
        (CONFIRMED[:3], Winner(3, 0.72, 2, "3-7", "m3-7")),
        ([(0, 6, 0.5), (3, 6, 0.5)], Winner(3, 0.5, 1, "3-6", "m3-6")),
        ([], Winner(3, 0.8, 0, "run3", "model3")),
    ],
)
def test_the_best_mean_over_seeds_wins_and_the_search_breaks_a_tie(
    confirmed: list[tuple[int, int, float]], winner: Winner
) -> None:
    def confirmation(trial: int, seed: int, accuracy: float) -> Confirmation:
        return Confirmation(trial, seed, accuracy, f"{trial}-{seed}", f"m{trial}-{seed}")

    found = pick_winner(_study(0.7, None, 0.6, 0.8), list(starmap(confirmation, confirmed)))
    assert found._replace(val_accuracy=0) == winner._replace(val_accuracy=0)
    assert found.val_accuracy == pytest.approx(winner.val_accuracy)


def test_variants_without_imagenet_weights_are_left_out_where_those_are_wanted(
    capsys: pytest.CaptureFixture[str],
) -> None:
    assert tune._with_known_weights(_config()) == _config()
    kept = tune._with_known_weights(_config(weights="imagenet"))
    assert kept.variants == ("resnet18", "resnet18_vd")
    assert capsys.readouterr().out == "variant resnet18_v2 is not tried: it has no ImageNet weights\n"
    with pytest.raises(UserError, match=r"weights=imagenet .*resnet50_v2.*got variants=resnet18_v2,resnet34"):
        tune._with_known_weights(_config(weights="imagenet", variants="resnet18_v2,resnet34"))
