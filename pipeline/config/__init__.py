"""The frozen configs: every flag, its default, its range, and the sentence that explains it.

A field's name is the command-line flag, the MLproject parameter, the MLflow param and the table
column. `groups` declares the flags; below, each command's config joins the groups that it needs.
Reading flags from text is `flags.py`; what the values do is the business of the modules that use them.
"""

from __future__ import annotations

from typing import Any

from pydantic import model_validator

from pipeline.config.base import (
    IMAGE_SIZE_STEP,
    Augment,
    Config,
    OptimizerName,
    Resize,
    Schedule,
    UserError,
    Variant,
    first_line,
)
from pipeline.config.groups import (
    AblationConfig,
    DataConfig,
    ModelConfig,
    ModelDataConfig,
    PredictionConfig,
    RegistryConfig,
    SearchConfig,
    TrainingConfig,
)

__all__ = [
    "IMAGE_SIZE_STEP", "AblateConfig", "Augment", "Config", "DataConfig", "DoctorConfig", "EvaluateConfig",
    "MainConfig", "OptimizerName", "PredictConfig", "PreprocessConfig", "Resize", "Schedule", "TrainConfig",
    "TrainingConfig", "TuneConfig", "UserError", "Variant", "first_line",
]  # fmt: skip


class PhotoTrainingConfig(DataConfig, TrainingConfig):
    """A training and its photos."""

    @model_validator(mode="after")
    def _begins_smaller(self) -> PhotoTrainingConfig:
        if self.start_size > self.image_size:
            raise ValueError(
                f"start_size must be at most image_size, got {self.start_size} for {self.image_size} (try start_size=0)"
            )
        return self


class PreprocessConfig(DataConfig):
    """Check, split and decode the photos once."""


class TrainConfig(PhotoTrainingConfig, RegistryConfig):
    """Train one model with one config and register its best epoch."""


class TuneConfig(PhotoTrainingConfig, SearchConfig, RegistryConfig):
    """Search learning rate, decay, optimizer and variant; register the winner as challenger."""

    def train_config(self, **changes: Any) -> TrainConfig:
        """Return what one training of this search gets, with ``changes`` checked like flags."""
        return train_config_of(self, changes)


class MainConfig(TuneConfig):
    """preprocess, then tune, then evaluate."""


class AblateConfig(PhotoTrainingConfig, AblationConfig, RegistryConfig):
    """Change one factor at a time and compare with the base."""

    def train_config(self, **changes: Any) -> TrainConfig:
        """Return the base training with ``changes`` checked like flags."""
        return train_config_of(self, changes)


class EvaluateConfig(ModelConfig, ModelDataConfig):
    """Read the test split once and report on a registered model."""


class PredictConfig(PredictionConfig, ModelConfig):
    """Classify photos with a registered model and write a CSV."""


class DoctorConfig(Config):
    """Check the machine and what stopped processes left; repair what loses nothing."""


def train_config_of(config: Config, changes: dict[str, Any]) -> TrainConfig:
    """Return the fields that ``config`` shares with `TrainConfig`, updated and validated."""
    return TrainConfig(**{name: getattr(config, name) for name in TrainConfig.model_fields} | changes)
