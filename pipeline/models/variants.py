"""The ResNet variants: one table for one builder. A new variant is a line here and its name in `config/base.py`.

v1 is He et al. 2015 (arXiv 1512.03385), v2 puts normalisation before the convolutions (He et al. 2016,
arXiv 1603.05027), vd has a three-layer stem and average pooling in its shortcuts (He et al. 2018, arXiv 1812.01187).
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any


@dataclass(frozen=True)
class Variant:
    """Arguments of KerasHub's ``ResNetBackbone``, the preset that holds its ImageNet weights, if any, and its cost.

    ``gigaflops`` are billions of multiplications and additions for a photo of 224 px, by the papers' figures, in which
    one of each is one operation.
    """

    blocks: tuple[int, int, int, int]
    bottleneck: bool
    vd: bool = False
    pre_activation: bool = False
    imagenet_preset: str = ""
    gigaflops: float = 0.0

    def backbone_arguments(self) -> dict[str, Any]:
        """Return the keyword arguments that define the architecture."""
        return {
            "input_conv_filters": [32, 32, 64] if self.vd else [64],
            "input_conv_kernel_sizes": [3, 3, 3] if self.vd else [7],
            "stackwise_num_filters": [64, 128, 256, 512],
            "stackwise_num_blocks": list(self.blocks),
            "stackwise_num_strides": [1, 2, 2, 2],
            "block_type": ("bottleneck_block" if self.bottleneck else "basic_block") + ("_vd" if self.vd else ""),
            "use_pre_activation": self.pre_activation,
        }


DEPTHS: dict[str, tuple[tuple[int, int, int, int], bool]] = {
    "resnet18": ((2, 2, 2, 2), False),
    "resnet34": ((3, 4, 6, 3), False),
    "resnet50": ((3, 4, 6, 3), True),
    "resnet101": ((3, 4, 23, 3), True),
    "resnet152": ((3, 8, 36, 3), True),
}
GIGA_MULTIPLY_ADDS = {"resnet18": 1.8, "resnet34": 3.6, "resnet50": 3.8, "resnet101": 7.6, "resnet152": 11.3}
IMAGENET_PRESETS = {
    "resnet18": "resnet_18_imagenet",
    "resnet50": "resnet_50_imagenet",
    "resnet101": "resnet_101_imagenet",
    "resnet152": "resnet_152_imagenet",
    "resnet50_v2": "resnet_v2_50_imagenet",
    "resnet101_v2": "resnet_v2_101_imagenet",
    "resnet18_vd": "resnet_vd_18_imagenet",
    "resnet34_vd": "resnet_vd_34_imagenet",
    "resnet50_vd": "resnet_vd_50_ssld_v2_imagenet",
    "resnet101_vd": "resnet_vd_101_ssld_imagenet",
    "resnet152_vd": "resnet_vd_152_imagenet",
}
VARIANTS: dict[str, Variant] = {
    name: Variant(
        blocks,
        bottleneck,
        vd=block == "_vd",
        pre_activation=block == "_v2",
        imagenet_preset=IMAGENET_PRESETS.get(name, ""),
        gigaflops=2 * GIGA_MULTIPLY_ADDS[depth],
    )
    for block in ("", "_v2", "_vd")
    for depth, (blocks, bottleneck) in DEPTHS.items()
    for name in [depth + block]
}
