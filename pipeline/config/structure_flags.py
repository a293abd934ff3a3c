"""The flags that change a variant's architecture."""

from __future__ import annotations

from typing import Literal

from pydantic import Field

from pipeline.config.base import Config


class StructureConfig(Config):
    """Changes to the variant's architecture, for ablations above all."""

    skip_connections: bool = Field(
        True, description="false takes the additions out: the plain network that the ResNet paper compares with."
    )
    stem: Literal["own", "7x7", "deep", "fine"] = Field(
        "own",
        description="First layers: the variant's own, one 7x7 convolution, deep (three of 3x3), or fine (the variant's "
        "own, pooling without a stride: four times the pixels in every stage).",
    )
    width: float = Field(1.0, gt=0, le=4, description="Filters of every convolution, in those of the variant.")
