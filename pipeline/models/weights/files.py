"""A folder or file of pre-trained weights: what it is, how pixels are scaled for it, and its way into a backbone.

It may be a folder that holds a KerasHub preset or a timm model, as Kaggle and Hugging Face give them, or a file:
``.pth``, ``.safetensors`` or ``.weights.h5``. The scaling is read from what lies beside the numbers (KerasHub's
``image_converter.json``, timm's ``pretrained_cfg`` in ``config.json``) and is never guessed: weights whose scaling
cannot be read are refused. Alone torchvision's own files need none beside them: their names hold the start of their
SHA-256, and torchvision scales all of them the same way.
"""

from __future__ import annotations

import json
import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import TYPE_CHECKING, Any

from pipeline.config import UserError, first_line
from pipeline.files import sha256_of_file
from pipeline.models.weights.layer_weights import load_layer_weights
from pipeline.models.weights.state_dict import load_state_dict
from pipeline.models.weights.torch_files import TORCH_SUFFIXES, read_state_dict

if TYPE_CHECKING:
    from pipeline.config import TrainConfig

Scaling = dict[str, Any]  # the arguments of a Rescaling layer: scale and offset, each a number or three, by channel
CONFIG_FILE, CONVERTER_FILE, PREPROCESSOR_FILE = "config.json", "image_converter.json", "preprocessor.json"
KERASHUB_FILE, TIMM_FILE = "model.weights.h5", "model.safetensors"
KERAS_SUFFIX, LAYERS_SUFFIX = ".keras", ".weights.h5"
IMAGENET_MEAN, IMAGENET_STD = (0.485, 0.456, 0.406), (0.229, 0.224, 0.225)
# The start of the SHA-256 in the names of torchvision's files (torchvision.models.ResNet18_Weights and its like).
TORCHVISION_FILES = (
    "resnet18-f37072fd", "resnet34-b627a593", "resnet50-0676ba61", "resnet50-11ad3fa6", "resnet101-63fe2227",
    "resnet101-cd907fc2", "resnet152-394f9c45", "resnet152-f82ba261",
)  # fmt: skip
SCALING_REMEDY = (
    f'put {CONFIG_FILE} with {{"pretrained_cfg": {{"mean": [...], "std": [...]}}}} of photos in 0..1, or KerasHub\'s '
    f"{CONVERTER_FILE}, beside it"
)


@dataclass(frozen=True)
class Weights:
    """Pre-trained weights on disk: the folder or file as it was named, and the file with the numbers."""

    place: Path
    file: Path

    @cached_property
    def sha256(self) -> str:
        """The SHA-256 of the file with the numbers."""
        return sha256_of_file(self.file)

    @cached_property
    def scaling(self) -> Scaling:
        """How pixels in 0..255 become the network's input.

        Raises:
            UserError: it cannot be read, or nothing says it.
        """
        return _read_scaling(self)

    def load(self, backbone: Any) -> None:
        """Copy the weights into a KerasHub ``ResNetBackbone``.

        Raises:
            UserError: the file is damaged, or of another architecture.
        """
        if self.file.name.endswith(LAYERS_SUFFIX):
            load_layer_weights(backbone, self.file)
        else:
            load_state_dict(backbone, read_state_dict(self.file), self.file)

    def check_fits(self, config: TrainConfig, arguments: Mapping[str, Any]) -> None:
        """Raise UserError if what lies beside the weights says that they are of another backbone.

        ``arguments`` are those of the backbone that the config asks for.
        """
        file = self.file.with_name(CONFIG_FILE)
        about = _read_json(file) if file.exists() else {}
        if (name := about.get("architecture")) and name != timm_name(config.variant):
            raise UserError(f"weights must fit the variant, got {name} in {self.place} for variant={config.variant}")
        saved = about.get("config", {}) if "registered_name" in about else {}
        if different := [f"{key}={saved[key]}" for key in arguments if key in saved and saved[key] != arguments[key]]:
            raise UserError(
                f"weights must fit the variant and its stem, got {self.place} with {', '.join(different)} for "
                f"variant={config.variant} stem={config.stem}"
            )


def open_weights(place: Path) -> Weights:
    """Return the weights in a folder or file.

    Raises:
        UserError: there are none.
    """
    if place.is_dir():
        return Weights(place, _file_of_folder(place))
    kinds = (*TORCH_SUFFIXES, ".safetensors", LAYERS_SUFFIX)
    if place.is_file() and place.name.endswith(kinds):
        return Weights(place, place)
    raise UserError(
        f"weights must be auto, none, imagenet, models:/name@alias, a folder with a KerasHub preset or a timm model, a "
        f"file ({KERAS_SUFFIX}, {', '.join(kinds)}), hf://, kaggle:// or a preset's name, got {str(place)!r}"
        f"{'' if place.exists() else ', which is not there'} (python -m pipeline weights lists some)"
    )


def timm_name(variant: str) -> str:
    """Return timm's name of a variant."""
    depth, _, block = variant.partition("_")
    return {"": depth, "v2": depth.replace("resnet", "resnetv2_"), "vd": f"{depth}d"}[block]


def files_beside(config_file: Path) -> tuple[str, ...]:
    """Return the names of the files that a folder must have beside its ``config.json``, that of the numbers first.

    Raises:
        UserError: it is neither that of a KerasHub preset nor of a timm model.
    """
    config = _read_json(config_file)
    if "registered_name" in config:
        return KERASHUB_FILE, CONVERTER_FILE
    if "architecture" in config:
        return (TIMM_FILE,)
    raise UserError(
        "a folder of weights must hold a KerasHub preset or a timm model, got neither registered_name nor "
        f"architecture in {config_file}"
    )


def _file_of_folder(folder: Path) -> Path:
    wanted, *_ = files_beside(folder / CONFIG_FILE)
    if not (folder / wanted).is_file():
        raise UserError(f"a folder of weights must hold {wanted} beside its {CONFIG_FILE}, got none in {folder}")
    return folder / wanted


def _read_scaling(weights: Weights) -> Scaling:
    folder, stem = weights.file.parent, weights.file.stem
    for name, read in _SCALING_FILES.items():
        if (folder / name).is_file() and (found := read(_read_json(folder / name), folder / name)):
            return found
    if stem in TORCHVISION_FILES and weights.sha256.startswith(stem.rpartition("-")[2]):
        return _normalisation(IMAGENET_MEAN, IMAGENET_STD)
    raise UserError(f"weights must come with their input scaling, got {weights.place} without it ({SCALING_REMEDY})")


def _of_converter(content: Mapping[str, Any], file: Path) -> Scaling:
    """Return the scaling of KerasHub's image converter; what is None there leaves the pixels as they are."""
    config = content.get("config")
    if not isinstance(config, Mapping) or not {"scale", "offset"} <= config.keys():
        raise _unreadable(file, "no scale and offset")
    scale, offset = config["scale"], config["offset"]
    scaling = {"scale": 1.0 if scale is None else scale, "offset": 0.0 if offset is None else offset}
    if not all(_is_number(value) or _are_channels(value) for value in scaling.values()):
        raise _unreadable(file, f"scale={scale} and offset={offset}")
    return scaling


def _of_preprocessor(content: Mapping[str, Any], file: Path) -> Scaling:
    config = content.get("config")
    converter = config.get("image_converter") if isinstance(config, Mapping) else None
    if not isinstance(converter, Mapping):
        raise _unreadable(file, "no image_converter")
    return _of_converter(converter, file)


def _of_timm(content: Mapping[str, Any], file: Path) -> Scaling:
    """Return the scaling of timm's ``pretrained_cfg``, which is in units of photos in 0..1; empty without one."""
    if "pretrained_cfg" not in content:
        return {}
    config: Any = content["pretrained_cfg"]
    mean, std = (config.get(name, ()) if isinstance(config, dict) else () for name in ("mean", "std"))
    if not _are_channels(mean) or not _are_channels(std) or min(std) <= 0:
        raise _unreadable(file, f"mean={mean} and std={std}")
    return _normalisation(mean, std)


def _normalisation(mean: Sequence[float], std: Sequence[float]) -> Scaling:
    offset = [-average / deviation for average, deviation in zip(mean, std, strict=True)]
    return {"scale": [1 / 255 / deviation for deviation in std], "offset": offset}


_SCALING_FILES = {CONVERTER_FILE: _of_converter, PREPROCESSOR_FILE: _of_preprocessor, CONFIG_FILE: _of_timm}


def _is_number(value: object) -> bool:
    return isinstance(value, int | float) and not isinstance(value, bool) and math.isfinite(value)


def _are_channels(value: object) -> bool:
    return isinstance(value, list | tuple) and len(value) == 3 and all(map(_is_number, value))


def _unreadable(file: Path, got: str) -> UserError:
    return UserError(f"the input scaling must be finite numbers, one or three, got {got} in {file} (fetch it again)")


def _read_json(file: Path) -> dict[str, Any]:
    try:
        content = json.loads(file.read_text(encoding="utf-8"))
    except FileNotFoundError:
        raise UserError(f"a folder of weights must have a {file.name}, got none in {file.parent}") from None
    except (OSError, ValueError) as error:
        raise UserError(f"{file} must be JSON, got {first_line(error)} (fetch it again)") from None
    if not isinstance(content, dict):
        raise UserError(f"{file} must hold a mapping, got a {type(content).__name__} (fetch it again)")
    return content
