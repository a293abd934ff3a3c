"""Processes: pools that run tasks in parallel here or on Ray, owners of work, interrupts, and standard streams.

Does not own the tasks, nor the recovery of tasks whose process died (`search.recovery`).
"""

from pipeline.processes.interrupts import SIGNALS, defer_interrupts, is_interrupt, raise_interrupts
from pipeline.processes.owners import is_gone, is_here, is_of_this_host, is_owner_mark, owner_mark
from pipeline.processes.pool import Outcome, preload, run_tasks
from pipeline.processes.quiet import quiet_libraries
from pipeline.processes.streams import hides_bars, secure_streams

__all__ = [
    "SIGNALS",
    "Outcome",
    "defer_interrupts",
    "hides_bars",
    "is_gone",
    "is_here",
    "is_interrupt",
    "is_of_this_host",
    "is_owner_mark",
    "owner_mark",
    "preload",
    "quiet_libraries",
    "raise_interrupts",
    "run_tasks",
    "secure_streams",
]
