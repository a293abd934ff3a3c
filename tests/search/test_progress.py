"""How a search is shown: a live table in a terminal, lines elsewhere, and how much time is left."""

from __future__ import annotations

import io
from datetime import datetime, timedelta

import optuna
import pytest
from optuna.study import Study
from optuna.trial import TrialState, create_trial
from rich.console import Console

from pipeline.config import TrainConfig, TuneConfig
from pipeline.search import progress

CONFIG = TuneConfig(weights="none", n_trials=6, confirm_top_k=1, confirm_seeds=2, confirm_epochs_factor=2, epochs=8)


def _study(*trials: tuple[TrialState, float]) -> Study:
    """A study of trials that took so many seconds, each with two epochs behind it."""
    study = optuna.create_study(direction="maximize")
    for place, (state, seconds) in enumerate(trials):
        value = 0.5 + place / 10 if state == TrialState.COMPLETE else None
        attributes = {"config": TrainConfig(weights="none", learning_rate=0.02).model_dump(mode="json")}
        trial = create_trial(state=state, value=value, user_attrs=attributes, intermediate_values={1: 0.4, 2: 0.45})
        trial.datetime_start = datetime.now() - timedelta(seconds=seconds)
        trial.datetime_complete = None if state == TrialState.RUNNING else datetime.now()
        study.add_trial(trial)
    return study


COMPLETE, PRUNED, FAIL, RUNNING = TrialState.COMPLETE, TrialState.PRUNED, TrialState.FAIL, TrialState.RUNNING


def test_where_the_search_stands_is_a_line() -> None:
    study = _study((COMPLETE, 60), (PRUNED, 20), (FAIL, 5), (RUNNING, 10), (COMPLETE, 60))
    said = progress.summary_line(study, CONFIG)
    assert said.startswith("3/6 trials, best 0.9000 (trial 4), 1 pruned, 1 failed, 1 running, about ")
    assert progress.summary_line(_study(), CONFIG) == "0/6 trials, none complete yet"


@pytest.mark.parametrize(
    ("trials", "workers", "seconds"),
    [
        ([(COMPLETE, 60), (COMPLETE, 60), (COMPLETE, 60)], 1, 3 * 60 + 4 * 60),
        ([(COMPLETE, 60), (COMPLETE, 60), (COMPLETE, 60)], 2, (3 * 60 + 4 * 60) / 2),
        ([(COMPLETE, 60), (PRUNED, 20), (PRUNED, 20)], 1, 3 * 20 + 4 * 60),  # a confirmation is not pruned
        ([(COMPLETE, 60), (RUNNING, 45)], 1, 5 * 60 - 45 + 4 * 60),
        ([(COMPLETE, 60), (RUNNING, 900)], 1, 4 * 60 + 4 * 60),
        ([(COMPLETE, 60)] * 6, 1, 4 * 60),
    ],
)
def test_the_time_left_follows_from_the_median_trial(
    trials: list[tuple[TrialState, float]], workers: int, seconds: float
) -> None:
    config = CONFIG.model_copy(update={"workers": workers})
    assert progress.seconds_left(_study(*trials), config) == pytest.approx(seconds, abs=1)


def test_before_the_first_trial_has_ended_nothing_is_known_of_the_time() -> None:
    assert progress.seconds_left(_study((RUNNING, 10), (FAIL, 3)), CONFIG) is None


@pytest.mark.parametrize(("seconds", "words"), [(48, "48 s"), (119, "119 s"), (420, "7 min"), (9000, "2.5 h")])
def test_durations_are_written_as_a_reader_wants_them(seconds: float, words: str) -> None:
    assert progress.format_duration(seconds) == words


def test_a_terminal_shows_a_table_and_keeps_the_lines() -> None:
    screen = Console(file=io.StringIO(), force_terminal=True, width=140, height=40)
    with progress.show_progress(_study((COMPLETE, 60), (RUNNING, 10)), CONFIG, console=screen) as report_line:
        report_line("a trial failed: [no markup]")
    shown = screen.file.getvalue()  # type: ignore[attr-defined]
    for words in ("val_accuracy", "resnet18", "2.0e-02", "2/8", "running", "1/6 trials", "a trial failed: [no markup]"):
        assert words in shown, words


def test_elsewhere_there_are_lines_alone(capsys: pytest.CaptureFixture[str]) -> None:
    with progress.show_progress(_study((COMPLETE, 60)), CONFIG, console=Console(file=io.StringIO())) as report_line:
        report_line("trial 3 has ended")
    assert capsys.readouterr().out == "trial 3 has ended\n"


def test_a_storage_that_is_away_for_a_moment_does_not_end_the_search(monkeypatch: pytest.MonkeyPatch) -> None:
    def fail(*_: object) -> None:
        raise ConnectionError

    screen = Console(file=io.StringIO(), force_terminal=True, width=140, height=40)
    monkeypatch.setattr(progress, "search_table", fail)
    with progress.show_progress(_study((COMPLETE, 60)), CONFIG, console=screen) as report_line:
        report_line("still here")
    assert "still here" in screen.file.getvalue()  # type: ignore[attr-defined]
