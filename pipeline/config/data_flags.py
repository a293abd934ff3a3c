"""The flags that say which photos a command reads, how they are split, and how they become pixels."""

from __future__ import annotations

from pathlib import PurePath
from typing import Annotated

from pydantic import Field, field_validator, model_validator

from pipeline.config.base import (
    FIRST_MAX_PIXELS,
    MAX_PIXELS,
    MOST_PIXELS,
    Config,
    Names,
    Resize,
    check_image_size,
)
from pipeline.config.identity import AsBefore, FormerDefault


class RecipeConfig(Config):
    """Flags from a recipe."""

    recipe: str = Field(
        "",
        description="Name of a recipe (see pipeline/recipes), a .yaml file, or runs:/ID for that run's flags: they "
        "replace the defaults; flags that you give override them.",
    )


class DataConfig(Config):
    """Which photos, how they are split, and how they become pixels."""

    data: str = Field(
        "flower_photos",
        min_length=1,
        description="flower_photos, flower_photos_notebook (split as a published notebook did), synthetic, a folder of "
        "class folders, an archive, a table, or an MLflow artifact.",
    )
    classes: Names = Field(
        (), description="Classes to keep, as a comma list (a name with a comma in quotation marks); empty keeps all."
    )
    exclude: str = Field("", description="A CSV that you have reviewed; photos in its column path are left out.")
    image_size: int = Field(
        0,
        le=1024,
        description="Side of the square image in pixels, a multiple of 32; 0 is automatic: 64 for random weights, 160 "
        "for pre-trained ones.",
    )
    resize: Resize = Field(
        "crop", description="How a photo becomes square: stretch, pad with black, or crop the centre."
    )
    image_ops: Names = Field(
        (),
        description="OpenCV operations in order, such as opening:5,canny:50:150 (see docs/how_to.md).",
    )
    max_pixels: Annotated[int, FormerDefault(FIRST_MAX_PIXELS)] = Field(
        MAX_PIXELS, ge=64, le=MOST_PIXELS, description="Most pixels that a photo may have; larger ones are not decoded."
    )
    val_fraction: float = Field(0.1, gt=0, lt=1, description="Share of every class for validation.")
    test_fraction: float = Field(
        0.1, gt=0, lt=1, description="Share of every class for the test split, which only evaluate reads."
    )
    split_seed: int = Field(0, ge=0, description="Seed of the split; another seed splits the same photos differently.")
    near_duplicates: Annotated[bool, AsBefore(True)] = Field(
        True, description="Keep photos that look alike in one split; false: only exact copies and mirror images."
    )

    @property
    def data_name(self) -> str:
        """The last part of the path or address of ``data``, for names of runs."""
        return PurePath(self.data.partition("?")[0]).name or self.data

    @field_validator("image_size")
    @classmethod
    def _check_size(cls, size: int) -> int:
        return check_image_size("image_size", size) if size else size

    @model_validator(mode="after")
    def _leave_training_photos(self) -> DataConfig:
        if self.val_fraction + self.test_fraction >= 1:
            raise ValueError(
                "val_fraction + test_fraction must be below 1, "
                f"got {self.val_fraction} + {self.test_fraction} (try 0.1 and 0.1)"
            )
        return self

    def data_config(self) -> DataConfig:
        """Return the data flags alone."""
        return DataConfig(**{name: getattr(self, name) for name in DataConfig.model_fields})


class IntakeConfig(Config):
    """What to do with a data set that has unusable photos."""

    strict: bool = Field(
        False, description="End with exit code 2, before anything is trained, if a photo is quarantined."
    )
