"""The flags of commands that use a finished model: which model, on which photos, and how it is served."""

from __future__ import annotations

from typing import Annotated

from pydantic import Field

from pipeline.config.base import EMPTY_IS_NONE, Config, Names, Resize, Variant
from pipeline.config.training_flags import SEED, VARIANT, WEIGHTS


class RegistryConfig(Config):
    """Where the model is registered."""

    model_name: str = Field(
        "flower-classifier", pattern=r"^[^/:@]+$", description="Name in the MLflow registry (no '/', ':' or '@')."
    )


class ModelConfig(Config):
    """Which model: by default the best proven one."""

    model_uri: str = Field(
        "models:/flower-classifier@champion",
        min_length=1,
        description="MLflow URI of the model: models:/name@alias, models:/name/version, runs:/id/model. If there is no "
        "champion yet, the newest version.",
    )


class CandidateConfig(Config):
    """Which model: by default the newest."""

    model_uri: str = Field(
        "models:/flower-classifier@challenger",
        min_length=1,
        description="MLflow URI of the model: models:/name@alias, models:/name/version, runs:/id/model.",
    )


class ModelDataConfig(Config):
    """The model's own photos and pixels; a flag that is given must agree with the model's."""

    data: Annotated[str | None, EMPTY_IS_NONE] = Field(
        None, description="Where the photos are now; empty: where they were."
    )
    classes: Annotated[Names | None, EMPTY_IS_NONE] = Field(None, description="Empty: the model's.")
    exclude: Annotated[str | None, EMPTY_IS_NONE] = Field(None, description="Where the reviewed CSV is now.")
    image_size: Annotated[int | None, EMPTY_IS_NONE] = Field(None, description="Empty: the model's.")
    resize: Annotated[Resize | None, EMPTY_IS_NONE] = Field(None, description="Empty: the model's.")
    image_ops: Annotated[Names | None, EMPTY_IS_NONE] = Field(None, description="Empty: the model's.")
    max_pixels: Annotated[int | None, EMPTY_IS_NONE] = Field(None, description="Empty: the model's.")
    val_fraction: Annotated[float | None, EMPTY_IS_NONE] = Field(None, description="Empty: the model's.")
    test_fraction: Annotated[float | None, EMPTY_IS_NONE] = Field(None, description="Empty: the model's.")
    split_seed: Annotated[int | None, EMPTY_IS_NONE] = Field(None, description="Empty: the model's.")
    near_duplicates: Annotated[bool | None, EMPTY_IS_NONE] = Field(None, description="Empty: the model's.")


class PredictionConfig(Config):
    """Which photos to classify, and where to write the table."""

    photos: Names = Field(
        (), description="Files, folders or globs, as a comma list (quote a name with a comma, as in CSV)."
    )
    output: str = Field("predictions.csv", min_length=1, description="CSV file to write.")
    top_k: int = Field(0, ge=0, description="Write only this many most likely classes; 0: a column for every class.")
    keep: float = Field(
        1,
        gt=0,
        le=1,
        description="Share of photos of known classes that keep their label, such as 0.95; less certain photos are "
        "labelled 'none of these'. 1: all keep it.",
    )
    predict_batch_size: int = Field(64, ge=1, description="Photos decoded and classified at a time.")


HOST = Field("127.0.0.1", min_length=1, description="Address to listen on; 127.0.0.1 is this machine alone.")


class AddressConfig(Config):
    """Where the server listens."""

    host: str = HOST
    port: int = Field(5001, ge=1, le=65535, description="Port to listen on.")


class PageAddressConfig(Config):
    """Where the page listens: not on the port of `serve`, because both may run together."""

    host: str = HOST
    port: int = Field(8501, ge=1, le=65535, description="Port to listen on.")


class LimitsConfig(Config):
    """Limits on the cost of a request."""

    max_body_mb: float = Field(32, gt=0, description="Largest body of a request, in MiB; a larger one gets status 413.")
    max_requests: int = Field(
        128, ge=1, description="Most requests that wait or are answered at once; one more gets status 503."
    )
    request_timeout_s: float = Field(
        30, gt=0, description="Seconds for a request's body to arrive (else status 408), and then for its answer (503)."
    )
    workers: int = Field(1, ge=1, description="Processes that hold the model; they share the processor's threads.")


class ModelPhotosConfig(Config):
    """The model's own photos."""

    data: Annotated[str | None, EMPTY_IS_NONE] = Field(
        None, description="Where the photos are now; empty: where they were."
    )


class ExportFormatsConfig(Config):
    """Formats to export."""

    formats: Names = Field(("onnx", "litert"), min_length=1, description="Formats to write: onnx, litert.")


class SuspectConfig(Config):
    """Which features judge the labels, and the number of folds."""

    variant: Variant = VARIANT
    weights: str = WEIGHTS
    seed: int = SEED
    folds: int = Field(5, ge=2, description="Folds of the photos; each is judged by a model trained on the others.")


class PruneConfig(Config):
    """What is no longer needed."""

    prune: bool = Field(
        False,
        description="Show the prepared photos, reports, models and runs that no registered version and no unfinished "
        "work refers to, instead of checking the machine.",
    )
    free: bool = Field(False, description="Delete what prune shows.")
