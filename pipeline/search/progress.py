"""Progress of a running search: a live table in a terminal (rich), plain lines elsewhere.

It reads only the study, and so it shows the workers of all machines without talking to them.
"""

from __future__ import annotations

import contextlib
import os
import threading
from collections.abc import Callable, Iterator
from datetime import datetime
from statistics import median

from optuna.study import Study
from optuna.trial import FrozenTrial, TrialState
from rich.console import Console, Group
from rich.live import Live
from rich.table import Table
from rich.text import Text

from pipeline.config import TuneConfig
from pipeline.experiment import describe
from pipeline.search import study as studies
from pipeline.search.plan import is_head
from pipeline.search.space_file import HEADS_FIRST_MODE, mode_of
from pipeline.search.trial_record import CONFIG, FINISHED
from pipeline.search.trials import EndedTrial

ROWS = 12  # of the table: what runs, and what has ended last
REFRESH_PER_SECOND = 0.5
MINUTE_S, HOUR_S = 60, 3600
COLOURS = {"complete": "green", "pruned": "yellow", "fail": "red", "running": "cyan"}

ReportLine = Callable[[str], None]


@contextlib.contextmanager
def show_progress(study: Study, config: TuneConfig, console: Console | None = None) -> Iterator[ReportLine]:
    """Show the search while the block runs, and yield a function that shows a line meanwhile."""
    console = console or Console()
    if not console.is_terminal:
        yield lambda line: print(line, flush=True)
        return
    view = _LiveView(study, config)
    before = os.environ.get("TQDM_DISABLE")
    os.environ["TQDM_DISABLE"] = "1"  # the workers' bars would overwrite the table
    try:
        with Live(get_renderable=view.render, console=console, refresh_per_second=REFRESH_PER_SECOND, transient=True):
            yield lambda line: console.print(Text(line))
    finally:
        os.environ.pop("TQDM_DISABLE")
        if before is not None:
            os.environ["TQDM_DISABLE"] = before


class _LiveView:
    """The live table; it keeps its last state while the study cannot be read."""

    def __init__(self, study: Study, config: TuneConfig) -> None:
        self._study, self._config, self._last = study, config, Group()
        self._lock = threading.Lock()  # rich asks from its own thread, and from the one that prints

    def render(self) -> Group:
        with self._lock, contextlib.suppress(Exception):  # a storage that is away for a moment must not end the search
            self._last = Group(search_table(self._study, self._config), Text(summary_line(self._study, self._config)))
        return self._last


def search_table(study: Study, config: TuneConfig) -> Table:
    """Return a table of the running trials and of those that ended last."""
    begun = [trial for trial in study.get_trials(deepcopy=False) if CONFIG in trial.user_attrs]
    latest = sorted(begun, key=lambda trial: (trial.state == TrialState.RUNNING, trial.number))[-ROWS:]
    table = Table(
        "trial", "state", "variant", "augment", "optimizer", "learning rate", "epoch", config.objective, "time"
    )
    for trial in sorted(latest, key=lambda trial: trial.number):
        wanted, values = trial.user_attrs[CONFIG], trial.intermediate_values
        state = trial.state.name.lower()
        table.add_row(
            str(trial.number),
            Text(state, style=COLOURS.get(state, "")),
            *(wanted[name] for name in ("variant", "augment", "optimizer")),
            f"{wanted['learning_rate']:.1e}",
            f"{max(values, default=0)}/{config.epochs}",
            f"{max(values.values(), key=config.judged_by.score):.4f}" if values else "",
            format_duration(_seconds(trial)),
        )
    return table


def summary_line(study: Study, config: TuneConfig) -> str:
    """Return the state of the search in one line."""
    finished, running, failed = studies.trial_counts(study)
    best = next(iter(studies.ranked(study)), None)
    pruned = len(study.get_trials(deepcopy=False, states=(TrialState.PRUNED,)))
    left = seconds_left(study, config)
    parts = [
        f"{finished}/{studies.trial_goal(config)} trials",
        f"best {best.value:.4f} (trial {best.number})" if best else "none complete yet",
        f"{pruned} pruned",
        f"{failed} failed",
        f"{running} running",
        f"about {format_duration(left)} left" if left else "",
    ]
    return ", ".join(part for part in parts if part)


def seconds_left(study: Study, config: TuneConfig) -> float | None:
    """Estimate the seconds left for missing trials and confirmations; None before a trial of each missing kind ends.

    From the median time of the finished trials of a kind, which are heads or the others; a confirmation takes as much
    longer as it has more epochs.
    """
    trials = study.get_trials(deepcopy=False)
    goal = studies.trial_goal(config)
    heads = min(config.head_trials, goal) if mode_of(config) == HEADS_FIRST_MODE else 0
    left = 0.0
    for of_heads, wanted in ((True, heads), (False, goal - heads)):
        own = [trial for trial in trials if is_head(trial) == of_heads]
        times = [_seconds(trial) for trial in own if trial.state in FINISHED]
        if not times and wanted:
            return None
        if wanted:
            usual = median(times)
            under_way = sum(min(_seconds(trial), usual) for trial in own if trial.state == TrialState.RUNNING)
            left += max(0, wanted - len(times)) * usual - under_way
    full = median([_seconds(trial) for trial in own if trial.state == TrialState.COMPLETE] or times or [0.0])
    again = config.confirm_top_k * config.confirm_seeds * config.confirm_epochs_factor * full
    return max(0.0, (left + again) / config.workers)


def trial_line(ended: EndedTrial, study: Study, config: TuneConfig) -> str:
    """Return one line on a trial that has ended and on the state of the search."""
    of = config.objective
    best = f"{of} {getattr(ended.best, of):.4f} at epoch {ended.best.epoch:<3}" if ended.best else ""
    return (
        f"trial {ended.trial:>3}  {describe(ended.config):<50}  {best} {ended.state:<8} in "
        f"{format_duration(ended.seconds)}; {summary_line(study, config)}"
    )


def format_duration(seconds: float) -> str:
    """Format a duration for people, such as ``48 s``, ``7 min`` or ``2.5 h``."""
    if seconds < 2 * MINUTE_S:
        return f"{seconds:.0f} s"
    return f"{seconds / MINUTE_S:.0f} min" if seconds < 2 * HOUR_S else f"{seconds / HOUR_S:.1f} h"


def _seconds(trial: FrozenTrial) -> float:
    if trial.datetime_start is None:
        return 0.0
    return ((trial.datetime_complete or datetime.now()) - trial.datetime_start).total_seconds()
