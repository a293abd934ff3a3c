"""Runs what a study lacks until it lacks nothing: failures are made up for, and what dead processes left is settled."""

from __future__ import annotations

import math
import time
from collections.abc import Callable
from typing import Any

from optuna.study import Study

from pipeline.search import recovery as orphans
from pipeline import tracking
from pipeline.config import TuneConfig, UserError, variables_of
from pipeline.processes.pool import Outcome, run_tasks

FAILURES_IN_A_ROW = 3  # then the fault is not the trial's
OTHERS_EVERY_S = 5


def run_missing(
    task: Callable[..., Any],
    missing: Callable[[], list[tuple[object, ...]] | None],
    on_value: Callable[[Any], None],
    study: Study,
    config: TuneConfig,
    say: Callable[[str], None],
    deadline: float = math.inf,
) -> bool:
    """Run ``task`` for all that is missing, again and again; return whether all was done before the deadline.

    Args:
        task: see `workers.run_tasks`; it returns None where another process is at its work.
        missing: returns the jobs that are left, or None once all is done.
        on_value: called with what a task returns.
        study: whose trials the tasks are.
        config: the search.
        say: takes a line for the user.
        deadline: seconds since the epoch; then the tasks that run are interrupted, to go on another time.

    Raises:
        UserError: several tasks in a row failed.
        StoreGone: the MLflow store no longer answers.
    """
    judge, needs = _Judge(say), (config.ray_address, config.devices, variables_of(config.storage))
    while (jobs := missing()) is not None:
        something_came = False
        for outcome in run_tasks(task, jobs, config.workers, *needs, deadline):
            something_came |= bool(outcome.error or outcome.value)
            if outcome.value:
                on_value(outcome.value)
            judge.of(outcome)
        with orphans.start_lock(study, config.storage):
            orphans.settle(study, tracking.close)
        if time.time() >= deadline:
            return missing() is None
        if not something_came:
            time.sleep(OTHERS_EVERY_S)  # another process runs what is missing, and may yet fail
    return True


class _Judge:
    """Says what failed, and ends a search of which nothing succeeds any more."""

    def __init__(self, say: Callable[[str], None]) -> None:
        self._say, self._in_a_row = say, 0

    def of(self, outcome: Outcome) -> None:
        self._in_a_row = self._in_a_row + 1 if outcome.error else 0
        if outcome.kind == tracking.StoreGone.__name__:
            raise tracking.StoreGone(outcome.error)
        if outcome.error:
            self._say(f"a trial failed: {outcome.error}")
        if self._in_a_row == FAILURES_IN_A_ROW:
            raise UserError(f"{self._in_a_row} trials in a row failed, the last with: {outcome.error}")
