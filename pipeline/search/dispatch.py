"""The dispatcher: runs a study's missing trials until none is missing, and recovers those whose process died."""

from __future__ import annotations

import math
import time
from collections.abc import Callable, Iterable
from typing import Any

from optuna.study import Study

from pipeline import tracking
from pipeline.config import TuneConfig, UserError, variables_of
from pipeline.processes import Outcome, run_tasks
from pipeline.search.recovery import settle_trials, start_lock

MOST_FAILURES_IN_A_ROW = 3  # then the fault is not the trial's
WAIT_FOR_OTHERS_S = 5


def run_missing(
    task: Callable[..., Any],
    missing: Callable[[], Iterable[tuple[object, ...]] | None],
    on_value: Callable[[Any], None],
    study: Study,
    config: TuneConfig,
    report_line: Callable[[str], None],
    deadline: Callable[[], float] = lambda: math.inf,
) -> bool:
    """Run ``task`` for every missing job until none is missing; return False if the deadline came first.

    Args:
        task: see `processes.run_tasks`; it returns None where another process is at its work.
        missing: returns the jobs that are left, or None once all is done.
        on_value: called with what a task returns.
        study: whose trials the tasks are.
        config: the search.
        report_line: shows a line to the user.
        deadline: returns a Unix time in seconds; then the tasks that run are interrupted, to go on another time.

    Raises:
        UserError: several tasks in a row failed.
        StoreGone: the MLflow store no longer answers.
    """
    failures, needs = (
        _FailureCounter(report_line, config.workers),
        (config.ray_address, config.devices, variables_of(config.storage)),
    )
    while (jobs := missing()) is not None:
        something_came = False
        for outcome in run_tasks(task, jobs, config.workers, *needs, deadline):
            something_came |= bool(outcome.error or outcome.value)
            if outcome.value:
                on_value(outcome.value)
            failures.count(outcome)
        with start_lock(study, config.storage):
            settle_trials(study, tracking.close_run)
        if time.time() >= deadline():
            return missing() is None
        if not something_came:
            time.sleep(WAIT_FOR_OTHERS_S)  # another process runs what is missing, and may yet fail
    return True


class _FailureCounter:
    """Reports failed trials, and ends a search after too many failures in a row."""

    def __init__(self, report_line: Callable[[str], None], workers: int) -> None:
        self._report_line, self._in_a_row = report_line, 0
        self._most = MOST_FAILURES_IN_A_ROW + workers - 1  # one cause may end the trials of all

    def count(self, outcome: Outcome) -> None:
        self._in_a_row = self._in_a_row + 1 if outcome.error else 0
        if outcome.kind == tracking.StoreGone.__name__:
            raise tracking.StoreGone(outcome.error)
        if outcome.error:
            self._report_line(f"a trial failed: {outcome.error}")
        if self._in_a_row == self._most:
            raise UserError(f"{self._in_a_row} trials in a row failed, the last with: {outcome.error}")
