"""Ablations: one factor at a time around a base config, over seeds: what helps, what hurts, what cannot be told.

`plan` says which trainings there are, `ablate` trains them, `effects` compares. Does not own a single training
(`experiment`).
"""

from pipeline.ablation.ablate import run_ablation

__all__ = ["run_ablation"]
