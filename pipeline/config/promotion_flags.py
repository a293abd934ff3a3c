"""The flags that say how a model is judged, and when it becomes champion."""

from __future__ import annotations

from typing import Literal

from pydantic import Field

from pipeline.config.base import Config


class ReportConfig(Config):
    """How much the report looks at."""

    corruption_photos: int = Field(
        200, ge=0, description="Test photos at most that are corrupted in 35 ways to measure robustness; 0 for none."
    )


class PromotionConfig(Config):
    """When a model becomes champion."""

    promotion: Literal["significant", "better", "always", "never"] = Field(
        "significant",
        description="Promote what is better than the champion beyond chance, or better at all (a coin toss: of models "
        "that are as good as it, 44 % come out better), always, or never.",
    )
    promotion_metric: Literal["accuracy", "balanced_accuracy", "macro_f1", "log_loss"] = Field(
        "accuracy",
        description="By what a model is better: right photos, every class alike (balanced_accuracy, macro_f1), or "
        "its probabilities (log_loss).",
    )
    recall_tolerance: float = Field(
        0.05, ge=0, le=1, description="How far a class's recall may fall, beyond chance, in a promotion."
    )
    accept_class_changes: bool = Field(
        False,
        description="Judge a model of other classes than the champion's by all test photos; by default by those of "
        "classes that both know, and it must know all of the champion's.",
    )
