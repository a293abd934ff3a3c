"""``evaluate``: the only reader of the test split, and the gate before champion."""

from __future__ import annotations

from pipeline.config import EvaluateConfig as CONFIG


def run(config: CONFIG) -> None:
    """Report on a model's test photos; make it champion if it is proven better than the present one."""
    from pipeline.promotion import run_evaluation

    run_evaluation(config)
