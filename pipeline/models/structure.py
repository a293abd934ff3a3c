"""Changes to a backbone's architecture: filters, stem and skip connections, by cloning its functional model.

Without skip connections it is the plain network of He et al. 2015 (arXiv 1512.03385, section 4.1): the same
convolutions without the additions, and therefore without the projection shortcuts.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from pipeline.config import TrainConfig
from pipeline.models.variants import VARIANTS

if TYPE_CHECKING:
    import keras

STEMS: dict[str, dict[str, Any]] = {  # arguments of KerasHub's ResNetBackbone
    "own": {},
    "7x7": {"input_conv_filters": [64], "input_conv_kernel_sizes": [7]},
    "deep": {"input_conv_filters": [32, 32, 64], "input_conv_kernel_sizes": [3, 3, 3]},  # arXiv 1812.01187, ResNet-C
    "fine": {},
}
FILTER_STEP = 8  # filters are a multiple of it: CPUs compute fewer no faster


def backbone_arguments(config: TrainConfig) -> dict[str, Any]:
    """Return the arguments of ``ResNetBackbone`` for the variant with its stem."""
    return VARIANTS[config.variant].backbone_arguments() | STEMS[config.stem]


def architecture_name(config: TrainConfig) -> str:
    """Return the variant's name with all changes: networks with equal names can load each other's weights."""
    changes = {
        "plain": not config.skip_connections,
        f"{config.stem}_stem": config.stem != "own",
        f"width_{config.width:g}".replace(".", "_"): config.width != 1,
    }
    return "_".join([config.variant, *(change for change, applies in changes.items() if applies)])


def restructure_backbone(backbone: keras.Model, config: TrainConfig) -> keras.Model:
    """Return the backbone with the config's structure; weights that still fit are kept."""
    import keras

    if config.skip_connections and config.stem != "fine" and config.width == 1:
        return backbone

    def clone_layer(layer: keras.layers.Layer) -> keras.layers.Layer:
        arguments = layer.get_config()
        if isinstance(layer, keras.layers.Conv2D):
            arguments["filters"] = _scale_filters(layer.filters, config.width)
        if isinstance(layer, keras.layers.MaxPooling2D) and config.stem == "fine":
            arguments["strides"] = 1
        return type(layer).from_config(arguments)

    def connect(operation: Any, *inputs: Any, **kwargs: Any) -> Any:
        if isinstance(operation, keras.layers.Add) and not config.skip_connections:
            _, residual = inputs[0]  # KerasHub adds [shortcut, residual]
            return residual
        return operation(*inputs, **kwargs)

    copy = keras.models.clone_model(backbone, clone_function=clone_layer, call_function=connect)
    for layer in copy.layers if config.width == 1 else ():
        if layer.weights:
            layer.set_weights(backbone.get_layer(layer.name).get_weights())
    return copy


def _scale_filters(filters: int, width: float) -> int:
    return filters if width == 1 else max(FILTER_STEP, round(filters * width / FILTER_STEP) * FILTER_STEP)
