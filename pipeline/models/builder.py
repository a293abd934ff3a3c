"""Config -> Keras classifier: uint8 RGB in, logits out, with the input scaling as a layer of the model.

The result has only built-in layers, so that Keras loads it in safe mode and without KerasHub.
"""

from __future__ import annotations

from itertools import takewhile
from pathlib import Path
from typing import TYPE_CHECKING, Any

from pipeline.config import TrainConfig, UserError, first_line
from pipeline.models.backend import set_up_keras
from pipeline.models.saved import load_classifier
from pipeline.models.structure import architecture_name, backbone_arguments, restructure_backbone
from pipeline.models.weights.files import Scaling
from pipeline.models.weights.places import weights_of

if TYPE_CHECKING:
    import keras

HEAD_LAYERS = ("hidden", "logits")
SCALE_TO_UNIT = {"scale": 1 / 127.5, "offset": -1.0}  # 0..255 -> -1..1, for networks that start from random weights


def build_classifier(
    config: TrainConfig,
    classes: int,
    dtype_policy: str = "float32",
    load_weights: bool = True,
    start_from: keras.Model | None = None,
    fast: bool = False,
) -> keras.Model:
    """Build the untrained or pre-trained network of a config.

    Args:
        config: its ``weights`` may be whatever `weights.places` finds; a saved classifier's are ``start_from``.
        classes: number of outputs.
        dtype_policy: Keras dtype policy of the backbone, such as ``mixed_bfloat16``; logits are always float32.
        load_weights: False builds only the architecture and scaling of a pre-trained network.
        start_from: a classifier built by this function, whose scaling and weights replace ``config.weights``.
        fast: use the layers of `fast_layers`, which train faster on a CPU and cannot be saved.

    Returns:
        ``keras.Model`` from uint8 RGB (n, image_size, image_size, 3) to float32 logits (n, classes).

    Raises:
        UserError: the pre-trained weights are not available, or belong to another variant.
    """
    import keras

    keras.utils.set_random_seed(config.seed)
    backbone, scaling = _backbone(config, dtype_policy, load_weights)
    if start_from:
        scaling = {name: getattr(start_from.get_layer("scaling"), name) for name in SCALE_TO_UNIT}
    if fast:
        from pipeline.models.fast_layers import with_fast_layers

        backbone = with_fast_layers(backbone)
    _freeze(backbone, config)
    model = _assemble(backbone, scaling, config, classes, dtype_policy)
    if start_from and load_weights:
        _copy_weights(start_from, model)
    return model


def _freeze(backbone: keras.Model, config: TrainConfig) -> None:
    """Freeze the layers before ``unfreeze_from``; their batch normalisation keeps its moving averages, too."""
    backbone.trainable = not config.freeze_backbone
    if config.unfreeze_from == "stem":
        return
    first = f"stack{int(config.unfreeze_from.removeprefix('stage')) - 1}_"  # KerasHub counts from 0
    for layer in takewhile(lambda layer: not layer.name.startswith(first), backbone.layers):
        layer.trainable = False


def _assemble(
    backbone: keras.Model, scaling: Scaling, config: TrainConfig, classes: int, dtype_policy: str
) -> keras.Model:
    """Put the input scaling before the backbone and the head after it; other modules find layers by these names."""
    import keras

    layers = keras.layers
    inputs = keras.Input((config.image_size, config.image_size, 3), dtype="uint8", name="image")
    x = layers.Rescaling(**scaling, dtype=dtype_policy, name="scaling")(inputs)
    x = backbone(x)
    x = layers.GlobalAveragePooling2D(dtype=dtype_policy, name="pool")(x)
    keras.utils.set_random_seed(config.seed)  # again: so the head's initial weights do not depend on the backbone
    return keras.Model(inputs, _head(x, config, classes, dtype_policy), name=architecture_name(config))


def build_head(config: TrainConfig, classes: int, features: int) -> keras.Model:
    """Build only the head: from float32 features (n, features) to logits (n, classes)."""
    import keras

    keras.utils.set_random_seed(config.seed)
    inputs = keras.Input((features,), name="features")
    return keras.Model(inputs, _head(inputs, config, classes, "float32"), name="head")


def _head(x: keras.KerasTensor, config: TrainConfig, classes: int, dtype_policy: str) -> keras.KerasTensor:
    from keras import layers

    if config.head_units:
        x = layers.Dense(config.head_units, activation="relu", dtype=dtype_policy, name="hidden")(x)
    if config.dropout:
        x = layers.Dropout(config.dropout, seed=config.seed, dtype=dtype_policy, name="dropout")(x)
    return layers.Dense(classes, dtype="float32", name="logits")(x)


def _backbone(config: TrainConfig, dtype_policy: str, load_weights: bool) -> tuple[keras.Model, Scaling]:
    import keras
    import keras_hub

    set_up_keras()
    arguments = backbone_arguments(config)
    scaling: Scaling = dict(SCALE_TO_UNIT)
    weights = weights_of(config)
    if weights:
        weights.check_fits(config, arguments)
        scaling = weights.scaling
    shape = (config.image_size, config.image_size, 3)
    backbone = keras_hub.models.ResNetBackbone(**arguments, image_shape=shape, dtype=dtype_policy)
    if weights and load_weights:
        weights.load(backbone)
    output = backbone.output
    single_output = keras.Model(backbone.inputs[0], output[0] if isinstance(output, list) else output, name="backbone")
    return restructure_backbone(single_output, config), scaling


def load_start(file: Path) -> keras.Model:
    """Load a saved classifier of this project to start from: ``start_from`` of `build_classifier`.

    Raises:
        UserError: the file is damaged, or holds another network.
    """
    try:
        model = load_classifier(file)
    except Exception as error:  # of the archive, of its JSON, of HDF5, or of Keras
        raise UserError(f"weights must be a network that Keras can read, got {file}: {first_line(error)}") from error
    if missing := {"scaling", "backbone", "pool"}.difference(layer.name for layer in model.layers):
        raise UserError(
            f"a .keras file of weights must be a classifier of this project, got {file} without {sorted(missing)[0]} "
            "(of other networks, give a preset, or a state dict with its scaling)"
        )
    return model


def copy_head(source: keras.Model, target: keras.Model) -> None:
    """Copy the head's weights between a classifier and a network of `build_head`, in either direction."""
    for layer in source.layers:
        if layer.name in HEAD_LAYERS:
            target.get_layer(layer.name).set_weights(layer.get_weights())


def _copy_weights(saved: keras.Model, model: keras.Model) -> None:
    """Copy a classifier's backbone into ``model``, and its head if the shapes agree."""
    for layer in (layer for layer in model.layers if layer.name in ("backbone", *HEAD_LAYERS)):
        saved_weights: list[Any] = next((other.get_weights() for other in saved.layers if other.name == layer.name), [])
        shapes = [[array.shape for array in arrays] for arrays in (saved_weights, layer.get_weights())]
        is_compatible = saved.name == model.name or layer.name != "backbone"
        if is_compatible and shapes[0] == shapes[1]:
            layer.set_weights(saved_weights)
        elif layer.name == "backbone":
            raise UserError(f"weights must fit the variant, got a saved {saved.name} for a {model.name}")
