"""Importing this imports what commands and their trials need; they fork from processes that have."""

import pipeline.__main__
import pipeline.promotion
import pipeline.search.preload
import pipeline.search.tune  # noqa: F401
from pipeline.models.variants import VARIANTS
from tests.small_net import SmallWhereAsked

for name in ("resnet18", "resnet18_vd"):
    VARIANTS[name] = SmallWhereAsked(name)  # type: ignore[assignment]
