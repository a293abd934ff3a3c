"""Where each variant's ImageNet weights can be had: one table, for `library` and the command ``weights``.

Published accuracies are top-1 on ImageNet's validation photos as their makers measured them: timm in its
``results/results-imagenet.csv`` (288 px; KerasHub's presets of v1 and v2 are ports of the same weights, named in its
``tools/checkpoint_conversion/convert_resnet_checkpoints.py``), PaddleClas in its table of ResNet and its Vd series
(224 px), from where KerasHub ported vd. No checksum of a file is known in advance: Hugging Face names each file's,
which is compared, recorded when the file has come, and compared from then on.
"""

from __future__ import annotations

from typing import NamedTuple


class Source(NamedTuple):
    """A model of Hugging Face with a variant's ImageNet weights, and Kaggle's copy of it, if there is one."""

    repository: str
    megabytes: int
    top1: float | None  # percent, as published; None where nobody has
    kaggle: str = ""
    licence: str = "Apache 2.0"


SOURCES: dict[str, Source] = {
    "resnet18": Source("keras/resnet_18_imagenet", 45, 73.2, "keras/resnetv1/keras/resnet_18_imagenet/3"),
    "resnet34": Source("timm/resnet34.a1_in1k", 87, 77.9),
    "resnet50": Source("keras/resnet_50_imagenet", 94, 81.2, "keras/resnetv1/keras/resnet_50_imagenet/3"),
    "resnet101": Source("keras/resnet_101_imagenet", 170, 82.3, "keras/resnetv1/keras/resnet_101_imagenet/3"),
    "resnet152": Source("keras/resnet_152_imagenet", 233, 82.7, "keras/resnetv1/keras/resnet_152_imagenet/3"),
    "resnet18_v2": Source("timm/resnetv2_18.ra4_e3600_r224_in1k", 47, None),
    "resnet34_v2": Source("timm/resnetv2_34.ra4_e3600_r224_in1k", 87, None),
    "resnet50_v2": Source("keras/resnet_v2_50_imagenet", 94, 81.4, "keras/resnetv2/keras/resnet_v2_50_imagenet/3"),
    "resnet101_v2": Source("keras/resnet_v2_101_imagenet", 170, 83.0, "keras/resnetv2/keras/resnet_v2_101_imagenet/3"),
    "resnet18_vd": Source("keras/resnet_vd_18_imagenet", 45, 72.3, "keras/resnet_vd/keras/resnet_vd_18_imagenet/2"),
    "resnet34_vd": Source("keras/resnet_vd_34_imagenet", 85, 76.0, "keras/resnet_vd/keras/resnet_vd_34_imagenet/2"),
    "resnet50_vd": Source(
        "keras/resnet_vd_50_ssld_v2_imagenet", 94, 83.0, "keras/resnet_vd/keras/resnet_vd_50_ssld_v2_imagenet/2"
    ),
    "resnet101_vd": Source(
        "keras/resnet_vd_101_ssld_imagenet", 171, 83.7, "keras/resnet_vd/keras/resnet_vd_101_ssld_imagenet/2"
    ),
    "resnet152_vd": Source("keras/resnet_vd_152_imagenet", 233, 80.6, "keras/resnet_vd/keras/resnet_vd_152_imagenet/2"),
}
