"""The flags that say how a model is judged, and when it becomes champion."""

from __future__ import annotations

from typing import Literal

from pydantic import Field

from pipeline.config.base import Config


class ReportConfig(Config):
    """How thorough the report is."""

    corruption_photos: int = Field(
        200, ge=0, description="Most test photos to corrupt in 35 ways to measure robustness; 0 for none."
    )


class PromotionConfig(Config):
    """When a model becomes champion."""

    promotion: Literal["significant", "better", "always", "never"] = Field(
        "significant",
        description="Promote a model that is better than the champion beyond chance, better at all (a coin toss: 44 % "
        "of equally good models come out better), always, or never.",
    )
    promotion_metric: Literal["accuracy", "balanced_accuracy", "macro_f1", "log_loss"] = Field(
        "accuracy",
        description="Metric by which models are compared: accuracy, all classes weighted equally (balanced_accuracy, "
        "macro_f1), or the probabilities (log_loss).",
    )
    recall_tolerance: float = Field(
        0.05, ge=0, le=1, description="How far a promotion may lower the recall of a class, beyond chance."
    )
    accept_class_changes: bool = Field(
        False,
        description="Judge a model with other classes than the champion's on all test photos; by default only on "
        "classes that both know, and it must know all of the champion's.",
    )
