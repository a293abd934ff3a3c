"""The flags of the command ``weights``."""

from __future__ import annotations

from typing import Annotated

from pydantic import BeforeValidator, Field

from pipeline.config.base import Config, Variant, split_commas


class WeightsConfig(Config):
    """List the ImageNet weights that are here or available; fetch, verify and pack them."""

    fetch: Annotated[tuple[Variant, ...], BeforeValidator(split_commas)] = Field(
        (), description="Variants whose weights to fetch into data/weights, as a comma list."
    )
    pack: str = Field(
        "", description="New folder to copy the local weights to, for data/weights on a machine without a network."
    )
