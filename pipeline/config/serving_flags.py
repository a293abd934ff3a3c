"""Further groups of flags: strictness with photos, and those of the commands that use a finished model."""

from __future__ import annotations

from typing import Annotated

from pydantic import Field

from pipeline.config.base import EMPTY_IS_NONE, Config, Names, Variant
from pipeline.config.training_flags import SEED, VARIANT, WEIGHTS


class ServedModelConfig(Config):
    """Which model; the best proven one where none is named."""

    model_uri: str = Field(
        "models:/flower-classifier@champion",
        min_length=1,
        description="The model, as MLflow writes it: models:/name@alias, models:/name/version, runs:/id/model.",
    )


class AddressConfig(Config):
    """Where it listens."""

    host: str = Field("127.0.0.1", min_length=1, description="Address to listen on; 127.0.0.1 is this machine alone.")
    port: int = Field(5001, ge=1, le=65535, description="Port to listen on.")


class LimitsConfig(Config):
    """What a request may cost."""

    max_body_mb: float = Field(32, gt=0, description="Size of a request's body, in MiB; a larger one gets status 413.")
    max_requests: int = Field(16, ge=1, description="Requests handled at once; one more gets status 503.")


class ModelPhotosConfig(Config):
    """The model's own photos."""

    data: Annotated[str | None, EMPTY_IS_NONE] = Field(
        None, description="Where the photos are now; empty: where they were."
    )


class ExportFormatsConfig(Config):
    """What the model is written as."""

    formats: Names = Field(("onnx", "litert"), min_length=1, description="Formats to write: onnx, litert.")


class IntakeConfig(Config):
    """What becomes of a data set with photos that cannot be used."""

    strict: bool = Field(
        False, description="End with exit code 2, before anything is trained, if a photo is quarantined."
    )


class SuspectConfig(Config):
    """Whose features judge the labels, and how often every photo is learned from."""

    variant: Variant = VARIANT
    weights: str = WEIGHTS
    seed: int = SEED
    folds: int = Field(5, ge=2, description="Parts of the photos; each is judged by what learned from the others.")
