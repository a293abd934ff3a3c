"""``ablate``: change one factor at a time and say what the change does to validation accuracy."""

from __future__ import annotations

from pipeline.config import AblateConfig as CONFIG


def run(config: CONFIG) -> None:
    """Train the base and every setting with every seed; log the table, the plot, and a sentence per factor."""
    from pipeline.ablation import run_ablation

    run_ablation(config)
