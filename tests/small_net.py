"""A ResNet of one block in one stage, which goes the way of the others in a fraction of the time."""

from __future__ import annotations

import os
from types import SimpleNamespace
from typing import Any

from pipeline.models.variants import VARIANTS

ASKED_FOR = "SMALL_NET"
SMALL = {ASKED_FOR: "1"}  # the environment of a command of `tests.forks` that is to train it


def small_variant(name: str = "resnet18") -> Any:
    """Return a variant of one block in place of another one, without ImageNet weights."""
    arguments = VARIANTS[name].backbone_arguments()
    lists = {name: value[:1] for name, value in arguments.items() if isinstance(value, list)}
    one_block = arguments | lists | {"stackwise_num_blocks": [1]}
    return SimpleNamespace(imagenet_preset="", gigaflops=0.1, backbone_arguments=lambda: one_block)


class SmallWhereAsked:
    """The small net in processes whose environment asks for it, and the variant itself in others."""

    def __init__(self, name: str) -> None:
        self.real, self.small = VARIANTS[name], small_variant(name)

    def __getattr__(self, name: str) -> Any:
        return getattr(self.small if ASKED_FOR in os.environ else self.real, name)
