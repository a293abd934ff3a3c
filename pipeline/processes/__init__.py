"""Processes: pools that run tasks in parallel here or on Ray, owners of work, and deferred interrupts.

Does not own the tasks, nor the recovery of tasks whose process died (`search.recovery`).
"""

from pipeline.processes.interrupts import defer_interrupts
from pipeline.processes.owners import is_gone, is_here, owner_mark
from pipeline.processes.pool import Outcome, preload, run_tasks

__all__ = ["Outcome", "defer_interrupts", "is_gone", "is_here", "owner_mark", "preload", "run_tasks"]
