"""Grad-CAM on networks built by hand, so that the right map is known."""

import numpy as np
import pytest

from pipeline.models.grad_cam import grad_cam

keras = pytest.importorskip("keras")
pytestmark = pytest.mark.filterwarnings("error")

SIZE = 32
BRIGHT, DARK, NEITHER = 0, 1, 2


def _bright_or_dark(backbone_trainable: bool = True, head_units: int = 0) -> "keras.Model":
    """One map of brightness and one of darkness; each of the first two classes reads one, the third reads none."""
    pixels = keras.Input((SIZE, SIZE, 3))
    x = keras.layers.Conv2D(2, 1, activation="relu", name="maps")(pixels)
    x = keras.layers.MaxPooling2D(4)(x)
    backbone = keras.Model(pixels, x, name="backbone")
    backbone.trainable = backbone_trainable
    inputs = keras.Input((SIZE, SIZE, 3), dtype="uint8")
    x = keras.layers.Rescaling(1 / 127.5, offset=-1)(inputs)
    x = keras.layers.GlobalAveragePooling2D(name="pool")(backbone(x))
    if head_units:
        x = keras.layers.Dense(head_units, activation="relu", kernel_initializer="identity")(x)
        x = keras.layers.Dropout(0.5)(x)
    outputs = keras.layers.Dense(3, name="logits", dtype="float32")(x)
    model = keras.Model(inputs, outputs)
    kernel = np.repeat([[[[1.0, -1.0]]]], 3, axis=2) / 3
    backbone.get_layer("maps").set_weights([kernel, np.zeros(2)])
    model.get_layer("logits").set_weights([np.array([[1.0, -1.0, 0.0], [-1.0, 1.0, 0.0]]), np.zeros(3)])
    return model


@pytest.fixture(scope="module")
def model() -> "keras.Model":
    return _bright_or_dark()


@pytest.fixture
def photo() -> np.ndarray:
    """Dark, with a bright patch in the upper right corner."""
    pixels = np.full((1, SIZE, SIZE, 3), 10, dtype=np.uint8)
    pixels[:, 4:12, 20:28] = 250
    return pixels


def _assert_bright_patch(heat: np.ndarray) -> None:
    assert (heat[6:10, 22:26] > 0.9).all()
    heat = heat.copy()
    heat[2:14, 18:30] = 0  # the patch and a half cell of interpolation
    assert (heat == 0).all()


def test_the_map_shows_what_speaks_for_the_class(model, photo):
    bright, dark = grad_cam(model, np.repeat(photo, 2, axis=0), np.array([BRIGHT, DARK]))
    _assert_bright_patch(bright)
    assert (dark[6:10, 22:26] < 0.1).all()
    assert (dark[16:, :16] > 0.9).all()


@pytest.mark.parametrize("head_units", [0, 2])
@pytest.mark.parametrize("trainable", [True, False])
def test_frozen_backbones_and_hidden_layers_do_no_harm(trainable, head_units, photo):
    _assert_bright_patch(grad_cam(_bright_or_dark(trainable, head_units), photo, np.array([BRIGHT]))[0])


def test_a_class_for_which_nothing_speaks_gets_an_empty_map(model, photo):
    assert (grad_cam(model, photo, np.array([NEITHER])) == 0).all()


def test_shape_type_range_and_independence_of_the_batch(model):
    images = np.random.default_rng(0).integers(256, size=(5, SIZE, SIZE, 3), dtype=np.uint8)
    classes = np.array([0, 1, 0, 1, 2])
    heat = grad_cam(model, images, classes)
    assert heat.shape == (5, SIZE, SIZE)
    assert heat.dtype == np.float32
    assert heat[:4].max(axis=(1, 2)) == pytest.approx(1)
    assert heat.min() >= 0
    alone = grad_cam(model, images[3:4], classes[3:4])
    np.testing.assert_allclose(alone[0], heat[3], atol=1e-6)
    assert grad_cam(model, images[:0], classes[:0]).shape == (0, SIZE, SIZE)


def test_the_model_is_left_as_it_was(model, photo):
    before = [weights.copy() for weights in model.get_weights()]
    logits = model(photo, training=False).numpy()
    grad_cam(model, photo, np.array([BRIGHT]))
    np.testing.assert_array_equal(model(photo, training=False).numpy(), logits)
    for old, new in zip(before, model.get_weights(), strict=True):
        np.testing.assert_array_equal(old, new)


def test_a_model_without_pooling_is_refused(photo):
    inputs = keras.Input((SIZE, SIZE, 3), dtype="uint8")
    flat = keras.Model(inputs, keras.layers.Dense(2)(keras.layers.Flatten()(inputs)))
    with pytest.raises(ValueError, match="one GlobalAveragePooling2D among the model's layers, got 0"):
        grad_cam(flat, photo, np.array([0]))
