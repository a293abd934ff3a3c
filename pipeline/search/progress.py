"""Progress of a running search: a live table in a terminal (rich), plain lines elsewhere.

It reads only the study, and so it shows the workers of all machines without talking to them.
"""

from __future__ import annotations

import contextlib
import math
import os
import threading
from collections.abc import Callable, Iterator, Sequence
from statistics import median

from optuna.study import Study
from optuna.trial import FrozenTrial, TrialState
from rich.console import Console, Group
from rich.live import Live
from rich.progress_bar import ProgressBar
from rich.table import Table
from rich.text import Text

from pipeline.config import TuneConfig
from pipeline.experiment import describe
from pipeline.search import study as studies
from pipeline.search.time_plan import TimePlan, confirmation_seconds, seconds_left, seconds_of
from pipeline.search.trial_record import CONFIG, FINISHED
from pipeline.search.trials import EndedTrial

RECENT = 5  # trials, by which it is seen whether the search still gets anywhere
BAR_WIDTH = 12
ROWS = 12  # of the table: what runs, and what has ended last
REFRESH_PER_SECOND = 0.5
MINUTE_S, HOUR_S = 60, 3600
COLOURS = {"complete": "green", "pruned": "yellow", "fail": "red", "running": "cyan"}

ReportLine = Callable[[str], None]


@contextlib.contextmanager
def show_progress(
    study: Study, config: TuneConfig, plan: TimePlan | None = None, console: Console | None = None
) -> Iterator[ReportLine]:
    """Show the search while the block runs, and yield a function that shows a line meanwhile."""
    console = console or Console()
    if not console.is_terminal:
        yield lambda line: print(line, flush=True)
        return
    view = _LiveView(study, config, plan)
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

    def __init__(self, study: Study, config: TuneConfig, plan: TimePlan | None) -> None:
        self._study, self._config, self._plan, self._last = study, config, plan, Group()
        self._lock = threading.Lock()  # rich asks from its own thread, and from the one that prints

    def render(self) -> Group:
        with self._lock, contextlib.suppress(Exception):  # a storage that is away for a moment must not end the search
            state = summary_line(self._study, self._config, self._plan)
            self._last = Group(search_table(self._study, self._config), Text(state))
        return self._last


def search_table(study: Study, config: TuneConfig) -> Table:
    """Return a table of the running trials and of those that ended last."""
    begun = [trial for trial in study.get_trials(deepcopy=False) if CONFIG in trial.user_attrs]
    latest = sorted(begun, key=lambda trial: (trial.state == TrialState.RUNNING, trial.number))[-ROWS:]
    table = Table(
        "trial",
        "state",
        "variant",
        "augment",
        "optimizer",
        "learning rate",
        "epoch",
        "",
        config.objective,
        "time",
        "left",
    )
    usual = [seconds_of(trial) for trial in begun if trial.state == TrialState.COMPLETE]
    for trial in sorted(latest, key=lambda trial: trial.number):
        wanted, values = trial.user_attrs[CONFIG], trial.intermediate_values
        state, runs = trial.state.name.lower(), trial.state == TrialState.RUNNING
        done = _share_done(trial, config.epochs, usual)
        table.add_row(
            str(trial.number),
            Text(state, style=COLOURS.get(state, "")),
            *(wanted[name] for name in ("variant", "augment", "optimizer")),
            f"{wanted['learning_rate']:.1e}",
            f"{max(values, default=0)}/{config.epochs}",
            ProgressBar(total=1.0, completed=done, width=BAR_WIDTH) if runs else "",
            f"{max(values.values(), key=config.judged_by.score):.4f}" if values else "",
            format_duration(seconds_of(trial)),
            format_duration(seconds_of(trial) * (1 - done) / done) if runs and done else "",
        )
    return table


def _share_done(trial: FrozenTrial, epochs: int, usual: Sequence[float]) -> float:
    """Return what of a running trial is done: its epochs, and by the ``usual`` seconds what of the next one."""
    finished = max(trial.intermediate_values, default=0)
    by_time = epochs * seconds_of(trial) / median(usual) if usual else 0.0
    return min(max(finished, min(by_time, finished + 1)) / epochs, 1.0)


def summary_line(study: Study, config: TuneConfig, plan: TimePlan | None = None) -> str:
    """Return the state of the search in one line."""
    finished, running, failed = studies.trial_counts(study)
    best = next(iter(studies.ranked(study)), None)
    pruned = len(study.get_trials(deepcopy=False, states=(TrialState.PRUNED,)))
    left, goal = seconds_left(study, config, plan), studies.trial_goal(config)
    again = plan.confirmation_seconds() if plan else confirmation_seconds(study, config)
    parts = [
        f"{finished}/{goal:.0f} trials" if math.isfinite(goal) else f"{finished} trial{'s' * (finished != 1)}",
        f"best {best.value:.4f} (trial {best.number}{_improvement(study)})" if best else "none complete yet",
        *(f"{count} {what}" for count, what in ((pruned, "pruned"), (failed, "failed"), (running, "running")) if count),
        f"about {format_duration(left)} left" if left else "",
        f"{format_duration(min(left, again))} of that for confirmations" if left and again else "",
    ]
    return ", ".join(part for part in parts if part)


def _improvement(study: Study) -> str:
    """Return by how much the last trials have improved the best value; nothing where no trial came before them."""
    ended = study.get_trials(deepcopy=False, states=FINISHED)
    complete = [trial for trial in ended if trial.state == TrialState.COMPLETE]
    before = [studies.score_of(study, trial.value or 0.0) for trial in complete if trial in ended[:-RECENT]]
    if not before:
        return ""
    gain = max(studies.score_of(study, trial.value or 0.0) for trial in complete) - max(before)
    return f", {gain:+.4f} in the last {RECENT}"


def trial_line(ended: EndedTrial, study: Study, config: TuneConfig, plan: TimePlan | None = None) -> str:
    """Return one line on a trial that has ended and on the state of the search."""
    of = config.objective
    best = f"{of} {getattr(ended.best, of):.4f} at epoch {ended.best.epoch:<3}" if ended.best else ""
    return (
        f"trial {ended.trial:>3}  {describe(ended.config):<50}  {best} {ended.state:<8} in "
        f"{format_duration(ended.seconds)}; {summary_line(study, config, plan)}"
    )


def format_duration(seconds: float) -> str:
    """Format a duration for people, such as ``48 s``, ``7 min`` or ``2.5 h``."""
    if seconds < 2 * MINUTE_S:
        return f"{seconds:.0f} s"
    return f"{seconds / MINUTE_S:.0f} min" if seconds < 2 * HOUR_S else f"{seconds / HOUR_S:.1f} h"
