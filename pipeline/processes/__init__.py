"""Processes: pools that run tasks side by side here or on Ray, who owns a piece of work, and interrupts held back.

Does not own what the tasks are, nor what becomes of one whose process died (`search.recovery`).
"""

from pipeline.processes.interrupts import hold_interrupts
from pipeline.processes.owners import is_gone, is_here, owner_mark
from pipeline.processes.pool import Outcome, preload, run_tasks

__all__ = ["Outcome", "hold_interrupts", "is_gone", "is_here", "owner_mark", "preload", "run_tasks"]
