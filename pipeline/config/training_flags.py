"""The groups of flags: each is a box of ``--help``, and each command's config joins those that it needs."""

from __future__ import annotations

from typing import Annotated, Any, Literal

from pydantic import Field, field_validator, model_validator

from pipeline.config.base import (
    EMPTY_IS_NONE,
    MAX_PIXELS,
    MOST_PIXELS,
    Augment,
    Config,
    Names,
    OptimizerName,
    Resize,
    Schedule,
    Stage,
    Variant,
    in_whole_strides,
)

VARIANT: Any = Field("resnet18", description="ResNet depth and block: plain (v1), pre-activation (_v2), or _vd.")
WEIGHTS: Any = Field(
    "none", description="Start from: none, imagenet, a KerasHub preset name or folder, or models:/name@alias."
)
SEED: Any = Field(0, ge=0, lt=2**32, description="Seed of weights, order, augmentation, dropout and mixes.")


class RecipeConfig(Config):
    """Flags by the name of a recipe."""

    recipe: str = Field(
        "",
        description="Name of a recipe (see pipeline/recipes) or a .yaml file, whose flags take the place of defaults; "
        "a flag overrides it with any value but its default.",
    )


class DataConfig(Config):
    """Which photos, how they are split, and how they become pixels."""

    data: str = Field(
        "flower_photos",
        min_length=1,
        description="flower_photos, flower_photos_notebook (split as a published notebook did), synthetic, a folder of "
        "class folders, an archive, a table, or an MLflow artifact.",
    )
    classes: Names = Field((), description="Classes to keep, as a comma list; empty keeps all.")
    exclude: str = Field("", description="A CSV that you have reviewed; photos in its column path are left out.")
    image_size: int = Field(64, le=1024, description="Side of the square image in pixels; a multiple of 32.")
    resize: Resize = Field("crop", description="Make a photo square: stretch, pad with black, or crop the centre.")
    image_ops: Names = Field(
        (), description="OpenCV operations in order, such as opening:5,canny:50:150 (see pipeline/data/image_ops.py)."
    )
    max_pixels: int = Field(
        MAX_PIXELS, ge=64, le=MOST_PIXELS, description="Pixels of a photo above which it is not decoded."
    )
    val_fraction: float = Field(0.1, gt=0, lt=1, description="Share of every class that validation gets.")
    test_fraction: float = Field(0.1, gt=0, lt=1, description="Share of every class that only evaluate reads.")
    split_seed: int = Field(0, ge=0, description="Draws another split of the same photos.")

    @field_validator("image_size")
    @classmethod
    def _whole_strides(cls, size: int) -> int:
        return in_whole_strides("image_size", size)

    @model_validator(mode="after")
    def _leave_training_photos(self) -> DataConfig:
        if self.val_fraction + self.test_fraction >= 1:
            raise ValueError(
                "val_fraction + test_fraction must be below 1, "
                f"got {self.val_fraction} + {self.test_fraction} (try 0.1 and 0.1)"
            )
        return self

    def data_config(self) -> DataConfig:
        """Return the data flags alone, whatever config they are part of."""
        return DataConfig(**{name: getattr(self, name) for name in DataConfig.model_fields})


class TrainingConfig(Config):
    """The network and how it is trained."""

    variant: Variant = VARIANT
    weights: str = WEIGHTS
    freeze_backbone: bool = Field(False, description="Train the head alone, on features that are computed once.")
    head_epochs: int = Field(
        0, ge=0, description="First epochs that train the head alone, as behind a frozen backbone; 0 for none."
    )
    unfreeze_from: Stage = Field("stem", description="First stage that is trained; those before stay as they are.")
    unfreeze_lr_factor: float = Field(0.1, gt=0, description="Peak rate after head_epochs, in learning_rate.")
    feature_views: int = Field(4, ge=1, description="Augmented views of a photo that a frozen backbone sees in turn.")
    head_units: int = Field(0, ge=0, description="Units of a hidden layer before the logits; 0 for none.")
    dropout: float = Field(0.0, ge=0, lt=1, description="Dropout before the logits.")
    augment: Augment = Field("medium", description="Random changes to photos (see pipeline/data/augmentation.py).")
    mixup: float = Field(0.0, ge=0, description="Alpha of mixup's Beta distribution; 0 for none.")
    cutmix: float = Field(
        0.0, ge=0, description="Alpha of CutMix's Beta distribution; 0 for none; beside mixup, each batch draws one."
    )
    label_smoothing: float = Field(0.0, ge=0, lt=1, description="Probability mass spread over all classes.")
    optimizer: OptimizerName = Field("adamw", description="sgd has Nesterov momentum 0.9; adam no weight decay.")
    learning_rate: float = Field(1e-3, gt=0, description="Peak learning rate, after warm-up.")
    lr_schedule: Schedule = Field("cosine", description="How the rate falls from its peak over the epochs.")
    lr_decay: float = Field(0.01, gt=0, le=1, description="Fraction of the peak rate that is left at the end.")
    warmup_epochs: float = Field(1.0, ge=0, description="Epochs over which the rate rises to its peak.")
    weight_decay: float = Field(0.05, ge=0, description="Decoupled weight decay, times the rate, on kernels only.")
    ema: float = Field(0.0, ge=0, lt=1, description="Momentum of the weights' moving average; 0 for none.")
    epochs: int = Field(16, ge=1, description="Passes over the training photos at most.")
    start_size: int = Field(
        0,
        ge=0,
        description="Side of the photos in the first epochs, growing to image_size; 0 for image_size throughout.",
    )
    batch_size: int = Field(64, ge=1, description="Photos per step.")
    patience: int = Field(0, ge=0, description="Epochs without a better val_accuracy before stopping; 0 for never.")
    precision: Literal["auto", "float32", "bfloat16", "float16"] = Field(
        "auto", description="Number format of the training arithmetic; the saved model is always float32."
    )
    devices: int = Field(1, ge=1, description="GPUs that share every batch.")
    seed: int = SEED
    resume: Literal["auto", "never"] = Field(
        "auto", description="auto goes on where the same training was stopped; never begins anew."
    )

    @field_validator("start_size")
    @classmethod
    def _start_in_whole_strides(cls, size: int) -> int:
        return in_whole_strides("start_size", size) if size else size

    @model_validator(mode="after")
    def _unfreezes_something(self) -> TrainingConfig:
        if self.head_epochs >= self.epochs:
            raise ValueError(
                f"head_epochs must be below epochs, got {self.head_epochs} of {self.epochs} (or freeze_backbone=true)"
            )
        if self.freeze_backbone and (self.head_epochs or self.start_size or self.unfreeze_from != "stem"):
            raise ValueError(
                f"freeze_backbone=true trains on features alone, got head_epochs={self.head_epochs} "
                f"unfreeze_from={self.unfreeze_from} start_size={self.start_size} (try freeze_backbone=false)"
            )
        return self

    @model_validator(mode="after")
    def _batch_is_shared_evenly(self) -> TrainingConfig:
        if self.devices > 1 and self.precision == "float16":
            raise ValueError(
                f"precision=float16 needs devices=1, got {self.devices}: Keras scales the loss of one (try bfloat16)"
            )
        if self.batch_size % self.devices:
            raise ValueError(
                f"batch_size must be a multiple of devices, got {self.batch_size} for {self.devices} "
                f"(try {self.batch_size // self.devices * self.devices or self.devices})"
            )
        return self

    @model_validator(mode="after")
    def _warm_up_ends(self) -> TrainingConfig:
        if self.warmup_epochs > 0 and self.warmup_epochs >= max(self.epochs, 2):
            raise ValueError(
                f"warmup_epochs must be below epochs, got {self.warmup_epochs} of {self.epochs} (try warmup_epochs=0)"
            )
        return self


class RegistryConfig(Config):
    """Where the model goes."""

    model_name: str = Field(
        "flower-classifier", pattern=r"^[^/:@]+$", description="Name in the MLflow registry (no '/', ':' or '@')."
    )


class ModelConfig(Config):
    """Which model."""

    model_uri: str = Field(
        "models:/flower-classifier@challenger",
        min_length=1,
        description="The model, as MLflow writes it: models:/name@alias, models:/name/version, runs:/id/model.",
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


class PredictionConfig(Config):
    """Which photos, and where the table goes."""

    photos: Names = Field((), description="Files, folders or globs, as a comma list.")
    output: str = Field("predictions.csv", min_length=1, description="CSV file to write.")
    predict_batch_size: int = Field(64, ge=1, description="Photos decoded and classified at a time.")
