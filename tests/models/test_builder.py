"""The networks: every variant, their way to disk and back, and weights from elsewhere."""

from __future__ import annotations

import sys
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np
import pytest

from pipeline.config import TrainConfig, UserError
from pipeline.models.builder import build_classifier
from pipeline.models.saved import load_classifier
from pipeline.models.variants import DEPTHS, VARIANTS
from tests.conftest import EVERY_VARIANT

if TYPE_CHECKING:
    import keras

    from tests.conftest import RunIn

# Million parameters of the backbone, as counted for ImageNet's networks without their 1,000-class head.
BACKBONE_MILLIONS = {"resnet18": 11.2, "resnet34": 21.3, "resnet50": 23.5, "resnet101": 42.6, "resnet152": 58.3}

LOAD_IN_A_PROCESS = """
import sys
from pathlib import Path

import keras
import numpy as np

images = np.load(Path(sys.argv[1], "images.npy"))
for file in sorted(Path(sys.argv[1]).glob("*.keras")):
    model = keras.models.load_model(file, compile=False, safe_mode=True)
    np.save(file.with_suffix(".npy"), model(images, training=False))
print("keras_hub" in sys.modules)
"""


def _config(**changes: object) -> TrainConfig:
    return TrainConfig(**{"weights": "none", "image_size": 32, "variant": "resnet18"} | changes)


def _images(count: int = 3) -> np.ndarray:
    return np.random.default_rng(0).integers(0, 256, (count, 32, 32, 3), dtype=np.uint8)


def _outputs(model: keras.Model, inputs: np.ndarray) -> np.ndarray:
    return np.asarray(model(inputs, training=False))


def _backbone_weights(model: keras.Model) -> list[np.ndarray]:
    return model.get_layer("backbone").get_weights()


def _same(left: list[np.ndarray], right: list[np.ndarray]) -> bool:
    return len(left) == len(right) and all(map(np.array_equal, left, right))


@pytest.fixture(scope="module")
def preset(tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, list[np.ndarray]]:
    """A KerasHub preset folder of a ResNet-18 with random weights and a scaling of its own; and its weights."""
    import keras_hub

    folder = tmp_path_factory.mktemp("preset") / "resnet18"
    arguments = VARIANTS["resnet18"].backbone_arguments()
    backbone = keras_hub.models.ResNetBackbone(**arguments, image_shape=(32, 32, 3))
    backbone.save_to_preset(str(folder))
    keras_hub.layers.ResNetImageConverter(scale=0.01, offset=-1).save_to_preset(str(folder))
    return folder, backbone.get_weights()


@pytest.mark.parametrize("variant", EVERY_VARIANT)
def test_every_variant_builds(variant: str) -> None:
    import keras

    keras.backend.clear_session()
    model = build_classifier(_config(variant=variant), classes=5)
    assert model.input.shape == (None, 32, 32, 3)
    assert model.input.dtype == "uint8"
    assert model.output.shape == (None, 5)
    assert model.output.dtype == "float32"
    depth = variant.partition("_")[0]
    assert model.get_layer("backbone").count_params() / 1e6 == pytest.approx(BACKBONE_MILLIONS[depth], abs=0.11)
    layers = list(model._flatten_layers())
    assert not [layer.name for layer in layers if isinstance(layer, keras.layers.Lambda)]
    assert {type(layer).__module__.split(".")[0] for layer in layers} == {"keras"}
    convolutions = sum(
        isinstance(layer, keras.layers.Conv2D) and "_0_conv" not in layer.name for layer in layers
    )  # those of the shortcuts are named _0_conv
    blocks, bottleneck = DEPTHS[depth]
    stem = 3 if VARIANTS[variant].vd else 1
    assert convolutions == stem + sum(blocks) * (3 if bottleneck else 2)


@pytest.mark.parametrize("variant", ["resnet18", "resnet18_v2", "resnet18_vd", "resnet50"])
def test_a_plain_network_is_the_residual_one_without_additions_and_projections(variant: str) -> None:
    import keras

    residual, plain = (build_classifier(_config(variant=variant, skip_connections=skips), 3) for skips in (True, False))
    before, after = residual.get_layer("backbone"), plain.get_layer("backbone")
    dropped = {layer.name for layer in before.layers} - {layer.name for layer in after.layers}
    starts = {layer.name: layer.get_weights() for layer in before.layers}
    additions = {layer.name for layer in before.layers if isinstance(layer, keras.layers.Add)}
    assert additions
    assert additions < dropped
    projections = {name for name in dropped - additions if starts[name]}
    assert {name.rpartition("_0_")[2] for name in projections} <= {"conv", "bn"}
    for layer in after.layers:  # and it starts from the same weights
        for one, other in zip(layer.get_weights(), starts.get(layer.name, []), strict=True):
            np.testing.assert_array_equal(one, other)
    assert (residual.name, plain.name) == (variant, f"{variant}_plain")
    assert not np.allclose(_outputs(residual, _images()), _outputs(plain, _images()))


def test_a_plain_network_computes_what_is_left() -> None:
    """By hand: one block of two convolutions without its shortcut."""
    import keras

    plain = build_classifier(_config(skip_connections=False), 3).get_layer("backbone")
    block = keras.Model(plain.get_layer("pool1_pool").output, plain.get_layer("stack0_block0_out").output)
    x = np.random.default_rng(0).normal(size=(2, 8, 8, 64)).astype(np.float32)
    y = x
    for name in ("1_conv", "1_bn", "1_relu", "2_conv", "2_bn", "out"):
        y = plain.get_layer(f"stack0_block0_{name}")(y)
    np.testing.assert_allclose(_outputs(block, x), y, atol=1e-5)


@pytest.mark.parametrize(("width", "filters"), [(0.5, [32, 32, 64, 128, 256]), (1.25, [80, 80, 160, 320, 640])])
def test_width_scales_the_filters_of_every_convolution(width: float, filters: list[int]) -> None:
    backbone = build_classifier(_config(width=width), 3).get_layer("backbone")
    names = ["conv1_conv", *(f"stack{number}_block1_2_conv" for number in range(4))]
    assert [backbone.get_layer(name).filters for name in names] == filters
    again = build_classifier(_config(width=width), 3).get_layer("backbone")
    assert _same(backbone.get_weights(), again.get_weights())


def test_stems_differ_in_their_convolutions_and_their_pixels() -> None:
    def shape_and_kernels(stem: str, variant: str = "resnet18") -> tuple[tuple[int, ...], list[int]]:
        backbone = build_classifier(_config(stem=stem, variant=variant), 3).get_layer("backbone")
        names = [layer.name for layer in backbone.layers if layer.name in ("conv1_conv", "conv2_conv", "conv3_conv")]
        return backbone.output.shape[1:3], [backbone.get_layer(name).kernel_size[0] for name in names]

    assert shape_and_kernels("own") == shape_and_kernels("7x7") == ((1, 1), [7])
    assert shape_and_kernels("deep") == ((1, 1), [3, 3, 3])
    assert shape_and_kernels("fine") == ((2, 2), [7])
    assert shape_and_kernels("7x7", "resnet18_vd") == ((1, 1), [7])
    assert shape_and_kernels("fine", "resnet18_v2") == ((2, 2), [7])


@pytest.mark.parametrize("changes", [{"skip_connections": False, "width": 0.5, "stem": "fine"}, {"stem": "deep"}])
def test_a_changed_structure_trains_fast_is_saved_and_loads(changes: dict[str, object], tmp_path: Path) -> None:
    config = _config(**changes)
    fast, slow = (build_classifier(config, 3, fast=fast) for fast in (True, False))
    assert _same(fast.get_weights(), slow.get_weights())
    slow.save(tmp_path / "model.keras")
    loaded = load_classifier(tmp_path / "model.keras")
    np.testing.assert_allclose(_outputs(loaded, _images()), _outputs(fast, _images()), atol=1e-4)
    continued = build_classifier(config, 3, start_from=loaded)
    assert _same(_backbone_weights(continued), _backbone_weights(slow))
    with pytest.raises(UserError, match="must fit the variant"):
        build_classifier(_config(), 3, start_from=loaded)


def test_a_preset_gives_a_plain_network_its_weights(preset: tuple[Path, list[np.ndarray]]) -> None:
    residual, plain = (
        build_classifier(_config(weights=str(preset[0]), skip_connections=skips), 3).get_layer("backbone")
        for skips in (True, False)
    )
    name = "stack3_block1_2_conv"
    np.testing.assert_array_equal(plain.get_layer(name).kernel, residual.get_layer(name).kernel)
    with pytest.raises(UserError, match="stem=deep"):
        build_classifier(_config(weights=str(preset[0]), stem="deep"), 3)


def test_pixels_are_scaled_inside_the_network() -> None:
    model = build_classifier(_config(), classes=2)
    extremes = np.stack([np.zeros((32, 32, 3), np.uint8), np.full((32, 32, 3), 255, np.uint8)])
    scaled = np.asarray(model.get_layer("scaling")(extremes))
    assert scaled.min() == pytest.approx(-1)
    assert scaled.max() == pytest.approx(1)


def test_mixed_precision_has_float32_logits_and_weights() -> None:
    model = build_classifier(_config(head_units=4, dropout=0.1), classes=2, dtype_policy="mixed_bfloat16")
    assert model.output.dtype == "float32"
    assert model.get_layer("backbone").output.dtype == "bfloat16"
    assert {weight.dtype for weight in model.weights} == {"float32"}


def test_the_head_is_as_configured() -> None:
    names = [layer.name for layer in build_classifier(_config(head_units=7, dropout=0.5), classes=4).layers]
    assert names == ["image", "scaling", "backbone", "pool", "hidden", "dropout", "logits"]
    names = [layer.name for layer in build_classifier(_config(), classes=4).layers]
    assert names == ["image", "scaling", "backbone", "pool", "logits"]


def test_the_seed_decides_the_weights() -> None:
    one, same, other = (build_classifier(_config(seed=seed), classes=2).get_weights() for seed in (1, 1, 2))
    assert _same(one, same)
    assert not _same(one, other)


@pytest.mark.slow
def test_a_saved_network_loads_in_safe_mode_without_keras_hub(tmp_path: Path, run_in: RunIn) -> None:
    np.save(tmp_path / "images.npy", _images())
    expected = {}
    for variant in ("resnet18", "resnet18_v2", "resnet18_vd"):
        model = build_classifier(_config(variant=variant, head_units=8, dropout=0.5), classes=3)
        expected[variant] = _outputs(model, _images())
        model.save(tmp_path / f"{variant}.keras")
    done = run_in(tmp_path, sys.executable, "-c", LOAD_IN_A_PROCESS, tmp_path)
    assert done.stdout.split() == ["False"]
    for variant, logits in expected.items():
        np.testing.assert_allclose(np.load(tmp_path / f"{variant}.npy"), logits, rtol=1e-5, atol=1e-5)


def test_weights_come_from_a_preset_folder(preset: tuple[Path, list[np.ndarray]]) -> None:
    folder, weights = preset
    assert _same(_backbone_weights(build_classifier(_config(weights=str(folder)), classes=3)), weights)
    bare = build_classifier(_config(weights=str(folder)), classes=3, load_weights=False)
    assert not _same(_backbone_weights(bare), weights)


def test_the_scaling_comes_from_the_preset_folder(preset: tuple[Path, list[np.ndarray]], tmp_path: Path) -> None:
    import keras_hub

    folder, _ = preset
    scale, offset = [0.017, 0.018, 0.019], [-2.1, -2.0, -1.8]
    converter = keras_hub.layers.ResNetImageConverter(image_size=(32, 32), scale=scale, offset=offset)
    backbone = keras_hub.models.ResNetBackbone.from_preset(str(folder))
    preprocessor = keras_hub.models.ResNetImageClassifierPreprocessor(image_converter=converter)
    classifier = keras_hub.models.ResNetImageClassifier(backbone, num_classes=2, preprocessor=preprocessor)
    classifier.save_to_preset(str(tmp_path / "classifier"))
    model = build_classifier(_config(weights=str(tmp_path / "classifier")), classes=2)
    images = _images()
    np.testing.assert_allclose(
        model.get_layer("scaling")(images), images * np.array(scale) + offset, rtol=1e-4, atol=1e-4
    )


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"variant": "resnet34"}, "weights must fit the variant"),
        ({"variant": "resnet18_v2"}, "weights must fit the variant"),
        ({"weights": "no/such/folder"}, "no/such/folder"),
        ({"weights": "models"}, "'models'"),
        ({"weights": "imagenet", "variant": "resnet34"}, "variant=resnet34"),
        ({"weights": "imagenet", "variant": "resnet18_v2"}, "resnet50_v2"),
    ],
)
def test_weights_that_cannot_be_had_are_named_in_one_line(
    preset: tuple[Path, list[np.ndarray]], changes: dict[str, str], message: str
) -> None:
    with pytest.raises(UserError, match=message) as caught:
        build_classifier(_config(**{"weights": str(preset[0])} | changes), classes=3)
    assert "\n" not in str(caught.value)


def test_an_empty_folder_is_no_preset(tmp_path: Path) -> None:
    with pytest.raises(UserError, match="must have a config") as caught:
        build_classifier(_config(weights=str(tmp_path)), classes=3)
    assert "\n" not in str(caught.value)


def test_a_saved_classifier_is_a_start(tmp_path: Path) -> None:
    build_classifier(_config(seed=1, head_units=4), classes=3).save(tmp_path / "saved.keras")
    saved = load_classifier(tmp_path / "saved.keras")
    same_head = build_classifier(_config(seed=2, head_units=4), classes=3, start_from=saved)
    assert _same(same_head.get_weights(), saved.get_weights())
    np.testing.assert_allclose(_outputs(same_head, _images()), _outputs(saved, _images()), atol=1e-6)

    more_classes = build_classifier(_config(seed=2, head_units=4), classes=5, start_from=saved)
    for layer, same in (("backbone", True), ("hidden", True), ("logits", False)):
        assert _same(more_classes.get_layer(layer).get_weights(), saved.get_layer(layer).get_weights()) == same

    with pytest.raises(UserError, match="got a saved resnet18 for a resnet18_vd") as caught:
        build_classifier(_config(variant="resnet18_vd"), classes=3, start_from=saved)
    assert "\n" not in str(caught.value)


def test_a_start_brings_its_own_scaling() -> None:
    import keras

    odd = build_classifier(_config(), classes=3)
    odd.get_layer("scaling").scale = 0.5
    rebuilt = build_classifier(_config(weights="models:/x@y"), classes=3, start_from=odd)
    assert isinstance(rebuilt.get_layer("scaling"), keras.layers.Rescaling)
    assert rebuilt.get_layer("scaling").scale == 0.5
