"""The flags of a network, of its architecture, and of its training."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Annotated, Any, Literal, get_args

from pydantic import Field, field_validator, model_validator

from pipeline.config.base import Augment, Config, OptimizerName, Schedule, Stage, Variant, check_image_size
from pipeline.config.identity import AsBefore
from pipeline.config.objectives import OBJECTIVES, Objective, ObjectiveName

VARIANT: Any = Field("resnet18", description="ResNet depth and block: plain (v1), pre-activation (_v2), or _vd.")
WEIGHTS: Any = Field(
    "auto",
    description="Start from: auto (ImageNet's if they are here or can be fetched), none, imagenet, models:/name@alias, "
    "a folder or file (KerasHub, timm, .pth, .keras), a preset's name, hf:// or kaggle://.",
)
SEED: Any = Field(0, ge=0, lt=2**32, description="Seed of weights, order, augmentation, dropout and mixes.")


def weights_by_variant(weights: str) -> dict[str, str]:
    """Return the addresses in a table of weights, by variant; empty for any other value of the flag.

    A table is what ``auto`` comes to where a command trains several variants: ``variant=address;variant=address``.
    """
    entries = [entry.partition("=") for entry in weights.split(";")]
    known = get_args(Variant)
    return {variant: address for variant, _, address in entries} if all(entry[0] in known for entry in entries) else {}


def weights_table(addresses: Mapping[str, str]) -> str:
    """Return the text that `weights_by_variant` reads."""
    return ";".join(f"{variant}={address}" for variant, address in sorted(addresses.items()))


class TrainingConfig(Config):
    """The network and how it is trained."""

    variant: Variant = VARIANT
    weights: str = WEIGHTS
    freeze_backbone: bool = Field(False, description="Train only the head, on features that are computed once.")
    head_epochs: int = Field(
        -1,
        ge=-1,
        description="First epochs, which train only the head on a frozen backbone; 0 for none, -1 is automatic: a "
        "quarter of the epochs with pre-trained weights.",
    )
    unfreeze_from: Stage = Field("stem", description="First stage to train; earlier stages stay frozen.")
    unfreeze_lr_factor: float = Field(
        0.0, ge=0, description="Peak rate after head_epochs, as a multiple of learning_rate; 0: chosen by the weights."
    )
    feature_views: int = Field(
        4, ge=1, description="Augmented views of each photo that a frozen backbone sees in turn."
    )
    head_units: int = Field(0, ge=0, description="Units of a hidden layer before the logits; 0 for none.")
    dropout: float = Field(0.0, ge=0, lt=1, description="Dropout before the logits.")
    augment: Augment = Field("medium", description="Random changes to photos (see pipeline/training/augmentation.py).")
    horizontal_flip: Annotated[bool, AsBefore(True)] = Field(
        True,
        description="Also mirror left to right, unless augment=none; false if left and right differ, as in letters and "
        "gestures.",
    )
    vertical_flip: Annotated[bool, AsBefore(False)] = Field(
        False, description="Also mirror top to bottom: for photos taken from above or under a microscope."
    )
    degrade: Annotated[float, AsBefore(0.0)] = Field(
        0.0,
        ge=0,
        le=1,
        description="Share of photos that are also made small, noisy, hazy or dark, as poor photos are.",
    )
    mixup: float = Field(0.0, ge=0, description="Alpha of mixup's Beta distribution; 0 for none.")
    cutmix: float = Field(
        0.0,
        ge=0,
        description="Alpha of CutMix's Beta distribution; 0 for none; with mixup, each batch draws one of the two.",
    )
    label_smoothing: float = Field(0.0, ge=0, lt=1, description="Probability mass spread over all classes.")
    class_weights: Annotated[Literal["none", "balanced", "effective"], AsBefore("none")] = Field(
        "none",
        description="Weight of each class in the training loss: none, all equal; balanced, higher for classes with "
        "fewer photos; effective, likewise, but less steep (see pipeline/training/class_weights.py).",
    )
    optimizer: OptimizerName = Field("adamw", description="sgd has Nesterov momentum 0.9; adam no weight decay.")
    learning_rate: float = Field(1e-3, gt=0, description="Peak learning rate, after warm-up.")
    lr_schedule: Schedule = Field("cosine", description="How the rate falls from its peak over the epochs.")
    lr_decay: float = Field(0.01, gt=0, le=1, description="Fraction of the peak rate that is left at the end.")
    warmup_epochs: float = Field(1.0, ge=0, description="Epochs over which the rate rises to its peak.")
    weight_decay: float = Field(
        0.05, ge=0, description="Decoupled weight decay, multiplied by the rate, on kernels only."
    )
    ema: float = Field(0.0, ge=0, lt=1, description="Momentum of the weights' moving average; 0 for none.")
    epochs: int = Field(
        0,
        ge=0,
        description="Most passes over the training photos; 0 is automatic: 16 from random weights, 3 to 30 from "
        "pre-trained ones, more for fewer photos.",
    )
    start_size: int = Field(
        0,
        ge=0,
        description="Side of the photos in the first epochs, growing to image_size; 0 for image_size throughout.",
    )
    batch_size: int = Field(64, ge=1, description="Photos per step.")
    objective: Annotated[ObjectiveName, AsBefore("val_accuracy")] = Field(
        "val_accuracy",
        description="Metric by which the best epoch, trial, config and setting are chosen; val_balanced_accuracy and "
        "val_macro_f1 weigh all classes equally, even rare ones.",
    )
    patience: int = Field(
        0, ge=0, description="Epochs without improvement of the objective before stopping; 0 for never."
    )
    precision: Literal["auto", "float32", "bfloat16", "float16"] = Field(
        "auto", description="Number format of the training arithmetic; the saved model is always float32."
    )
    devices: int = Field(1, ge=1, description="GPUs that share every batch.")
    seed: int = SEED
    resume: Literal["auto", "never"] = Field(
        "auto", description="auto continues the same training where it stopped; with never it starts over."
    )

    @property
    def judged_by(self) -> Objective:
        """The metric that ``objective`` names."""
        return OBJECTIVES[self.objective]

    @field_validator("start_size")
    @classmethod
    def _check_start_size(cls, size: int) -> int:
        return check_image_size("start_size", size) if size else size

    @model_validator(mode="after")
    def _unfreezes_something(self) -> TrainingConfig:
        if self.epochs and self.head_epochs >= self.epochs:
            raise ValueError(
                f"head_epochs must be below epochs, got {self.head_epochs} of {self.epochs} (or freeze_backbone=true)"
            )
        if self.freeze_backbone and (self.head_epochs > 0 or self.start_size or self.unfreeze_from != "stem"):
            raise ValueError(
                f"freeze_backbone=true trains only on features, got head_epochs={self.head_epochs} "
                f"unfreeze_from={self.unfreeze_from} start_size={self.start_size} (try freeze_backbone=false)"
            )
        return self

    @model_validator(mode="after")
    def _changes_are_augmentation(self) -> TrainingConfig:
        for flag, value in (("vertical_flip", "true"), ("degrade", f"{self.degrade:g}")):
            if getattr(self, flag) and self.augment == "none":
                raise ValueError(f"{flag}={value} needs an augmentation, got augment=none (try augment=light)")
        return self

    @model_validator(mode="after")
    def _batch_is_shared_evenly(self) -> TrainingConfig:
        if self.devices > 1 and self.precision == "float16":
            raise ValueError(
                f"precision=float16 needs devices=1, got {self.devices}: Keras scales the loss on one device only (try "
                "bfloat16)"
            )
        if self.batch_size % self.devices:
            raise ValueError(
                f"batch_size must be a multiple of devices, got {self.batch_size} for {self.devices} "
                f"(try {self.batch_size // self.devices * self.devices or self.devices})"
            )
        return self

    @model_validator(mode="after")
    def _warm_up_ends(self) -> TrainingConfig:
        if self.epochs and self.warmup_epochs > 0 and self.warmup_epochs >= max(self.epochs, 2):
            raise ValueError(
                f"warmup_epochs must be below epochs, got {self.warmup_epochs} of {self.epochs} (try warmup_epochs=0)"
            )
        return self


class TimeLimitConfig(Config):
    """The time limit of a command that trains."""

    timeout_s: Annotated[float, AsBefore(0.0)] = Field(
        0.0, ge=0, description="Seconds for the whole command; epochs=0 trains as many as fit. 0 for no limit."
    )


class StructureConfig(Config):
    """Changes to the variant's architecture, mainly for ablations."""

    skip_connections: bool = Field(
        True, description="false removes the skip connections: the plain network of the ResNet paper."
    )
    stem: Literal["own", "7x7", "deep", "fine"] = Field(
        "own",
        description="First layers: the variant's own, one 7x7 convolution, deep (three of 3x3), or fine (the variant's "
        "own, pooling without a stride: four times the pixels in every stage).",
    )
    width: float = Field(1.0, gt=0, le=4, description="Filters of every convolution, as a multiple of the variant's.")
