"""``evaluate``: the only reader of the test split, and the gate before champion."""

from __future__ import annotations

from typing import TYPE_CHECKING

from pipeline.config import EvaluateConfig as CONFIG

if TYPE_CHECKING:
    from pipeline.promotion import EvaluationResult


def run(config: CONFIG) -> EvaluationResult:
    """Report on a model's test photos; make it champion if it is proven better than the present one."""
    from pipeline.promotion import run_evaluation

    return run_evaluation(config)
