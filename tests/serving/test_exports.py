"""ONNX and LiteRT files of a real network, each run by its own runtime and compared with the model."""

from __future__ import annotations

import importlib.util
from pathlib import Path

import numpy as np
import pytest

from pipeline.config import TrainConfig, UserError
from pipeline.models.backend import load_backend
from pipeline.models.builder import build_classifier
from pipeline.serving import exports
from pipeline.serving.classifier import About, Classifier, save_classifier
from pipeline.serving.exports import FORMATS, check_formats, export

CLASSES = ("blue", "green", "red")
IMAGES = np.random.default_rng(0).integers(0, 255, (5, 32, 32, 3), np.uint8)

missing = [package for form in FORMATS.values() for package in form.packages if not importlib.util.find_spec(package)]
needs_packages = pytest.mark.skipif(bool(missing), reason=f"not installed: {', '.join(missing)} (extra export)")


@pytest.fixture(scope="module")
def classifier(tmp_path_factory: pytest.TempPathFactory) -> Classifier:
    load_backend()
    folder = tmp_path_factory.mktemp("model") / "classifier"
    network = build_classifier(
        TrainConfig(weights="none", image_size=32, head_units=8, dropout=0.1, width=0.25), len(CLASSES)
    )
    save_classifier(folder, network, About(CLASSES, 32, "crop", (), "digest", "photos", {}))
    return Classifier(folder)


@needs_packages
@pytest.mark.parametrize("name", FORMATS)
def test_a_file_gives_what_the_model_gives(
    classifier: Classifier, tmp_path: Path, name: str, capfd: pytest.CaptureFixture[str]
) -> None:
    file, difference = export(classifier, name, tmp_path, IMAGES)
    assert capfd.readouterr() == ("", "")  # what converters tell of their work is hidden
    assert file.stat().st_size > 10**6
    assert difference < exports.TOLERANCE
    given = FORMATS[name].run(file, IMAGES)
    assert given.shape == (5, 3)
    np.testing.assert_allclose(given.sum(axis=1), 1, atol=1e-5)
    assert np.ptp(given, axis=0).max() > 1e-3  # or agreement would prove nothing


@needs_packages
def test_a_file_that_gives_something_else_is_refused(
    classifier: Classifier, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    honest = FORMATS["onnx"]
    shifted = honest._replace(run=lambda file, images: honest.run(file, images // 2))
    monkeypatch.setitem(FORMATS, "onnx", shifted)
    with pytest.raises(UserError, match="must agree with the model"):
        export(classifier, "onnx", tmp_path, IMAGES)


def test_a_format_that_is_none_is_named() -> None:
    with pytest.raises(UserError, match="among onnx, litert, got 'coreml'"):
        check_formats(("coreml",))


def test_a_package_that_is_missing_is_named(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(FORMATS, "onnx", FORMATS["onnx"]._replace(packages=("no_such_package",)))
    with pytest.raises(UserError, match=r"onnx needs no_such_package.*\[export\]"):
        check_formats(("onnx",))
