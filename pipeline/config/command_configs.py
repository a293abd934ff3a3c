"""One config per command: it joins the groups of flags that the command needs, and checks the rules between them."""

from __future__ import annotations

from typing import Any

from pydantic import model_validator

from pipeline.config.ablation_flags import AblationConfig
from pipeline.config.base import Config
from pipeline.config.chosen_flags import chosen_from_scratch
from pipeline.config.data_flags import DataConfig, IntakeConfig, RecipeConfig
from pipeline.config.extras import install_command
from pipeline.config.promotion_flags import PromotionConfig, ReportConfig
from pipeline.config.search_flags import SearchConfig, WorkersConfig
from pipeline.config.serving_flags import (
    AddressConfig,
    CandidateConfig,
    ExportFormatsConfig,
    LimitsConfig,
    ModelConfig,
    ModelDataConfig,
    ModelPhotosConfig,
    PageAddressConfig,
    PredictionConfig,
    PruneConfig,
    RegistryConfig,
    SuspectConfig,
)
from pipeline.config.training_flags import StructureConfig, TimeLimitConfig, TrainingConfig, weights_by_variant


class PhotoTrainingConfig(DataConfig, IntakeConfig, TrainingConfig, StructureConfig):
    """A training and its photos."""

    @model_validator(mode="before")
    @classmethod
    def _chooses_for_random_weights(cls, values: Any) -> Any:
        if values.get("weights") != "none":
            return values
        defaults = {name: field.default for name, field in cls.model_fields.items()}
        return values | chosen_from_scratch(defaults | values)

    @model_validator(mode="after")
    def _has_weights_of_its_width(self) -> PhotoTrainingConfig:
        if self.width != 1 and self.weights not in ("none", "auto") and not self.weights.startswith("models:/"):
            raise ValueError(f"width must be 1 with weights={self.weights}, got {self.width:g} (or try weights=none)")
        return self

    @model_validator(mode="after")
    def _begins_smaller(self) -> PhotoTrainingConfig:
        if self.image_size and self.start_size > self.image_size:
            raise ValueError(
                f"start_size must be at most image_size, got {self.start_size} for {self.image_size} (try start_size=0)"
            )
        return self


class PreprocessConfig(RecipeConfig, DataConfig, IntakeConfig):
    """Check, split and decode the photos once."""


class TrainConfig(RecipeConfig, PhotoTrainingConfig, TimeLimitConfig, RegistryConfig):
    """Train one model with one config and register its best epoch."""

    @model_validator(mode="before")
    @classmethod
    def _takes_the_weights_of_its_variant(cls, values: Any) -> Any:
        variant = values.get("variant", cls.model_fields["variant"].default)
        own = weights_by_variant(str(values.get("weights", ""))).get(variant)
        return values | {"weights": own} if own else values


class TuneConfig(RecipeConfig, PhotoTrainingConfig, SearchConfig, WorkersConfig, RegistryConfig):
    """Search learning rate, decay, optimizer and variant; register the winner as challenger."""

    @model_validator(mode="after")
    def _machines_share_the_study(self) -> TuneConfig:
        if self.many_machines and self.storage.startswith("sqlite"):
            raise ValueError(
                f"storage must be on a database server if ray_address is a cluster, got {self.storage} for "
                f"ray_address={self.ray_address}: SQLite is a file on one machine "
                f"(storage=postgresql://USER@HOST/DATABASE and {install_command('postgres')})"
            )
        return self

    def train_config(self, **changes: Any) -> TrainConfig:
        """Return what one training of this search gets, with ``changes`` checked like flags."""
        return train_config_of(self, changes)


class MainConfig(TuneConfig, PromotionConfig):
    """preprocess, then tune, then evaluate."""


class AblateConfig(RecipeConfig, PhotoTrainingConfig, TimeLimitConfig, AblationConfig, WorkersConfig, RegistryConfig):
    """Change one factor at a time and compare with the base."""

    def train_config(self, **changes: Any) -> TrainConfig:
        """Return the base training with ``changes`` checked like flags."""
        return train_config_of(self, changes)


class EvaluateConfig(CandidateConfig, ModelDataConfig, ReportConfig, PromotionConfig):
    """Evaluate a registered model on the test photos; make it champion if it is proven better."""


class RollbackConfig(RegistryConfig):
    """Make the previous champion the champion again."""


class PredictConfig(PredictionConfig, ModelConfig):
    """Classify photos with a registered model and write a CSV."""


class ServeConfig(AddressConfig, LimitsConfig, ModelConfig):
    """Serve a registered model over HTTP, with limits on the cost of a request."""


class DemoConfig(PageAddressConfig, ModelConfig, ModelPhotosConfig):
    """Try a registered model in the browser: drop a photo, see the label."""


class ExportConfig(ExportFormatsConfig, ModelConfig, ModelPhotosConfig):
    """Export a registered model to ONNX and LiteRT, and check that they agree with it."""


class SuspectsConfig(DataConfig, IntakeConfig, SuspectConfig):
    """Find labels that are probably wrong, by cross-validation on a pre-trained backbone's features."""

    def train_config(self, **changes: Any) -> TrainConfig:
        """Return a training on the same photos from the same weights, with ``changes`` checked like flags."""
        shared = self.model_dump(include=set(TrainConfig.model_fields))
        return TrainConfig(**shared | changes)


class DoctorConfig(PruneConfig):
    """Check the machine and what stopped processes left behind; make repairs that lose nothing."""

    @model_validator(mode="after")
    def _shows_what_it_frees(self) -> DoctorConfig:
        if self.free and not self.prune:
            raise ValueError("free needs prune, got free=true alone (--prune shows what --prune --free deletes)")
        return self


def train_config_of(config: Config, changes: dict[str, Any]) -> TrainConfig:
    """Return the fields that ``config`` shares with `TrainConfig`, updated and validated; its time is not shared."""
    shared = {name: getattr(config, name) for name in TrainConfig.model_fields}
    return TrainConfig(**shared | {"timeout_s": 0.0} | changes)
